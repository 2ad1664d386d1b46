"""A whole job on a warm ComfyUI: through comfyd, and by ComfyUI's own HTTP."""

from __future__ import annotations

import json
import time
import urllib.request
from typing import Any

from tests.real.product import Product

from ..figures import percentiles, show
from ..wire import Wire

_RUNS = 100
_POLL_S = 0.005


def measure(product: Product, version: str) -> None:
    """Prints what comfyd adds. Each job has a colour of its own, so that none is answered from a cache."""
    ours, straight = [], []
    with Wire(product.socket) as wire:
        url = wire.call("warm", {"version": version})["instance"]["url"]
        for number in range(_RUNS):
            started = time.perf_counter()
            answer = wire.call("run", {"version": version, "workflow": workflow(2 * number)})
            ours.append(time.perf_counter() - started)
            if not answer["outputs"]:
                raise RuntimeError(f"no output: {answer}")
            started = time.perf_counter()
            _straight(url, workflow(2 * number + 1))
            straight.append(time.perf_counter() - started)
    show("a job on a warm ComfyUI, comfyd", percentiles(ours))
    show("  posted straight, history every 5 ms", percentiles(straight))
    added = sorted(ours)[_RUNS // 2] - sorted(straight)[_RUNS // 2]
    show("  what comfyd adds, p50", f"{added * 1e3:.2f} ms", "goal <= 10 ms")


def workflow(colour: int) -> dict[str, Any]:
    """Returns a workflow that makes one small image."""
    size = {"width": 64, "height": 64, "batch_size": 1, "color": colour}
    return {
        "1": {"class_type": "EmptyImage", "inputs": size},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "bench"}},
    }


def _straight(url: str, prompt: dict[str, Any]) -> None:
    body = json.dumps({"prompt": prompt}).encode()
    posted = _json(urllib.request.Request(f"{url}/prompt", body, {"Content-Type": "application/json"}))
    while posted["prompt_id"] not in _json(f"{url}/history/{posted['prompt_id']}"):
        time.sleep(_POLL_S)


def _json(request: str | urllib.request.Request) -> Any:
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)
