"""comfyctl with an environment, a home and a volume of its own.

Nothing here knows how the daemon works: it is started by comfyctl and asked to end by comfyctl.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .comfyui import CHECKOUT

_OURS = ("COMFY", "HF_", "HUGGING", "CIVITAI", "RUNPOD", "MODELS_DIR", "XDG_")
"""Prefixes of variables that would lead the product out of its own place."""


class Failed(Exception):
    """A command ended otherwise than it should."""


class Product:
    """The two programs in a place of their own: use as a context, which ends what still runs."""

    def __init__(self, programs: Path, place: Path, **variables: str) -> None:
        self.programs = programs
        self.place = place
        self.home = place / "home"
        self.volume = place / "volume"
        # A socket's path may have 107 bytes at most; the place may be deep.
        self._short = Path(tempfile.mkdtemp(prefix="comfyd-"))
        self.make_directories()
        self.environment = _inherited() | {
            "HOME": str(self.home),
            "COMFY_VOLUME": str(self.volume),
            "COMFYD_SOCKET": str(self._short / "comfyd.sock"),
            "COMFYD_BIN": str(programs / "comfyd"),
            "NO_COLOR": "1",
            # What a daemon does by itself would be in the figures of others.
            "COMFYD_PREFETCH": "off",
            **uv(),
            **variables,
        }

    def make_directories(self) -> None:
        """Makes the home and the volume, both empty."""
        for directory in (self.home, self.volume / "versions"):
            directory.mkdir(parents=True)

    @property
    def socket(self) -> Path:
        """The control socket."""
        return Path(self.environment["COMFYD_SOCKET"])

    def write_spec(self, version: str, spec: dict[str, Any]) -> None:
        """Puts a spec where the daemon seeks it."""
        file = self.volume / "versions" / f"{version}.json"
        file.write_text(json.dumps(spec, indent=2) + "\n")

    def comfyctl(self, *arguments: str | Path, status: int = 0, limit_s: float = 120) -> tuple[str, str]:
        """Runs comfyctl; returns what it wrote to standard output and to standard error."""
        command = [str(self.programs / "comfyctl"), *map(str, arguments)]
        try:
            done = subprocess.run(
                command,
                env=self.environment,
                cwd=self.place,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=limit_s,
            )
        except subprocess.TimeoutExpired as error:
            raise Failed(f"`{_spelt(command)}` did not end within {limit_s:.0f} s") from error
        if done.returncode != status:
            raise Failed(
                f"`{_spelt(command)}` ended with {done.returncode}, not {status}:\n{done.stdout}{done.stderr}"
            )
        return done.stdout, done.stderr

    def answer(self, *arguments: str | Path, limit_s: float = 120) -> Any:
        """Runs comfyctl with `--json`; returns the one document that it printed."""
        text, _ = self.comfyctl(*arguments, "--json", limit_s=limit_s)
        try:
            return json.loads(text)
        except ValueError as error:
            raise Failed(f"`comfyctl {_spelt(arguments)} --json` printed no JSON:\n{text}") from error

    def processes(self) -> dict[int, str]:
        """Returns the processes that run in this place, by id: its daemon and all below it."""
        mark = f"COMFYD_SOCKET={self.socket}".encode()
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue  # ended meanwhile, or not ours to read
        return found

    def await_end(self) -> None:
        """Returns when nothing runs in this place any more, as after `comfyctl shutdown`."""
        wait_until(lambda: not self.processes(), limit_s=30, what="the end of every process")

    def logs(self) -> list[Path]:
        """Returns every log file of the place."""
        return sorted(self.place.glob("home/.local/state/comfyd/**/*.log"))

    def __enter__(self) -> "Product":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes():
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue
        shutil.rmtree(self._short, ignore_errors=True)


def wait_until(condition: Callable[[], object], *, limit_s: float, what: str) -> None:
    """Returns as soon as the condition holds; fails when it does not within the limit."""
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(f"{what}: not within {limit_s:.0f} s")
        time.sleep(0.02)


def uv() -> dict[str, str]:
    """Returns the variable that names the checkout's own uv, where `make tools` has put one."""
    program = CHECKOUT / ".tools/uv/bin/uv"
    return {"COMFYD_UV": str(program)} if program.exists() else {}


def _inherited() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}


def _spelt(command: Any) -> str:
    first, *rest = map(str, command)
    return " ".join([Path(first).name, *rest])
