"""`python3 -m tests.systemd`, as root: boots a Debian with the package and ends with `N passed, N failed`."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.real.comfyui import CHECKOUT
from tests.real.server import Server

from . import debian, package
from .container import Container
from .machine import Machine
from .scenario import Scenario


def main() -> int:
    """Returns the exit status."""
    programs = _options().programs
    if os.geteuid() != 0:
        print("only root can boot a container: `make test-systemd` as root", file=sys.stderr)
        return 1
    # A request to end becomes an exception, so that whatever was started is ended too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    started = time.monotonic()
    root = debian.root()
    place = Path(tempfile.mkdtemp(prefix="comfyd-systemd-"))
    try:
        packages = [package.build(programs, place, version) for version in ("0.0.1", "0.0.2")]
        print(f"ok   {time.monotonic() - started:6.1f} s  a Debian and two packages are made", flush=True)
        return _play(root, place, packages)
    finally:
        shutil.rmtree(place)


def _play(root: Path, place: Path, packages: list[Path]) -> int:
    (served := place / "served").mkdir()
    shown = {"packages": place, "uv": CHECKOUT / ".tools/uv/bin"}
    passed = 0
    with Server(served) as server, Container(root, place, **shown) as container:
        steps = Scenario(Machine(container, server), *packages).steps()
        for step in steps:
            started = time.monotonic()
            try:
                step()
            except Exception:
                print(f"FAIL {time.monotonic() - started:6.1f} s  {step.__doc__}", flush=True)
                traceback.print_exc()
                print("--- the end of the journal", container.journal(), sep="\n")
                print(f"{passed} passed, 1 failed, {len(steps) - passed - 1} skipped")
                return 1
            passed += 1
            print(f"ok   {time.monotonic() - started:6.1f} s  {step.__doc__}", flush=True)
    print(f"{passed} passed, 0 failed")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python3 -m tests.systemd", description=__doc__)
    programs = CHECKOUT / "target/debug"
    parser.add_argument("--programs", type=lambda text: Path(text).resolve(), default=programs, help="where comfyctl and comfyd lie")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
