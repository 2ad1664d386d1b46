"""`python3 -m tests.real`: runs the scenario and ends with `N passed, N failed`."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
import traceback
import unittest
from pathlib import Path

from . import test_parts
from .comfyui import CHECKOUT
from .product import Product
from .scenario import Scenario
from .server import Server

_LOG_TAIL = 60
"""Lines of each log that are shown after a failure."""


def main() -> int:
    """Returns the exit status."""
    options = _options()
    # A request to end becomes an exception, so that whatever was started is ended too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    parts = unittest.TextTestRunner(verbosity=0).run(unittest.defaultTestLoader.loadTestsFromModule(test_parts))
    if not parts.wasSuccessful():
        failed = len(parts.failures) + len(parts.errors)
        print(f"{parts.testsRun - failed} passed, {failed} failed")
        return 1
    options.place.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(dir=options.place))
    print(f"comfyctl of `{options.programs}`, everything it makes is below `{place}`", flush=True)
    try:
        return _play(options.programs, place)
    finally:
        if options.keep:
            print(f"kept: `{place}`")
        else:
            shutil.rmtree(place)


def _play(programs: Path, place: Path) -> int:
    served = place / "served"
    served.mkdir()
    passed, failed = 0, 0
    with Server(served) as server, Product(programs, place) as product:
        steps = Scenario(product, server).steps()
        for step in steps:
            started = time.monotonic()
            try:
                step()
            except Exception:
                failed += 1
                print(f"FAIL {time.monotonic() - started:6.1f} s  {step.__doc__}", flush=True)
                _explain(product)
                break
            passed += 1
            print(f"ok   {time.monotonic() - started:6.1f} s  {step.__doc__}", flush=True)
    skipped = len(steps) - passed - failed
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed else 0


def _explain(product: Product) -> None:
    traceback.print_exc()
    for log in product.logs():
        lines = log.read_text(errors="replace").splitlines()
        print(f"--- the end of `{log}`", *lines[-_LOG_TAIL:], sep="\n")
    for process, command in product.processes().items():
        print(f"--- still running: {process} {command}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python3 -m tests.real", description=__doc__)
    programs = CHECKOUT / "target/debug"
    parser.add_argument("--programs", type=lambda text: Path(text).resolve(), default=programs, help="where comfyctl and comfyd lie")
    parser.add_argument("--place", type=Path, default=CHECKOUT / ".cache/real", help="where to work: 15 GB")
    parser.add_argument("--keep", action="store_true", help="leave everything there")
    options = parser.parse_args()
    for program in ("comfyctl", "comfyd"):
        if not (options.programs / program).exists():
            parser.error(f"`{options.programs / program}` is not there: `make build` makes it")
    return options


if __name__ == "__main__":
    sys.exit(main())
