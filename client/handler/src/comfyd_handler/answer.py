"""The daemon's answer as RunPod's users know it: worker-comfyui's fields, and more beside them.

What ComfyUI puts out under `images` comes as `images`, as with worker-comfyui, moving pictures too. What
comes under other keys, which that one leaves out, is sorted by media type.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from .job import Job

_LINKED = {"s3": "s3_url", "gcs": "gcs_url"}
"""What `type` says of a link, by `output_mode`."""


def output(job: Job, answer: dict[str, Any], total_ms: int) -> dict[str, Any]:
    """Makes the result of a job of `RunAnswer` (proto/src/method/run.rs). Reads files: blocks.

    A file that is not to be had is told among the errors, and the others are returned.
    """
    lists: dict[str, list[dict[str, Any]]] = {"images": [], "videos": [], "audio": [], "files": []}
    values: list[dict[str, Any]] = []
    errors: list[str] = list(answer.get("warnings", []))
    for one in answer["outputs"]:
        file = one.get("file")
        if file is None:
            values.append({"node": one["node"], "kind": one["kind"], "value": one.get("value")})
        elif file["type"] != "temp":  # previews
            try:
                lists[_list_of(one["kind"], file["mime"])].append(_entry(job.mode, one["node"], file))
            except OSError as error:
                errors.append(f"Error reading {file['filename']}: {error.strerror}")
            except KeyError:
                errors.append(f"Error uploading {file['filename']} to {job.mode.upper()}: comfyd returned no link")
    if errors and not values and not any(lists.values()):
        return {"error": "Job processing failed", "details": errors, **_about(answer, total_ms)}
    found: dict[str, Any] = {name: entries for name, entries in lists.items() if entries}
    if not lists["images"]:
        found |= {"status": "success_no_images", "images": []}
    if values:
        found["values"] = values
    if errors:
        found["errors"] = errors
    return found | _about(answer, total_ms)


def _list_of(kind: str, mime: str) -> str:
    if kind == "images":
        return "images"
    return {"image": "images", "video": "videos", "audio": "audio"}.get(mime.partition("/")[0], "files")


def _entry(mode: str, node: str, file: dict[str, Any]) -> dict[str, Any]:
    """Returns a file. Raises `OSError` when it cannot be read, `KeyError` when there is no link to it."""
    if mode == "base64":
        kind, data = "base64", base64.b64encode(Path(file["path"]).read_bytes()).decode()
    else:
        kind, data = _LINKED[mode], file["url"]
    more = {"node": node, "mime": file["mime"], "bytes": file["bytes"]}
    return {"filename": file["filename"], "type": kind, "data": data, **more}


def _about(answer: dict[str, Any], total_ms: int) -> dict[str, Any]:
    """Returns what is told of every job: where it ran, how that became ready, what took how long."""
    timings = {name: answer.get(name, 0) for name in ("start_ms", "queue_ms", "execute_ms")}
    about = {
        "version_id": answer["version_id"],
        "cold": answer["cold"],
        "how": answer.get("how"),
        "timings": timings | {"total_ms": total_ms},
        "recoveries": answer.get("recoveries"),
    }
    return {name: value for name, value in about.items() if value not in (None, [])}
