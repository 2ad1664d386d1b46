"""How soon ComfyUI answers: `make bench ONLY=start`. Minutes, on the real ComfyUI.

Plain starts come first, with idle time switched off. Then the version is pinned to *primed*, and the same is
measured from its zygote: starts, the return after a crash while somebody holds it, memory, and what the daemon
costs while all of it waits. Files are in the page cache either way, since priming reads them too.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import time
from typing import Any

from tests.bench import first_image
from tests.bench.figures import idle_share, ratio, show
from tests.real.product import Product, wait_until
from tests.real.server import Server

_LIMIT_S = 600
_IDLE_S = 60


def measure(product: Product, server: Server, runs: int) -> None:
    """Prints the figures. Nothing may have been realized yet."""
    version = first_image.VERSION
    product.environment["COMFYD_PREFETCH"] = "off"
    first_image.realize(product, server)
    # The first one compiles the modules and is recorded.
    _start(product, version)
    plain = [_start(product, version) for _ in range(runs)]
    plain_back = [_back_after_crash(product, version) for _ in range(runs)]
    product.answer("shutdown")
    product.await_end()
    product.environment |= {"COMFYD_PREFETCH": "primed", "COMFYD_PREFETCH_AFTER": "0"}
    product.answer("pin", version, "--rung", "primed")
    began = time.monotonic()
    wait_until(lambda: _zygote(product), limit_s=_LIMIT_S, what="a zygote")
    priming_s = time.monotonic() - began
    primed = [_start(product, version) for _ in range(runs)]
    back = [_back_after_crash(product, version) for _ in range(runs)]
    show("plain start, p50", f"{statistics.median(plain):.1f} s")
    show("start from the zygote, p50", f"{statistics.median(primed):.1f} s")
    show("  ratio", ratio(primed, plain), "goal <= 0.25")
    show("back after a crash, plainly, p50", f"{statistics.median(plain_back):.1f} s")
    show("back after a crash, from the zygote, p50", f"{statistics.median(back):.1f} s")
    show("  ratio", ratio(back, plain_back), "goal <= 0.3")
    show("priming", f"{priming_s:.1f} s")
    _memory(product)
    product.answer("stop", version)
    _idle(product)
    product.answer("shutdown")


def _start(product: Product, version: str) -> float:
    product.answer("stop", version)
    answer = product.answer("warm", version, limit_s=_LIMIT_S)
    forked = answer["instance"].get("forked", False)
    if forked != (_zygote(product) is not None):
        raise RuntimeError(f"not started as it should be: {answer}")
    return answer["timings"]["start_ms"] / 1000


def _back_after_crash(product: Product, version: str) -> float:
    """Returns the seconds from a kill to the next process that is ready, while somebody holds the version."""
    product.answer("warm", version, limit_s=_LIMIT_S)
    # It holds the version for as long as it is connected.
    words = [str(product.programs / "comfyctl"), "warm", version, "--hold"]
    with subprocess.Popen(words, env=product.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as holder:
        wait_until(lambda: _instance(product)["leases"] > 0, limit_s=30, what="a claim")
        before = _instance(product)
        os.kill(before["state"]["pid"], signal.SIGKILL)
        began = time.monotonic()
        is_back = lambda: (now := _instance(product))["state"]["kind"] == "ready" and now["restarts"] > before["restarts"]
        wait_until(is_back, limit_s=_LIMIT_S, what="the next process")
        took = time.monotonic() - began
        holder.terminate()
    return took


def _memory(product: Product) -> None:
    zygote, instance = _zygote(product), _instance(product)["state"]["pid"]
    for name, process in (("the zygote", zygote["pid"]), ("its instance", instance)):
        values = _smaps(process)
        private = values["Private_Dirty"] + values["Private_Clean"]
        show(f"memory of {name}, PSS", f"{values['Pss'] >> 10} MiB, {private >> 10} of its own")


def _idle(product: Product) -> None:
    process = product.answer("status")["pid"]
    share = idle_share(process, _IDLE_S)
    show(f"processor of comfyd, a zygote waits, {_IDLE_S} s", f"{share:.3%}", "goal <= 0.1 %")


def _zygote(product: Product) -> dict[str, Any] | None:
    standings = product.answer("status").get("versions", [])
    return next((standing["zygote"] for standing in standings if standing.get("zygote")), None)


def _instance(product: Product) -> dict[str, Any]:
    (found,) = product.answer("status")["instances"]
    return found


def _smaps(process: int) -> dict[str, int]:
    with open(f"/proc/{process}/smaps_rollup") as file:
        lines = (line.split() for line in file)
        return {words[0].rstrip(":"): int(words[1]) for words in lines if len(words) == 3}
