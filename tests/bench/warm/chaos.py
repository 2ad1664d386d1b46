"""A thousand jobs over three versions from eight clients, while a ComfyUI is killed again and again."""

from __future__ import annotations

import os
import queue
import random
import signal
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.real.product import Product

from ..figures import show
from ..wire import CallFailed, Wire

if TYPE_CHECKING:
    from . import Extent

_STEPS, _STEP_MS = 5, 80
_STRAIGHT, _RECOVERED = "own result", "own result, run again"


def measure(product: Product, versions: list[str], extent: Extent) -> None:
    """Prints what became of the jobs. Raises when one was lost, or got another one's result."""
    waiting: queue.Queue[int] = queue.Queue()
    for number in range(extent.jobs):
        waiting.put(number)
    ended: dict[int, str] = {}
    recovered = Counter[str]()
    over = threading.Event()
    killer = threading.Thread(target=_kill, args=(product, extent.kill_every_s, over, recovered))
    clients = [
        threading.Thread(target=_client, args=(product, versions, waiting, ended, recovered))
        for _ in range(extent.clients)
    ]
    started = time.monotonic()
    for thread in (killer, *clients):
        thread.start()
    for client in clients:
        client.join()
    over.set()
    killer.join()
    _check(product, versions, extent, ended)
    outcomes = Counter(ended.values())
    show(f"{extent.jobs} jobs, {extent.clients} clients, {len(versions)} versions", f"{time.monotonic() - started:.0f} s")
    own = outcomes.pop(_STRAIGHT, 0) + outcomes.pop(_RECOVERED, 0)
    show("  own result", str(own), f"{recovered['kills']} kills, {recovered['jobs']} run again")
    show("  clear errors", str(sum(outcomes.values())), ", ".join(f"{count} {kind}" for kind, count in outcomes.items()))
    show("  lost or twice", "0", "checked by files")
    peak = _peak(product.answer("status")["pid"])
    show("  comfyd, the most that was resident", f"{peak / 1e6:.1f} MB", "goal <= 60 MB")


def _client(
    product: Product,
    versions: list[str],
    waiting: "queue.Queue[int]",
    ended: dict[int, str],
    recovered: Counter[str],
) -> None:
    with Wire(product.socket) as wire:
        while True:
            try:
                number = waiting.get_nowait()
            except queue.Empty:
                return
            version = versions[number % len(versions)]
            job = {"version": version, "job_id": f"job-{number}", "workflow": _workflow(number)}
            try:
                answer = wire.call("run", job)
            except CallFailed as error:
                ended[number] = error.kind
                continue
            names = [output["file"]["filename"] for output in answer["outputs"] if output["node"] == "3"]
            if len(names) != 1 or not names[0].startswith(f"job{number}_"):
                raise RuntimeError(f"job {number} got {names}")
            recovered["jobs"] += bool(answer["recoveries"])
            ended[number] = _RECOVERED if answer["recoveries"] else _STRAIGHT


def _workflow(number: int) -> dict[str, Any]:
    size = {"width": 8, "height": 8, "batch_size": 1, "color": number}
    return {
        "1": {"class_type": "EmptyImage", "inputs": size},
        "2": {"class_type": "FakeSlow", "inputs": {"image": ["1", 0], "steps": _STEPS, "ms": _STEP_MS}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": f"job{number}"}},
        "4": {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}},
    }


def _kill(product: Product, every_s: float, over: threading.Event, recovered: Counter[str]) -> None:
    chance = random.Random(20261122)
    while not over.wait(every_s):
        alive = [found["state"]["pid"] for found in product.answer("status")["instances"] if "pid" in found["state"]]
        if alive:
            os.kill(chance.choice(alive), signal.SIGKILL)
            recovered["kills"] += 1


def _check(product: Product, versions: list[str], extent: "Extent", ended: dict[int, str]) -> None:
    lost = [number for number in range(extent.jobs) if number not in ended]
    if lost:
        raise RuntimeError(f"jobs that never ended: {lost}")
    for number, outcome in ended.items():
        output = product.volume / f"comfy-{versions[number % len(versions)]}/output"
        made = len(list(output.glob(f"job{number}_*.png")))
        if (outcome == _STRAIGHT and made != 1) or (outcome == _RECOVERED and made == 0):
            raise RuntimeError(f"job {number} ({outcome}) left {made} files")


def _peak(process: int) -> int:
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("the kernel tells no `VmHWM`")
