"""comfyd: a realized version whose spec gains models, so that only their fetch is left to do."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.real.comfyui import CHECKOUT
from tests.real.git import publish
from tests.real.product import Product
from tests.real.server import Server

from ..figures import cpu_s
from .peers import Spent

VERSION = "fetch"
_TREE = CHECKOUT / "tests/support/fake_comfyui"


class Ours:
    """A machine with a running daemon and a version that is ready. Use as a context."""

    def __init__(self, programs: Path, place: Path, server: Server) -> None:
        place.mkdir(parents=True)
        self.place = place
        self.product = Product(programs, place)
        self._comfy = publish_comfyui(server)
        try:
            self.realize({})
        except BaseException:
            self.__exit__()
            raise

    @property
    def models(self) -> Path:
        """Where models come to."""
        return self.product.volume / "models/loras"

    def realize(self, more: dict[str, Any]) -> Spent:
        """Gives the version what `more` says, and realizes it."""
        self.product.write_spec(VERSION, self.spec(more))
        daemon = self.daemon()
        idle, cpu = _memory(daemon, "VmRSS"), cpu_s(daemon)
        Path(f"/proc/{daemon}/clear_refs").write_text("5")  # proc(5): the peak begins anew
        started = time.perf_counter()
        self.product.answer("realize", VERSION, limit_s=600)
        took = time.perf_counter() - started
        peak = _memory(daemon, "VmHWM")
        return Spent(took, cpu_s(daemon) - cpu, max(0, peak - idle))

    def spec(self, more: dict[str, Any]) -> dict[str, Any]:
        """Returns the spec of a version that has a ComfyUI and what `more` says."""
        return {"schema_version": 2, "comfy": {"repo": self._comfy, "ref": "main"}} | more

    def fetch(self, models: list[tuple[str, str]]) -> Spent:
        """Fetches models: links and the names that they get."""
        return self.realize(wanted(models))

    def forget_models(self) -> None:
        """Removes all models from the disk and from the spec."""
        shutil.rmtree(self.models, ignore_errors=True)
        self.realize({})

    def daemon(self) -> int:
        """Returns the process id of the daemon, which is started if none runs."""
        return self.product.answer("status")["pid"]

    def __enter__(self) -> "Ours":
        return self

    def __exit__(self, *_: object) -> None:
        self.product.__exit__()
        shutil.rmtree(self.place, ignore_errors=True)


def wanted(models: list[tuple[str, str]]) -> dict[str, Any]:
    """Returns what a spec says for these models."""
    return {"models": [{"source": link, "target_subdir": "loras", "name": name} for link, name in models]}


def publish_comfyui(server: Server) -> str:
    """Makes a ComfyUI without packages, unless it is there; returns its link."""
    repository = server.root / "git/bench/ComfyUI.git"
    if not repository.exists():
        with tempfile.TemporaryDirectory() as scratch:
            tree = Path(scratch, "tree")
            comfyui_tree(tree)
            publish(tree, repository, branch="main", message="a ComfyUI")
    return server.url("git/bench/ComfyUI")


def comfyui_tree(tree: Path) -> None:
    """Makes the files that comfyd takes for a ComfyUI: it needs no package."""
    shutil.copytree(_TREE, tree)
    (tree / "requirements.txt").write_text("")
    (tree / "pyproject.toml").write_text('[project]\nname = "comfyui"\nrequires-python = ">=3.9"\n')


def _memory(process: int, field: str) -> int:
    """Returns a field of `/proc/<process>/status`, in bytes."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"the kernel tells no `{field}`")
