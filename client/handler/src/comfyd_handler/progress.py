"""Tells RunPod how far a job is: in order, at most once a second, and never after its result.

The SDK's own `progress_update` starts a thread, an event loop and a session for each message, and nobody
knows in which order they arrive: the last one may overwrite the result.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

INTERVAL_S = 1.0

_LAST_WORDS_S = 2.0
"""How long a message that is on its way may hold up the job's result."""

_TASKS = 8
"""Pieces of work that a message names at most."""

Send = Callable[[dict[str, Any]], Awaitable[None]]


class Progress:
    """Sends the newest state while it is entered; without `send` it only swallows them."""

    def __init__(self, send: Send | None) -> None:
        self._send = send
        self._newest: dict[str, Any] | None = None
        self._loop: asyncio.Task[None] | None = None
        self._is_sending = False

    def tell(self, state: dict[str, Any]) -> None:
        """Takes the daemon's present state (proto/src/event.rs)."""
        self._newest = state

    async def __aenter__(self) -> "Progress":
        if self._send is not None:
            self._loop = asyncio.create_task(self._tell_all(self._send))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._loop is None:
            return
        if self._is_sending:
            await asyncio.wait({self._loop}, timeout=_LAST_WORDS_S)
        self._loop.cancel()
        await asyncio.wait({self._loop})

    async def _tell_all(self, send: Send) -> None:
        while True:
            # First, so that a short job costs no message.
            await asyncio.sleep(INTERVAL_S)
            state, self._newest = self._newest, None
            if state is not None:
                self._is_sending = True
                await send(shown(state))
                self._is_sending = False


def shown(state: dict[str, Any]) -> dict[str, Any]:
    """Returns what users see of a state: the phase, and what is under way in it."""
    fields = ("kind", "label", "state", "done", "total", "unit", "detail")
    active = [task for task in state.get("tasks", []) if task.get("state") in ("running", "waiting")]
    tasks = [{name: task[name] for name in fields if task.get(name) not in (None, "")} for task in active[:_TASKS]]
    return {"phase": state.get("phase", ""), "tasks": tasks}
