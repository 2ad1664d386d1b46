"""One job: from RunPod's dictionary to the daemon's `run` and back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from . import answer, call, daemon
from .concurrency import Concurrency
from .errors import Disconnected, Failure
from .job import Job, parse
from .progress import Progress, Send
from .settings import Settings

_ATTEMPTS = 3
"""How often a job is brought to a daemon. One that was killed leaves its ComfyUI running: the next daemon
finds the job by its id, and returns its result instead of running it again."""


class Handler:
    """What the SDK calls for each job. `progress_sender` returns how to tell a job's progress, if at all."""

    def __init__(self, settings: Settings, progress_sender: Callable[[dict[str, Any]], Send | None]) -> None:
        self._settings = settings
        self._progress_sender = progress_sender
        self.concurrency = Concurrency(settings.max_concurrency)

    async def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        """Runs a job. Failures are returned, as RunPod and worker-comfyui have it; cancellation travels to
        the daemon, and is over only when ComfyUI has let go of the workflow."""
        begun = time.monotonic()
        try:
            job = parse(request, self._settings)
            async with Progress(self._progress_sender(request)) as progress:
                found = await self._run(job, progress)
            total_ms = round((time.monotonic() - begun) * 1000)
            return await asyncio.to_thread(answer.output, job, found, total_ms)
        except Failure as failure:
            return failure.output()

    async def _run(self, job: Job, progress: Progress) -> dict[str, Any]:
        with call.scratch_of(job, self._settings) as scratch:
            params = await asyncio.to_thread(call.parameters, job, self._settings, scratch)
            for _ in range(_ATTEMPTS):
                try:
                    return await self._ask(params, progress)
                except Disconnected:
                    continue
        raise Failure(f"comfyd ended {_ATTEMPTS} times while the workflow ran", kind="unavailable")

    async def _ask(self, params: dict[str, Any], progress: Progress) -> dict[str, Any]:
        async with await daemon.connect(self._settings) as connection:
            found = await connection.call("run", params, progress.tell)
            # The job has its result: without this answer the number stays what it was.
            with suppress(Failure, Disconnected):
                self.concurrency.learn(await connection.call("status", {}))
            return found
