"""A job of another version: on a worker that keeps both warm, and on one that starts ComfyUI for it."""

from __future__ import annotations

import statistics
import time

from tests.real import comfyui
from tests.real.product import Product
from tests.real.scenario import REALIZE_S, START_S
from tests.real.server import Server

from ..figures import show
from ..wire import Wire
from .overhead import workflow

_RUNS = 5


def realize(product: Product, server: Server) -> tuple[str, str]:
    """Makes two versions of the real ComfyUI; they share their packages."""
    comfyui.publish_comfyui(server.root / "git/upstream/ComfyUI.git")
    comfy = {"repo": server.url("git/upstream/ComfyUI"), "ref": comfyui.TAG}
    names = ("first", "second")
    for name in names:
        spec = {"schema_version": 2, "comfy": comfy, "env": {"BENCH": name}, "options": {"extra_args": ["--cpu"]}}
        product.write_spec(name, spec)
        product.answer("realize", name, limit_s=REALIZE_S)
    product.answer("warm", names[0], limit_s=START_S)
    return names


def measure(product: Product, first: str, second: str) -> None:
    """Prints the ratio. The usual worker has one version and starts ComfyUI for it: what `stop` and a job take."""
    cold, warm = [], []
    with Wire(product.socket) as wire:
        for number in range(_RUNS):
            product.answer("stop", second)
            cold.append(_job(wire, second, 1000 + 3 * number))
            _job(wire, first, 1001 + 3 * number)
            warm.append(_job(wire, second, 1002 + 3 * number))
    show("first job of a version that does not run", f"{statistics.median(cold):.2f} s", f"{_RUNS} runs")
    show("  its next one, after one of another version", f"{statistics.median(warm) * 1e3:.0f} ms")
    show("  ratio of medians", f"{statistics.median(warm) / statistics.median(cold):.4f}", "goal <= 0.1")


def _job(wire: Wire, version: str, colour: int) -> float:
    started = time.perf_counter()
    wire.call("run", {"version": version, "workflow": workflow(colour)})
    return time.perf_counter() - started
