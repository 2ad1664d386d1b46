"""RunPod's SDK: the only module that imports it, for that takes seconds."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

# The SDK's default, DEBUG, writes each job with its keys and each result with all its base64 to the log.
if "RUNPOD_LOG_LEVEL" not in os.environ:
    os.environ.setdefault("RUNPOD_DEBUG_LEVEL", "INFO")

import runpod.serverless
from runpod.http_client import AsyncClientSession
from runpod.serverless.modules.rp_http import send_result

from .progress import Send

if TYPE_CHECKING:
    from .handler import Handler


def serve(handler: "Handler") -> None:
    """Runs the worker: RunPod's job loop, or what the options `--test_input` and `--rp_serve_api` say."""
    runpod.serverless.start({"handler": handler.handle, "concurrency_modifier": handler.concurrency.modifier})


def unknown_options() -> list[str]:
    """Returns the options that the SDK does not know: it would pass over them."""
    _, unknown = runpod.serverless.parser.parse_known_args(sys.argv[1:])
    return list(unknown)


def progress_sender(job: dict[str, Any]) -> Send | None:
    """Returns what tells RunPod the progress of a job; none where nobody listens, as in tests."""
    if "RUNPOD_WEBHOOK_POST_OUTPUT" not in os.environ:
        return None

    async def send(progress: dict[str, Any]) -> None:
        # `send_result` logs what goes wrong. The next message says it all again.
        with suppress(Exception):
            async with AsyncClientSession() as session:
                await send_result(session, {"status": "IN_PROGRESS", "output": progress}, job)

    return send
