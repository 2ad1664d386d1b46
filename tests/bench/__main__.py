"""`python3 -m tests.bench`: prints every figure beside its goal. The first image and the fetches take minutes."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from tests.real.comfyui import CHECKOUT
from tests.real.product import Product
from tests.real.server import Server

from . import binaries, fetch, first_image, idle, prefetch, ready, start, volume, warm

_SECTIONS = ("binaries", "fetch", "first-image", "idle", "prefetch", "ready", "start", "volume", "warm")


def main() -> None:
    """Prints the sections that were asked for."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    options.place.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(dir=options.place))
    served = place / "served"
    served.mkdir()
    try:
        with Server(served) as server, Product(options.programs, place) as product:
            _measure(options, product, server)
    finally:
        shutil.rmtree(place)


def _measure(options: argparse.Namespace, product: Product, server: Server) -> None:
    sections = options.only or _SECTIONS
    if "binaries" in sections:
        binaries.measure(product)
    if "fetch" in sections:
        extent = fetch.Extent(options.runs or 5, options.size, options.kills)
        fetch.measure(options.programs, product.place, server, extent)
    if "prefetch" in sections:
        prefetch.measure(options.programs)
    if "warm" in sections:
        warm.measure(options.programs, product.place, server, warm.Extent(options.jobs, options.kill_every))
    if "idle" in sections:
        idle.measure(options.programs, product.place, server, options.runs or 5)
    of_comfyui = {"first-image", "ready", "start", "volume"} & set(sections)
    if not of_comfyui:
        return
    first_image.publish(server)
    if "start" in sections:
        with Product(options.programs, product.place / "start") as starting:
            start.measure(starting, server, options.runs or 3)
    if of_comfyui == {"start"}:
        return
    if "first-image" in sections:
        first_image.measure(product, server, options.runs or 1)
    else:
        first_image.realize(product, server)
    if "ready" in sections:
        ready.measure(product, first_image.VERSION)
    if "volume" in sections:
        volume.measure(product, first_image.VERSION)
    product.answer("shutdown")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python3 -m tests.bench", description=__doc__)
    parser.add_argument("--only", action="append", choices=_SECTIONS, help="a section; may be repeated")
    parser.add_argument("--runs", type=int, help="turns of each comparison (default 5; first images 1)")
    parser.add_argument("--size", type=float, default=1.0, help="fetch: share of the full sizes (default 1)")
    parser.add_argument("--kills", type=int, default=50, help="fetch: kills at random moments (default 50)")
    parser.add_argument("--jobs", type=int, default=1000, help="warm: jobs while processes are killed (default 1000)")
    parser.add_argument("--kill-every", type=float, default=20, help="warm: seconds between kills (default 20)")
    programs = CHECKOUT / "target/dist"
    parser.add_argument("--programs", type=Path, default=programs, help="where comfyctl and comfyd lie")
    parser.add_argument("--place", type=Path, default=CHECKOUT / ".cache/bench", help="where to work: 25 GB")
    options = parser.parse_args()
    options.programs, options.place = options.programs.resolve(), options.place.resolve()
    needed = ("comfyctl", "comfyd", *(["file-host"] if {"fetch", "idle"} & set(options.only or _SECTIONS) else []))
    for program in needed:
        if not (options.programs / program).exists():
            parser.error(f"`{options.programs / program}` is not there: `make dist` makes it")
    return options


if __name__ == "__main__":
    main()
