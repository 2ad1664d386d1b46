"""Connects to comfyd, and starts it when nobody listens, by comfyctl's rules (client/src/daemon.rs).

Two may start a daemon at once. The daemon's own lock decides: the second one ends with the status of
"busy", and whoever started it goes on to ask for the first one's socket.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Mapping

from .connection import Connection
from .errors import Disconnected, Failure
from .settings import Settings

_START_LIMIT_S = 10.0
"""How long a daemon may take until it listens, once its volume is there."""

_POLL_S = 0.01
_RESTART_PAUSE_S = 0.25
"""While an old daemon is on its way out it still holds its lock."""

_HELLOS = 3
"""A daemon that is stopping may still take a connection and drop it: then nobody listened."""

_BUSY = 9
"""Exit status when another daemon has the lock (proto/src/error.rs)."""

_LOG_LINES = 20

_OF_SERVICE = ("NOTIFY_SOCKET", "WATCHDOG_", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")


async def connect(settings: Settings) -> Connection:
    """Returns a connection to the daemon. Raises `Failure` when there is none and none can be started."""
    for _ in range(_HELLOS):
        try:
            return await _open(settings)
        except Disconnected:
            continue
    raise Failure(f"comfyd hangs up on `{settings.socket}`", kind="unavailable")


async def _open(settings: Settings) -> Connection:
    socket = settings.socket
    try:
        try:
            return await Connection.open(socket)
        except (FileNotFoundError, ConnectionRefusedError):
            if settings.system_socket and os.access(settings.system_socket, os.W_OK):
                # It is systemd's, which starts the daemon for whoever connects.
                socket = settings.system_socket
                return await Connection.open(socket)
            return await _Start(settings).run()
    except OSError as error:
        raise Failure(f"failed to connect to `{socket}`: {error.strerror}", kind="unavailable") from error


class _Start:
    """One attempt to have a daemon that listens."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._log = settings.state_dir / "comfyd.log"

    async def run(self) -> Connection:
        limit = _START_LIMIT_S + self._settings.volume_wait_s
        deadline = time.monotonic() + limit
        child, log_end = self._spawn()
        while time.monotonic() < deadline:
            # In this order: a daemon that ended may have ended because another one listens.
            status = child.poll()
            try:
                return await Connection.open(self._settings.socket)
            except (FileNotFoundError, ConnectionRefusedError):
                pass
            if status is None:
                await asyncio.sleep(_POLL_S)
            elif status == _BUSY:
                await asyncio.sleep(_RESTART_PAUSE_S)
                child, log_end = self._spawn()
            else:
                raise self._died(status, log_end)
        raise self._failure(f"comfyd did not listen within {limit:.0f} s")

    def _spawn(self) -> tuple[subprocess.Popen[bytes], int]:
        """Spawns the daemon; returns it, and where in the log its first line will be."""
        try:
            self._log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            log = open(self._log, "ab", opener=_private)
        except OSError as error:
            raise Failure(f"failed to open `{self._log}`: {error.strerror}", kind="disk") from error
        with log:
            log_end = log.tell()
            try:
                child = subprocess.Popen(
                    [self._settings.program, "--background"],
                    env=_without_service(os.environ) | {"COMFYD_SOCKET": str(self._settings.socket)},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    # What ends the worker's group does not reach it: jobs are drained with its help.
                    start_new_session=True,
                )
            except OSError as error:
                text = f"failed to start the daemon `{self._settings.program}`: {error.strerror}"
                raise Failure(text, kind="unavailable", details=["hint: name it with COMFYD_BIN"]) from error
            return child, log_end

    def _died(self, status: int, log_end: int) -> Failure:
        with open(self._log, "rb") as log:
            log.seek(log_end)
            lines = log.read().decode(errors="replace").splitlines()[-_LOG_LINES:]
        return self._failure(f"comfyd ended with {status} before it listened", lines)

    def _failure(self, text: str, lines: list[str] | None = None) -> Failure:
        return Failure(text, kind="unavailable", details=[*(lines or []), f"hint: its log is `{self._log}`"])


def _without_service(environment: Mapping[str, str]) -> dict[str, str]:
    """Leaves out what a service manager says to the worker alone (proto/src/places.rs): the daemon is not the worker."""
    return {name: value for name, value in environment.items() if not name.startswith(_OF_SERVICE)}


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
