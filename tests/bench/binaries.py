"""Sizes of the shipped programs, start of comfyctl, memory of an idle comfyd."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.real.product import Product, wait_until

from .figures import percentiles, show, spawn

_STARTS = 300


def measure(product: Product) -> None:
    """Prints the figures."""
    for program, goal in (("comfyctl", "goal <= 1.50 MB"), ("comfyd", "")):
        show(f"{program}, size", f"{(product.programs / program).stat().st_size / 1e6:.2f} MB", goal)
    _starts(product)
    _idle(product)


def _starts(product: Product) -> None:
    comfyctl, nothing = product.programs / "comfyctl", shutil.which("true")
    if nothing is None:
        raise RuntimeError("there is no program `true`")
    ours, floor = [], []
    for _ in range(_STARTS):
        ours.append(spawn(comfyctl, "--version", environment=product.environment))
        floor.append(spawn(nothing, environment=product.environment))
    show("comfyctl --version, whole process", percentiles(ours), "goal <= 2 ms")
    show("  of which any process needs (`true`)", percentiles(floor))


def _idle(product: Product) -> None:
    daemon = subprocess.Popen(
        [product.programs / "comfyd"],
        env=product.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(product.socket.exists, limit_s=10, what="comfyd's socket")
        product.answer("status")  # it has served someone, and is idle again
        show("comfyd, idle, resident", f"{_kilobytes(daemon.pid, 'Rss') / 1e3:.1f} MB", "goal <= 15 MB")
        show("  without what it shares (PSS)", f"{_kilobytes(daemon.pid, 'Pss') / 1e3:.1f} MB")
    finally:
        daemon.terminate()
        daemon.wait(timeout=30)


def _kilobytes(process: int, field: str) -> float:
    """Returns a field of the process's memory summary, in units of 1000 bytes."""
    for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024 / 1000
    raise RuntimeError(f"no `{field}` in the kernel's summary")
