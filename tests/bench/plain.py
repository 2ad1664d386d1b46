"""The recipe a person would type: clone, venv, pip, start, post."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.real.product import wait_until

_START_S = 300


class Plain:
    """The recipe in an empty directory, timed step by step."""

    def __init__(self, place: Path, python: Path, constraints: list[str]) -> None:
        """`constraints` are pins: with today's packages ComfyUI 0.3.75 does not start."""
        self.times_s: dict[str, float] = {}
        self._python = python
        self._checkout = place / "ComfyUI"
        place.mkdir()
        self._constraints = place / "constraints.txt"
        self._constraints.write_text("\n".join(constraints) + "\n")
        # pip keeps its cache in the home directory: an empty one, as on a new machine.
        self._environment = os.environ | {"HOME": str(place)}

    def first_image(self, repository: str, ref: str, workflow: dict[str, object]) -> float:
        """Makes an image; returns the seconds it took from nothing."""
        started = time.monotonic()
        with self._timed("git clone"):
            silent = ("-c", "advice.detachedHead=false")
            self._run("git", *silent, "clone", "--quiet", "--branch", ref, repository, self._checkout)
        with self._timed("python -m venv"):
            self._run(self._python, "-m", "venv", self._checkout / ".venv")
        with self._timed("pip install"):
            pip = self._checkout / ".venv/bin/pip"
            files = ("-r", self._checkout / "requirements.txt", "-c", self._constraints)
            self._run(pip, "install", "--quiet", *files)
        self._image(workflow)
        return time.monotonic() - started

    def _image(self, workflow: dict[str, object]) -> None:
        port = _free_port()
        command = [".venv/bin/python", "main.py", "--cpu", "--port", str(port)]
        log = (self._checkout / "log.txt").open("wb")
        with log:
            process = subprocess.Popen(
                command, cwd=self._checkout, env=self._environment, stdout=log, stderr=subprocess.STDOUT
            )
        try:
            with self._timed("start"):
                self._await(process, port)
            with self._timed("workflow"):
                _call(port, "prompt", {"prompt": workflow})
                output = self._checkout / "output"
                wait_until(lambda: list(output.glob("*.png")), limit_s=60, what="the image")
        finally:
            process.terminate()
            process.wait()

    def _await(self, process: subprocess.Popen[bytes], port: int) -> None:
        def answers() -> bool:
            if process.poll() is not None:
                raise RuntimeError(f"ComfyUI ended with {process.returncode}: see `{self._checkout / 'log.txt'}`")
            try:
                _call(port, "prompt")
            except OSError:
                return False
            return True

        wait_until(answers, limit_s=_START_S, what="ComfyUI's start")

    def _run(self, *command: str | Path) -> None:
        subprocess.run([str(word) for word in command], env=self._environment, check=True)

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.times_s[step] = time.monotonic() - started


def _call(port: int, path: str, body: dict[str, object] | None = None) -> None:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/{path}", data, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        answer.read()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]
