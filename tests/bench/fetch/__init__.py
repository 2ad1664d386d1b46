"""Models and repositories at the speed of the line: `make bench ONLY=fetch`.

    ours.py          comfyd: a realized version whose spec gains models
    peers.py         curl, aria2c and git, with the processor time of a child
    host.py          `file-host`, the fault server of the tests as a program
    files.py         one big file, slow connections, many files far away
    kills.py         comfyd killed at random moments
    repositories.py  one commit of a long history; nine repositories at once; with `repositories.rs`

Ours and theirs run in turns on one server, and each time is that of a whole process. For files that is
`comfyctl realize` with its plan, its proofs and its `fsync`, against a peer that ends when its last
byte is in the page cache.
"""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.real.server import Server

from ..figures import show
from . import files, kills, repositories
from .host import FileHost
from .ours import Ours
from .peers import install_aria2

_TMPFS = Path("/dev/shm")


@dataclass(frozen=True)
class Extent:
    """How much to measure: `size` is a share of the full sizes, for a quick look."""

    runs: int
    size: float
    kills: int

    def bytes(self, full: int) -> int:
        """Returns what to take in place of `full` bytes."""
        return max(1 << 20, int(full * self.size))


def measure(programs: Path, place: Path, server: Server, extent: Extent) -> None:
    """Prints the figures, and at the end all of them as one line of JSON."""
    install_aria2()
    random.seed(20261122)
    figures: dict[str, Any] = {"runs": extent.runs, "size": extent.size}
    memory = Path(tempfile.mkdtemp(prefix="bench-", dir=_TMPFS))
    try:
        with FileHost(programs / "file-host") as host:
            for disk, at in (("tmpfs", memory), ("disk", place)):
                with Ours(programs, at / "fetch", server) as ours:
                    figures[f"overhead on {disk}"] = _overhead(ours, host, disk)
                    figures[f"big file on {disk}"] = files.big(ours, host, disk, extent)
                    if disk == "tmpfs":
                        figures["slow connections"] = files.slow_connections(ours, host, extent)
                        figures["many files"] = files.many(ours, host, extent)
                        figures["kills"] = kills.measure(ours, host, extent)
        figures |= repositories.measure(programs, memory / "repositories", server, extent)
    finally:
        shutil.rmtree(memory)
    print(json.dumps({"fetch": figures}), flush=True)


def _overhead(ours: Ours, host: FileHost, disk: str) -> float:
    """Returns what a fetch of almost nothing takes: it is in every figure of ours."""
    took = []
    for number in range(5):
        url = host.put(f"/tiny-{number}.safetensors", size=1000)
        took.append(ours.fetch([(url, f"tiny-{number}.safetensors")]).wall_s)
        ours.forget_models()
    overhead = sorted(took)[len(took) // 2]
    show(f"comfyctl realize that gains 1 kB, {disk}", f"{overhead * 1e3:.0f} ms", "is in each figure of comfyd's")
    return overhead
