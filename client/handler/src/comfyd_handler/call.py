"""A job as the daemon's call `run`.

The daemon reads lines of at most 1 MiB. What may be larger, files and workflows, goes by way of files in
a directory of the job's own, where nobody else can read them.

A job that RunPod sends again must be known as the same: the daemon compares what it is asked for. So the
directory is named after the job, and a file after its content.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import Failure
from .job import Input, Job
from .settings import Settings

_INLINE = 512 << 10
"""Longest workflow that is sent in the call itself, in bytes."""


@contextmanager
def scratch_of(job: Job, settings: Settings) -> Iterator[Path]:
    """Makes the directory of a job, and removes it with all that is in it."""
    name = hashlib.sha256((job.job_id or str(uuid.uuid4())).encode()).hexdigest()[:32]
    scratch = settings.state_dir / "handler" / name
    try:
        with _told(scratch):
            scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def parameters(job: Job, settings: Settings, scratch: Path) -> dict[str, Any]:
    """Returns the parameters of `run` (proto/src/method/run.rs); writes files into `scratch`. Blocks.

    Raises `Failure` with one line for each input that is no base64.
    """
    found = {
        **target(job.version, settings),
        "workflow": _workflow(job.workflow, scratch),
        "job_id": job.job_id,
        "inputs": _inputs(job.inputs, scratch),
        "comfy_org_api_key": job.comfy_org_api_key,
        "deliver": job.bucket.message() if job.bucket else None,
    }
    return {name: value for name, value in found.items() if value is not None}


def target(version: str, settings: Settings) -> dict[str, Any]:
    """Returns what all calls about a version say (proto/src/method/target.rs)."""
    found = {"version": version, "cwd": settings.cwd, "comfy_home": settings.comfy_home}
    return {name: value for name, value in found.items() if value is not None} | {"offline": settings.offline}


def _workflow(workflow: dict[str, Any] | str, scratch: Path) -> dict[str, Any] | str:
    if isinstance(workflow, str):
        return workflow
    text = json.dumps(workflow)
    if len(text) <= _INLINE:
        return workflow
    file = scratch / "workflow.json"
    with _told(file):
        file.write_text(text)
    return str(file)


def _inputs(inputs: list[Input], scratch: Path) -> list[dict[str, str]]:
    found, errors = [], []
    for one in inputs:
        if one.url is not None:
            found.append({"name": one.name, "url": one.url})
            continue
        try:
            content = _decoded(one.data or "")
        except (binascii.Error, ValueError) as error:
            errors.append(f"Error decoding base64 for {one.name}: {error}")
            continue
        file = scratch / hashlib.sha256(content).hexdigest()
        with _told(file):
            file.write_bytes(content)
        found.append({"name": one.name, "path": str(file)})
    if errors:
        raise Failure("Failed to upload one or more input images", details=errors)
    return found


def _decoded(text: str) -> bytes:
    """Decodes base64, or a `data:` URI. A comma is in no base64, so what comes before it is the URI's head."""
    return base64.b64decode("".join(text.rpartition(",")[2].split()), validate=True)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Makes a failure of what the disk refuses."""
    try:
        yield
    except OSError as error:
        raise Failure(f"failed to write `{path}`: {error.strerror}", kind="disk") from error
