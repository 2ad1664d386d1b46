"""The daemon's socket as a handler uses it: calls on one connection, one after the other."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any


class CallFailed(Exception):
    """The daemon answered with an error."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["message"])
        self.kind = (error.get("data") or {}).get("kind", "")


class Wire:
    """A connection. Use as a context."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._lines = self._socket.makefile("rwb")
        self._number = 0
        self.call("hello", {"protocol": 1, "features": [], "client": "bench"})

    def call(self, method: str, parameters: dict[str, Any]) -> Any:
        """Returns the answer. Raises `CallFailed`, or `ConnectionError` when the daemon is gone."""
        self._number += 1
        request = {"jsonrpc": "2.0", "id": self._number, "method": method, "params": parameters}
        self._lines.write(json.dumps(request).encode() + b"\n")
        self._lines.flush()
        while line := self._lines.readline():
            message = json.loads(line)
            if message.get("id") != self._number or "method" in message:
                continue  # progress
            if "error" in message:
                raise CallFailed(message["error"])
            return message["result"]
        raise ConnectionError(f"the daemon hung up on `{method}`")

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        self._socket.close()
