"""Shows what a newcomer does with comfyctl, on `versions/demo.json`: plan, realize, test, run.

Everything it makes lies in the checkout's `demo-home/`; the home directory is not touched. Run again,
it uses what is there. Needs about 15 GB of disk.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.real.comfyui import CHECKOUT, publish_comfyui
from tests.real.product import uv
from tests.real.server import Server

PROGRAMS = CHECKOUT / "target/release"
PLACE = CHECKOUT / "demo-home"
VERSION = "demo"
SPEC = CHECKOUT / f"versions/{VERSION}.json"
REACHABLE_S = 15
"""How long the repository's host may take to answer before ComfyUI is taken from elsewhere."""


def main() -> int:
    """Returns the exit status."""
    try:
        return _show()
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _show() -> int:
    images = PLACE / "images"
    shutil.rmtree(images, ignore_errors=True)
    with ExitStack() as stack:
        environment = _environment(stack)
        stack.callback(_comfyctl, environment, "shutdown")
        run = ("run", "--version-id", VERSION, "--workflow", "demo/workflow.json", "--output", images.relative_to(CHECKOUT))
        for command in (
            ("realize", VERSION, "--dry-run"),
            ("realize", VERSION),
            ("test", VERSION),
            run,
        ):
            if status := _comfyctl(environment, *command):
                return status
    made = sorted(images.rglob("*.png"))
    if not made:
        print(f"no image in `{images}`", file=sys.stderr)
        return 1
    print("\nThe image that ComfyUI made:", *made, sep="\n")
    return 0


def _comfyctl(environment: dict[str, str], *arguments: str | Path) -> int:
    words = [str(argument) for argument in arguments]
    print(f"\n$ comfyctl {shlex.join(words)}", flush=True)
    # Ctrl-C is comfyctl's, which ends its work in order; `run` would kill it.
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        return subprocess.run([PROGRAMS / "comfyctl", *words], env=environment, cwd=CHECKOUT).returncode
    finally:
        signal.signal(signal.SIGINT, before)


def _environment(stack: ExitStack) -> dict[str, str]:
    """Returns the environment of comfyctl, and through it of the daemon that it starts."""
    PLACE.mkdir(exist_ok=True)
    # A socket's path may have 107 bytes at most; the checkout may lie deep.
    short = stack.enter_context(tempfile.TemporaryDirectory(prefix="comfyd-"))
    own = {
        "COMFY_VOLUME": str(PLACE),
        "COMFY_CACHE_ROOT": str(PLACE / ".comfy-cache"),
        "COMFYD_STATE_DIR": str(PLACE / "state"),
        "COMFYD_SOCKET": f"{short}/comfyd.sock",
        "COMFYD_BIN": str(PROGRAMS / "comfyd"),
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("COMFY", "MODELS_DIR"))}
    return inherited | own | uv() | _comfyui_source(stack)


def _comfyui_source(stack: ExitStack) -> dict[str, str]:
    """Returns what git must be told so that the spec's link to ComfyUI leads somewhere."""
    comfy = json.loads(SPEC.read_text())["comfy"]
    if _answers(comfy["repo"]):
        return {}
    print(f"`{comfy['repo']}` does not answer:", "ComfyUI is taken from the Python package index instead.", sep="\n")
    served = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="comfyd-")))
    publish_comfyui(served / "git/ComfyUI.git")
    server = stack.enter_context(Server(served))
    return {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{server.url('git/ComfyUI')}.insteadOf",
        "GIT_CONFIG_VALUE_0": comfy["repo"],
    }


def _answers(repository: str) -> bool:
    environment = os.environ | {"GIT_TERMINAL_PROMPT": "0"}
    command = ["git", "ls-remote", "--quiet", repository, "HEAD"]
    try:
        done = subprocess.run(command, env=environment, timeout=REACHABLE_S, capture_output=True)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
