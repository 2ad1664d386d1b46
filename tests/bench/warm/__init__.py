"""Warm versions: `make bench ONLY=warm`.

    fake.py       versions of the fake ComfyUI, which start in a moment
    latency.rs    `warm` on a running version, from many clients at once
    overhead.py   a whole job on the real ComfyUI against its own HTTP
    versions.py   a job of another version, against a worker that starts ComfyUI for it
    chaos.py      a thousand jobs while processes are killed
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.real.product import Product
from tests.real.server import Server

from . import chaos, fake, overhead, versions


@dataclass(frozen=True)
class Extent:
    """How much to measure."""

    jobs: int = 1000
    kill_every_s: float = 20
    clients: int = 8


def measure(programs: Path, place: Path, server: Server, extent: Extent) -> None:
    """Prints the figures."""
    with Product(programs, place / "fake") as product:
        names = fake.realize(product, server, 3)
        fake.latency(product, names[0])
        chaos.measure(product, names, extent)
        product.answer("shutdown")
    with Product(programs, place / "warm") as product:
        overhead_version, other = versions.realize(product, server)
        overhead.measure(product, overhead_version)
        versions.measure(product, overhead_version, other)
        product.answer("shutdown")
