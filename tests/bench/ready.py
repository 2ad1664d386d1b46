"""`comfyctl realize` of a version that is ready: the whole process, and the daemon's share."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tests.real.product import Product

from .figures import percentiles, ratio, show, spawn
from .wire import Wire

_RUNS = 200
_STAND_IN = Path(__file__).with_name("stand_in.py")
_OLD_MS = 220
"""What the program that comfyd replaces took, as its owner measured it. It is not here to compare with."""


def measure(product: Product, version: str) -> None:
    """Prints the figures. The version must be realized."""
    comfyctl = product.programs / "comfyctl"
    answer = product.answer("realize", version)
    if answer["outcome"] != "ready":
        raise RuntimeError(f"`{version}` is not ready: {answer}")
    shown = product.answer("show", version)
    files = [shown["spec_path"], shown["lock_path"], shown["home"]]
    ours, python = [], []
    for _ in range(_RUNS):
        ours.append(spawn(comfyctl, "realize", version, environment=product.environment))
        python.append(spawn(sys.executable, "-S", str(_STAND_IN), *files, environment=product.environment))
    show("realize of a ready version, whole process", percentiles(ours), "goal <= 4 ms")
    show("  a Python stand-in for the old version.py", percentiles(python), f"the old one: {_OLD_MS} ms")
    show("  ratio of medians", ratio(ours, python))
    show("  the daemon's share (call and answer)", percentiles(_calls(product, version)), "goal <= 1 ms")


def _calls(product: Product, version: str) -> list[float]:
    """Times realize calls on one connection: what is left when comfyctl's own start is taken away."""
    times = []
    with Wire(product.socket) as wire:
        for _ in range(_RUNS):
            started = time.perf_counter()
            result = wire.call("realize", {"version": version})
            times.append(time.perf_counter() - started)
            if result["outcome"] != "ready":
                raise RuntimeError(f"realize of a ready version answered {result}")
    return times
