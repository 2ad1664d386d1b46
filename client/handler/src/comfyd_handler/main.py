"""Starts the worker: settings, the first version, then RunPod's SDK, which calls the handler."""

from __future__ import annotations

import sys

from . import prewarm
from .errors import Failure
from .settings import Settings


def main() -> int:
    """Runs until the SDK ends. Returns the exit status: 2 when settings or options are wrong."""
    try:
        settings = Settings.read()
    except Failure as failure:
        print(f"error: {failure}", file=sys.stderr)
        return 2
    # Before the SDK, whose import takes seconds: ComfyUI loads meanwhile.
    prewarm.start(settings)
    from . import sdk

    if unknown := sdk.unknown_options():
        print(f"error: unknown option `{unknown[0]}`", file=sys.stderr)
        return 2
    from .handler import Handler

    sdk.serve(Handler(settings, sdk.progress_sender))
    return 0
