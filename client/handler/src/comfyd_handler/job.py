"""What a job asks for, checked. Pure.

Jobs come from strangers, the daemon trusts whoever reaches its socket: nothing that a job says may become
the name of a file here. So a workflow is an object or a link and never a path, and a version is an id and
never a spec's path.

The texts of worker-comfyui's own checks are kept, since clients know them.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from .bucket import Bucket, s3
from .errors import Failure
from .settings import MODES, Settings

_VERSION_ID = re.compile(r"[A-Za-z0-9](?!.*\.\.)[A-Za-z0-9._-]{0,127}")
"""proto/src/ids/check.rs, `version_id`."""

_LINK = re.compile(r"https?://", re.IGNORECASE)

_LOCAL_TEST = "local_test"
"""The id that the SDK gives to whatever `--test_input` holds: it names no job."""


@dataclass(frozen=True)
class Input:
    """A file that the workflow reads: by link, or as base64 in the job."""

    name: str
    url: str | None = None
    data: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Job:
    """A job that can be tried."""

    job_id: str | None
    version: str
    workflow: dict[str, Any] | str
    """In API format, or a link."""
    inputs: list[Input]
    comfy_org_api_key: str | None = field(repr=False)
    mode: str
    """How outputs are returned: `base64`, `s3` or `gcs`."""
    bucket: Bucket | None


def parse(job: dict[str, Any], settings: Settings) -> Job:
    """Reads a job as RunPod gives it. Raises `Failure` when it makes no sense."""
    asked = _object(job.get("input"))
    mode, bucket = _delivery(asked, job.get("s3Config"), settings)
    key = asked.get("comfy_org_api_key") or asked.get("api_key_comfy_org") or settings.comfy_org_api_key
    return Job(
        job_id=None if job["id"] == _LOCAL_TEST else job["id"],
        version=_version(asked, settings),
        workflow=_workflow(asked),
        inputs=_inputs(asked),
        comfy_org_api_key=_text(key, "comfy_org_api_key"),
        mode=mode,
        bucket=bucket,
    )


def _object(asked: Any) -> dict[str, Any]:
    if asked is None:
        raise Failure("Please provide input")
    asked = _decoded(asked, "input")
    if not isinstance(asked, dict):
        raise Failure("the input is not an object")
    return asked


def _decoded(given: Any, where: str) -> Any:
    """Returns what is given as JSON's text or as it is."""
    if not isinstance(given, str):
        return given
    try:
        return json.loads(given)
    except ValueError as error:
        raise Failure(f"Invalid JSON format in {where}") from error


def _version(asked: dict[str, Any], settings: Settings) -> str:
    version = asked.get("version_id")
    if version is None:
        if settings.version_id is None:
            raise Failure("Missing 'version_id' parameter, and COMFY_VERSION_ID is not set")
        return settings.version_id
    if isinstance(version, str) and _VERSION_ID.fullmatch(version) and not version.endswith(".json"):
        return version
    raise Failure(f"'version_id' is {version!r:.80}, which is not the id of a version")


def _workflow(asked: dict[str, Any]) -> dict[str, Any] | str:
    workflow, link = asked.get("workflow"), asked.get("workflow_url")
    if workflow is None and link is None:
        raise Failure("Missing 'workflow' parameter")
    if workflow is None:
        if isinstance(link, str) and _is_link(link):
            return link
        raise Failure("'workflow_url' must be an https link")
    workflow = _decoded(workflow, "workflow")
    if not isinstance(workflow, dict):
        raise Failure("'workflow' must be an object: in ComfyUI choose File → Export (API)")
    return workflow


def _inputs(asked: dict[str, Any]) -> list[Input]:
    images = [] if asked.get("images") is None else asked["images"]
    if not isinstance(images, list) or not all(_is_image(image) for image in images):
        raise Failure("'images' must be a list of objects with 'name' and 'image' keys")
    links = {} if asked.get("input_images") is None else asked["input_images"]
    if not isinstance(links, dict) or not all(_is_link(link) for link in links.values()):
        raise Failure("'input_images' must map names to https links")
    given = [
        Input(one["name"], url=one["image"]) if _is_link(one["image"]) else Input(one["name"], data=one["image"])
        for one in images
    ]
    return given + [Input(name, url=link) for name, link in links.items()]


def _is_image(image: Any) -> bool:
    return isinstance(image, dict) and isinstance(image.get("name"), str) and isinstance(image.get("image"), str)


def _is_link(value: Any) -> bool:
    return isinstance(value, str) and _LINK.match(value) is not None


def _delivery(asked: dict[str, Any], config: Any, settings: Settings) -> tuple[str, Bucket | None]:
    """Returns how outputs are returned, and into which bucket."""
    own = _own_bucket(config)
    mode = asked.get("output_mode") or ("s3" if own else settings.output_mode)
    if mode not in MODES:
        raise Failure(f"'output_mode' is {mode!r:.80}, not one of {', '.join(MODES)}")
    if mode == "base64":
        return mode, None
    bucket = own or settings.s3 if mode == "s3" else settings.gcs
    if bucket is None:
        variable = "BUCKET_ENDPOINT_URL" if mode == "s3" else "GCS_BUCKET"
        raise Failure(f"'output_mode' is {mode}, and {variable} is not set")
    return mode, bucket


def _own_bucket(config: Any) -> Bucket | None:
    """Returns the bucket of RunPod's own field `s3Config`, which a job may carry beside its input."""
    if not config:
        return None
    names = ("endpointUrl", "accessId", "accessSecret", "bucketName")
    if not isinstance(config, dict) or not all(isinstance(config.get(name), str) for name in names):
        raise Failure(f"'s3Config' must have the texts {', '.join(names)}")
    endpoint, key, secret, name = (config[name] for name in names)
    return s3(endpoint, key, secret, name)


def _text(value: Any, name: str) -> str | None:
    if value is not None and not isinstance(value, str):
        raise Failure(f"'{name}' must be a text")
    return value or None
