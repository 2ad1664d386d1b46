"""Idle time: `make bench ONLY=idle`.

What a realize that someone waits for loses by a prefetch that is under way when it comes, and what a daemon with
nothing to do costs. A host gives all connections together so many bytes a second: what the prefetch took from it
would be missing.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from tests.real.product import Product, wait_until
from tests.real.server import Server

from ..fetch.host import FileHost
from ..figures import idle_share, ratio, show
from ..warm import fake

_PATH = "/likely.safetensors"
_RATE = 100_000_000
_WANTED = 200_000_000
_LIKELY = 3_000_000_000
"""More than comes in all turns together."""
_IDLE_S = 60


def measure(programs: Path, place: Path, server: Server, runs: int) -> None:
    """Prints the figures."""
    times = {}
    with FileHost(programs / "file-host") as host:
        host.pace(total=_RATE)
        likely = host.put(_PATH, size=_LIKELY)
        for mode in ("off", "fetched"):
            budgets = {"COMFYD_PREFETCH": mode, "COMFYD_PREFETCH_AFTER": "0", "COMFYD_PREFETCH_DISK": "1MB"}
            with Product(programs, place / f"idle-{mode}", **budgets) as product:
                _realized(product, server)
                link = None if mode == "off" else likely
                times[mode] = [_foreground(product, host, run, link) for run in range(runs)]
                product.answer("shutdown")
    show("a realize that comes into a prefetch, to one without", ratio(times["fetched"], times["off"]), "goal <= 1.05")
    with Product(programs, place / "idle-cpu", COMFYD_PREFETCH="primed") as product:
        _realized(product, server)
        _idle(product)
        product.answer("shutdown")


def _realized(product: Product, server: Server) -> None:
    for name in fake.realize(product, server, 2):
        product.answer("stop", name)


def _foreground(product: Product, host: FileHost, run: int, link: str | None) -> float:
    if link:
        before = host.sent(_PATH)
        _want(product, "fake0", link)
        wait_until(lambda: host.sent(_PATH) > before + _RATE / 2, limit_s=60, what="a prefetch")
    _want(product, "fake1", host.put(f"/wanted-{product.place.name}-{run}.safetensors", size=_WANTED))
    begun = time.perf_counter()
    product.answer("realize", "fake1")
    took = time.perf_counter() - begun
    if link:
        _want(product, "fake0", None)
        product.answer("shutdown")
        product.await_end()
        product.answer("status")
    return took


def _want(product: Product, version: str, link: str | None) -> None:
    spec = json.loads((product.volume / "versions" / f"{version}.json").read_text())
    models = [{"source": link, "target_subdir": "loras", "name": f"{version}.safetensors"}] if link else []
    product.write_spec(version, spec | {"models": models})


def _idle(product: Product) -> None:
    daemon = product.answer("status")["pid"]
    time.sleep(30)  # until what there was to do is done
    share = idle_share(daemon, _IDLE_S)
    show("comfyd with nothing to do, two versions, of a core", f"{share:.4%}", "goal <= 0.1 %")
