"""JSON-RPC 2.0 on comfyd's socket, one object a line (ARCHITECTURE.md, "Wire").

One connection makes one call at a time: it costs a fraction of a millisecond, belongs to the event loop
of its job, and when the job's process dies the daemon sees it hang up and cancels.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from . import __version__
from .errors import Disconnected, Failure, failure_of_call

PROTOCOL = 1

_MAX_FRAME_BYTES = 1 << 20
"""Longest line that the daemon reads."""

_MAX_LINE_BYTES = 64 << 20
"""Longest line that is read."""

_WITHDRAWAL_S = 30.0
"""How long the daemon may take to answer a call that was cancelled: it asks ComfyUI for 10 s."""

_open: set[int] = set()
"""Sockets of this process."""


def _close_in_child() -> None:
    """Closes what a forked child has inherited.

    The SDK forks its heartbeat, which outlives a worker that is killed. With a copy of a socket in it, the
    daemon would not see the worker die, and its claims would last. The numbers stay taken: the child has
    copies of the objects too, which may close them once more.
    """
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd in _open:
        os.dup2(nothing, fd)
    os.close(nothing)
    _open.clear()


os.register_at_fork(after_in_child=_close_in_child)


class Connection:
    """A connection that has said hello. Use as an async context, which closes it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._calls = 0
        self._fd = writer.get_extra_info("socket").fileno()
        _open.add(self._fd)

    @classmethod
    async def open(cls, socket: Path) -> "Connection":
        """Connects and says hello. Raises `OSError` when nobody listens, `Disconnected` when the daemon is
        on its way out, `Failure` when it speaks another protocol."""
        connection = cls(*await asyncio.open_unix_connection(str(socket), limit=_MAX_LINE_BYTES))
        hello = {"protocol": PROTOCOL, "features": [], "client": f"comfyd-handler {__version__}"}
        try:
            answer = await connection.call("hello", hello)
        except BaseException:
            connection.close()
            raise
        if answer.get("protocol") != PROTOCOL:
            connection.close()
            text = f"comfyd speaks protocol {answer.get('protocol')}, this handler {PROTOCOL}"
            raise Failure(text, kind="protocol", details=["hint: install the handler that came with comfyd"])
        return connection

    async def call(
        self, method: str, params: dict[str, Any], on_progress: Callable[[dict[str, Any]], None] | None = None
    ) -> dict[str, Any]:
        """Makes a call and returns its result. `on_progress` gets each state that the daemon tells.

        A cancelled call is cancelled in the daemon too, and waits until the daemon has let go of it.
        Raises `Failure` for an error, `Disconnected` when the daemon is gone.
        """
        self._calls += 1
        call = self._calls
        await self._send({"id": call, "method": method, "params": params})
        try:
            return await self._answer(call, on_progress)
        except asyncio.CancelledError:
            await self._withdraw(call)
            raise

    def close(self) -> None:
        """Hangs up."""
        _open.discard(self._fd)
        self._writer.close()

    async def __aenter__(self) -> "Connection":
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()

    async def _send(self, message: dict[str, Any]) -> None:
        line = json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n"
        if len(line) > _MAX_FRAME_BYTES:
            raise Failure(f"a call of {len(line)} bytes is longer than the {_MAX_FRAME_BYTES} that comfyd reads")
        try:
            self._writer.write(line)
            await self._writer.drain()
        except ConnectionError as error:
            raise Disconnected("comfyd hung up") from error

    async def _answer(self, call: int, on_progress: Callable[[dict[str, Any]], None] | None) -> dict[str, Any]:
        while True:
            message = await self._receive()
            if message.get("method") == "progress" and message["params"].get("id") == call:
                if on_progress is not None:
                    on_progress(message["params"])
            elif message.get("id") in (call, None) and "error" in message:
                raise failure_of_call(message["error"])
            elif message.get("id") == call:
                return message.get("result") or {}

    async def _receive(self) -> dict[str, Any]:
        try:
            line = await self._reader.readline()
        except ConnectionError as error:
            raise Disconnected("comfyd hung up") from error
        except ValueError as error:
            raise Failure("comfyd's answer is too long", kind="protocol") from error
        # A line that was cut off is no message: the daemon died while it wrote.
        if not line.endswith(b"\n"):
            raise Disconnected("comfyd hung up")
        try:
            message = json.loads(line)
        except ValueError as error:
            raise Failure("comfyd's answer is no JSON", kind="protocol") from error
        if not isinstance(message, dict):
            raise Failure("comfyd's answer is no object", kind="protocol")
        return message

    async def _withdraw(self, call: int) -> None:
        """Cancels a call in the daemon. How it ends does not matter any more."""
        with suppress(Failure, Disconnected, asyncio.TimeoutError):
            await self._send({"method": "$/cancelRequest", "params": {"id": call}})
            await asyncio.wait_for(self._answer(call, None), _WITHDRAWAL_S)
