"""Versions of the fake ComfyUI of the tests: they start in a moment and need no package."""

from __future__ import annotations

import json
import subprocess

from tests.real.product import Product
from tests.real.server import Server

from ..fetch.ours import publish_comfyui
from ..figures import show

_CLIENTS = 64
_CALLS = 200
_PAUSE_MS = 100
"""What a client does not call for after a call: a quick job."""


def realize(product: Product, server: Server, count: int) -> list[str]:
    """Makes versions that differ in a variable; returns their names."""
    repository = publish_comfyui(server)
    names = [f"fake{number}" for number in range(count)]
    for name in names:
        comfy = {"repo": repository, "ref": "main"}
        product.write_spec(name, {"schema_version": 2, "comfy": comfy, "env": {"BENCH": name}})
        product.answer("warm", name)
    return names


def latency(product: Product, version: str) -> None:
    """Prints how long `warm` takes on a version that runs."""
    for clients, pause_ms in ((1, 0), (_CLIENTS, _PAUSE_MS), (_CLIENTS, 0)):
        program = product.programs / "examples/latency"
        command = [program, product.socket, version, str(clients), str(_CALLS), str(pause_ms)]
        told = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
        figures = f"p50 {told['p50_us'] / 1e3:.2f}  p99 {told['p99_us'] / 1e3:.2f} ms"
        goal = "goal p50 <= 1, p99 <= 5 ms" if pause_ms else ""
        often = f"each every {pause_ms} ms" if pause_ms else "without a pause"
        show(f"warm on a running version, {clients} clients, {often}", figures, goal)
