"""`python3 -m docs.recording` makes `session.svg`, the picture in the README, anew.

It is a real session: the programs of `make dist`, the real ComfyUI, a terminal of 80 columns. Only
the waiting is shorter: what a command took longer than some seconds is played faster. The session runs in
a mount namespace of its own, so that the picture shows `/home` and `/mnt` and not the machine it was made on.

Needs what `make demo` needs, and `unshare` with the right to use it. The renderer comes from a package
index for the moment and stays nowhere.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.real.comfyui import CHECKOUT, publish_comfyui
from tests.real.product import uv
from tests.real.server import Server

from .terminal import COLUMNS, ROWS, Recording

SESSION = (
    "comfyctl realize demo --dry-run",
    "comfyctl realize demo",
    "comfyctl run --version-id demo --workflow demo/workflow.json --output images",
    "comfyctl status",
)
HOME = Path("/home/you")
VOLUME = Path("/mnt")
RENDERER = ("svg-term-cli@2.1.1", "svg-term")
PICTURE = CHECKOUT / "docs/recording/session.svg"


def main() -> int:
    """Returns the exit status."""
    options = _options()
    if options.inside:
        return _record(options.inside, options.programs)
    (CHECKOUT / ".cache").mkdir(exist_ok=True)
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=CHECKOUT / ".cache")))
        served = place / "served"
        publish_comfyui(served / "git/ComfyUI.git")
        server = stack.enter_context(Server(served))
        _lay_out(place)
        environment = os.environ | {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"url.{server.url('git/ComfyUI')}.insteadOf",
            "GIT_CONFIG_VALUE_0": json.loads((CHECKOUT / "versions/demo.json").read_text())["comfy"]["repo"],
        }
        again = [sys.executable, "-m", "docs.recording", "--programs", options.programs, "--inside", place]
        # In a namespace of its own for processes too: with its first process it ends all that it started.
        namespace = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
        subprocess.run([*namespace, *again], env=environment, cwd=CHECKOUT, check=True)
        _render(place / "session.cast")
    return 0


def _lay_out(place: Path) -> None:
    checkout = place / "home" / HOME.name / "comfyd"
    for folder in ("versions", "demo"):
        shutil.copytree(CHECKOUT / folder, checkout / folder)
    (place / "volume").mkdir()


def _record(place: Path, programs: Path) -> int:
    for name, target in (("home", HOME.parent), ("volume", VOLUME)):
        subprocess.run(["mount", "--bind", place / name, target], check=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("COMFY", "XDG_", "HF_"))}
    environment = kept | uv() | {
        "HOME": str(HOME),
        "COMFY_VOLUME": str(VOLUME),
        "COMFYD_PREFETCH": "off",
        "PATH": f"{programs}:{os.environ['PATH']}",
        "LANG": "C.UTF-8",
        "TERM": "xterm-256color",
    }
    recording = Recording(HOME / "comfyd", environment)
    for command in SESSION:
        if status := recording.play(command):
            print(f"`{command}` ended with {status}", file=sys.stderr)
            return status
    recording.write(place / "session.cast")
    subprocess.run(["comfyctl", "shutdown"], env=environment, check=True)
    return 0


def _render(cast: Path) -> None:
    package, program = RENDERER
    size = ["--width", str(COLUMNS), "--height", str(ROWS)]
    command = ["npm", "exec", "--yes", f"--package={package}", "--", program, *size, "--window", "--no-cursor"]
    subprocess.run([*command, "--in", cast, "--out", PICTURE], check=True)
    print(f"`{PICTURE.relative_to(CHECKOUT)}`: {PICTURE.stat().st_size // 1000} kB")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python3 -m docs.recording", description=__doc__)
    programs = CHECKOUT / "target/dist"
    parser.add_argument("--programs", type=lambda text: Path(text).resolve(), default=programs, help="where comfyctl and comfyd lie")
    # The second call of this program, in the namespace.
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
