"""Starts from a network volume: by its real paths, and from a local copy of what the first start read.

    boot.rs       packs what a recorded start read, as the daemon does when nobody asks for anything

The volume is the version's own directory behind FUSE, whose every operation takes a while (`slow-volume`). Each
turn is a worker of its own: an empty home, a volume just mounted (nothing of it is in the page cache), a daemon
without anything in the background. What counts is the whole `warm`, unpacking included.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

from tests.real.product import Product
from tests.real.scenario import START_S

from ..figures import show

_DELAYS_MS = {1: 0.3, 5: 0.1}
"""What each operation takes, and the goal: the share of a start by real paths."""
_LIMIT_S = 3 * START_S


def measure(product: Product, version: str) -> None:
    """Prints the figures. The version must be realized; its daemon is ended."""
    # Recorded, compiled, and once more without either.
    times = [_warm(product, version) for _ in range(2)]
    show("warm, local disk: recorded, then not", f"{times[0]:.1f}, {times[1]:.1f} s")
    product.answer("shutdown")
    product.await_end()
    packed = False
    for delay_ms, goal in _DELAYS_MS.items():
        with _mounted(product, delay_ms) as mount:
            plain = _worker(product, mount, version, COMFYD_SHADOW_BUDGET="0")
        if not packed:
            print("  " + _pack(product, version, delay_ms), flush=True)
            packed = True
        with _mounted(product, delay_ms) as mount:
            shadow = _worker(product, mount, version)
        with _mounted(product, delay_ms) as mount, ThreadPoolExecutor(2) as threads:
            both = list(threads.map(lambda _: _worker(product, mount, version), range(2)))
        show(f"warm, {delay_ms} ms an operation, by real paths", f"{plain:.1f} s")
        show("  from a local copy, unpacking included", f"{shadow:.1f} s")
        show("  ratio", f"{shadow / plain:.2f}", f"goal <= {goal}")
        show("  two workers at once", ", ".join(f"{time_s:.1f}" for time_s in both) + " s")


def _warm(product: Product, version: str) -> float:
    """Returns what `warm` took, in seconds; ComfyUI is ended."""
    took = product.answer("warm", version, limit_s=_LIMIT_S)["timings"]["total_ms"] / 1e3
    product.answer("stop", version)
    return took


def _worker(product: Product, mount: Path, version: str, **variables: str) -> float:
    """Warms the version on a machine that has nothing but the volume."""
    place = Path(tempfile.mkdtemp(dir=product.place))
    variables |= {"COMFY_VOLUME": str(mount), "COMFYD_PREFETCH": "off"}
    try:
        with Product(product.programs, place, **variables) as worker:
            took = _warm(worker, version)
            worker.answer("shutdown")
            worker.await_end()
            return took
    finally:
        shutil.rmtree(place)


def _pack(product: Product, version: str, delay_ms: int) -> str:
    with _mounted(product, delay_ms) as mount, tempfile.TemporaryDirectory() as home:
        current = mount / f"comfy-{version}" / "current"
        environment = {"HOME": home, "COMFY_VOLUME": str(mount)}
        command = [product.programs / "examples/boot", "pack", str(current)]
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        said, seconds = done.stdout.splitlines()
        return f"packed in {float(seconds):.1f} s: {said}"


@contextmanager
def _mounted(product: Product, delay_ms: int) -> Iterator[Path]:
    """Shows the product's volume behind FUSE; prints what was asked of it."""
    # Another one each time: who still looks into the one before, such as a search of the disk, keeps it mounted.
    mount = Path(tempfile.mkdtemp(prefix="mount", dir=product.place))
    command = [product.programs / "slow-volume", product.volume, mount, str(1000 * delay_ms)]
    volume = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert volume.stdin is not None and volume.stdout is not None
    try:
        if volume.stdout.readline().strip() != "mounted":
            raise RuntimeError("there is no FUSE here, or no right to mount")
        yield mount
        volume.stdin.write("\n")
        volume.stdin.flush()
        operations = json.loads(volume.stdout.readline())
        print("  operations:", ", ".join(f"{count} {name}" for name, count in operations.items()), flush=True)
    finally:
        volume.stdin.close()
        volume.wait(timeout=60)
        subprocess.run(["umount", "--lazy", mount], stderr=subprocess.DEVNULL)
