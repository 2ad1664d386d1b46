"""`file-host`: the fault server of the tests, as a program of its own."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any


class FileHost:
    """Serves synthetic safetensors files from memory. Use as a context."""

    def __init__(self, program: Path) -> None:
        self._process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._seed = 0

    def put(self, path: str, *, size: int) -> str:
        """Serves a file of its own content, `size` bytes long; returns its link."""
        self._seed += 1
        return self._ask("put", path=path, seed=self._seed, size=size)["url"]

    def pace(self, **pace: int) -> None:
        """Makes the host this fast: `per_connection` and `total` in bytes a second, `connect_ms`, `request_ms`."""
        self._ask("pace", **pace)

    def sent(self, path: str) -> int:
        """Returns how many bytes were sent for a path so far."""
        return self._ask("stats", path=path)["sent"]

    def check(self, path: str, file: Path) -> None:
        """Fails unless a file has the content that is served."""
        if not self._ask("check", path=path, file=str(file))["equal"]:
            raise RuntimeError(f"`{file}` has other bytes than `{path}`")

    def _ask(self, command: str, **parameters: Any) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({command: parameters}) + "\n")
        self._process.stdin.flush()
        if not (line := self._process.stdout.readline()):
            raise RuntimeError(f"file-host ended on `{command}`")
        return json.loads(line)

    def __enter__(self) -> "FileHost":
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
