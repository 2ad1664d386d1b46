"""From an empty disk to an image: comfyctl against the plain recipe."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

from tests.real import comfyui
from tests.real.product import Product
from tests.real.scenario import REALIZE_S, START_S
from tests.real.server import Server

from .figures import ratio, show
from .plain import Plain

VERSION = "bench"
_WORKFLOW = comfyui.CHECKOUT / "demo/workflow.json"


def publish(server: Server) -> None:
    """Makes ComfyUI's repository."""
    comfyui.publish_comfyui(server.root / "git/upstream/ComfyUI.git")


def realize(product: Product, server: Server) -> None:
    """Makes the version that the figures are of: ComfyUI alone, no node, no model."""
    product.write_spec(
        VERSION,
        {
            "schema_version": 2,
            "comfy": {"repo": _repository(server), "ref": comfyui.TAG},
            "options": {"extra_args": ["--cpu"]},
        },
    )
    product.answer("realize", VERSION, limit_s=REALIZE_S)


def measure(product: Product, server: Server, runs: int) -> None:
    """Prints the figures of `runs` pairs. The product's place must be empty, and is realized at the end."""
    ours, plain = [], []
    for number in range(runs):
        if number > 0:
            _empty(product)
        ours.append(_with_comfyctl(product, server))
        plain.append(_plain(product, server))
    show("first image on an empty disk", _seconds(ours))
    show("  the plain recipe: clone, venv, pip, start, post", _seconds(plain))
    show(f"  ratio of medians of {runs}", ratio(ours, plain), "goal <= 0.30")


def _with_comfyctl(product: Product, server: Server) -> float:
    started = time.monotonic()
    realize(product, server)
    realized = time.monotonic()
    images = product.place / "images"
    command = ("run", "--version-id", VERSION, "--workflow", _WORKFLOW, "--output", images)
    run = product.answer(*command, limit_s=START_S)
    took = time.monotonic() - started
    if not list(images.rglob("*.png")):
        raise RuntimeError(f"no image in `{images}`: {run}")
    print(
        f"  comfyctl: realize {realized - started:.1f} s, start {run['start_ms'] / 1e3:.1f} s, "
        f"workflow {run['execute_ms'] / 1e3:.1f} s",
        flush=True,
    )
    # It would take memory and processor time from the recipe.
    product.answer("stop", VERSION)
    return took


def _plain(product: Product, server: Server) -> float:
    shown = product.answer("show", VERSION)
    pins = [package["requirement"] for package in shown["lock"]["python"]["packages"]]
    place = product.place / "plain"
    plain = Plain(place, _interpreter(shown), pins)
    try:
        took = plain.first_image(_repository(server), comfyui.TAG, json.loads(_WORKFLOW.read_text()))
    finally:
        shutil.rmtree(place)
    print("  plain:", ", ".join(f"{step} {time_s:.1f} s" for step, time_s in plain.times_s.items()), flush=True)
    return took


def _interpreter(shown: dict[str, Any]) -> Path:
    """Returns the interpreter that comfyd chose, from its environment's own record."""
    record = Path(shown["home"], ".venv/pyvenv.cfg").read_text()
    entries = dict(line.split(" = ", 1) for line in record.splitlines() if " = " in line)
    return Path(entries["home"]) / f"python{shown['lock']['python']['version']}"


def _empty(product: Product) -> None:
    """Removes everything that was made, the caches included; the daemon does not run meanwhile."""
    product.answer("shutdown")
    product.await_end()
    for directory in (product.home, product.volume, product.place / "images"):
        shutil.rmtree(directory)
    product.make_directories()


def _repository(server: Server) -> str:
    return server.url("git/upstream/ComfyUI")


def _seconds(times_s: list[float]) -> str:
    return ", ".join(f"{time_s:.1f}" for time_s in times_s) + " s"
