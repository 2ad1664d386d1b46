"""A worker's machine: comfyd, versions whose ComfyUI is the fake one, and the handler in its own Python."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from comfyd_handler.settings import Settings
from tests.bench.fetch.ours import comfyui_tree
from tests.real.comfyui import CHECKOUT
from tests.real.git import publish
from tests.real.product import Product
from tests.real.server import Server

LIMIT_S = 60.0
"""How long anything here may take; it takes seconds."""

_COLOURS = itertools.count(0x336699)

_INHERITED = ("BUCKET_", "GCS_", "OUTPUT_MODE", "AWS_", "GOOGLE_")


class Machine:
    """Use as a context, which ends all that was started on it."""

    def __init__(self) -> None:
        # In memory where that is possible: syncing a disk that others write to takes seconds.
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.place = Path(tempfile.mkdtemp(prefix="handler-", dir=memory))
        self._server = Server(self.place)
        self.product = Product(CHECKOUT / "target/debug", self.place / "machine")
        with tempfile.TemporaryDirectory() as scratch:
            comfyui_tree(tree := Path(scratch, "tree"))
            publish(tree, self.place / "git/ComfyUI.git", branch="main", message="a ComfyUI")

    def version(self, version_id: str, **misbehaviour: str) -> str:
        """Writes a version's spec; its fake ComfyUI gets the variables. Returns the id."""
        comfy = {"repo": self._server.url("git/ComfyUI"), "ref": "main"}
        self.product.write_spec(version_id, {"schema_version": 2, "comfy": comfy, "env": misbehaviour})
        return version_id

    def environment(self, **variables: str) -> dict[str, str]:
        """Returns the environment of a worker, with more variables in it."""
        kept = {name: value for name, value in self.product.environment.items() if not name.startswith(_INHERITED)}
        # The SDK looks for a public name server and for much free disk before its first job.
        checks = {"RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true", "RUNPOD_SKIP_GPU_CHECK": "true"}
        return kept | checks | variables

    def start(self, *options: str, **variables: str) -> subprocess.Popen[str]:
        """Starts the handler; what it writes goes into `worker.log`."""
        with open(self.log, "a") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "comfyd_handler", *options],
                env=self.environment(**variables),
                cwd=self.product.place,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                text=True,
            )

    def test_input(self, job: dict[str, Any], **variables: str) -> tuple[int, str]:
        """Runs the handler once with `--test_input`; returns its exit status and what it wrote."""
        done = subprocess.run(
            [sys.executable, "-m", "comfyd_handler", "--test_input", json.dumps(job)],
            env=self.environment(**variables),
            cwd=self.product.place,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT_S,
        )
        return done.returncode, done.stdout

    @property
    def log(self) -> Path:
        """What workers wrote."""
        return self.place / "worker.log"

    def daemon(self) -> int:
        """Returns the daemon's process id."""
        return int(self.product.answer("status")["pid"])

    def __enter__(self) -> "Machine":
        return self

    def __exit__(self, *_: object) -> None:
        self.product.__exit__()
        self._server.stop()
        shutil.rmtree(self.place, ignore_errors=True)


def golden(name: str) -> Any:
    """Returns a message as the daemon's own tests have it."""
    return json.loads((CHECKOUT / f"tests/protocol/golden/{name}.json").read_text())


def settings(**variables: str) -> Settings:
    """Returns what the handler reads from these variables."""
    return Settings.read({"HOME": "/h", **variables})


def image(width: int = 8, prefix: str = "made", **slow: int) -> dict[str, Any]:
    """Returns a workflow that saves an image; with `steps` and `ms`, after that many steps of that length.

    Each has a colour of its own: ComfyUI does not do again what it has done before.
    """
    size = {"width": width, "height": 8, "batch_size": 1, "color": next(_COLOURS)}
    made, link = {"1": {"class_type": "EmptyImage", "inputs": size}}, ["1", 0]
    if slow:
        made["2"] = {"class_type": "FakeSlow", "inputs": {"image": link, **slow}}
        link = ["2", 0]
    return made | {"9": {"class_type": "SaveImage", "inputs": {"images": link, "filename_prefix": prefix}}}
