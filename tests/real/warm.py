"""What stays when processes die: a ComfyUI that is killed between jobs, a daemon that is killed during one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

from .product import Product, wait_until
from .workflow import slow

_START_S = 300
_UNAVAILABLE = 17
"""Exit status when the daemon is gone (`ErrorKind::Unavailable`)."""


def instance(product: Product) -> dict[str, Any]:
    """Returns the one ComfyUI that there is."""
    (found,) = product.answer("status")["instances"]
    return found


def warm_twice(product: Product, version: str) -> None:
    """Raises unless the second claim finds the process of the first."""
    product.answer("stop", version)
    first = product.answer("warm", version, limit_s=_START_S)
    assert first["how"] == "started" and first["timings"]["start_ms"] > 0, first
    second = product.answer("warm", version)
    assert second["how"] == "running", second
    assert second["instance"]["state"] == first["instance"]["state"], (first, second)
    assert second["timings"]["total_ms"] < first["timings"]["start_ms"] / 10, (first, second)


def primed(product: Product, version: str) -> None:
    """Raises unless a version that was primed starts from its zygote; prints what that gains."""
    product.answer("prefetch", version, limit_s=_START_S)
    standing = product.answer("status")["versions"]
    assert any(one.get("zygote") for one in standing), standing
    product.answer("stop", version)
    answer = product.answer("warm", version, limit_s=_START_S)
    assert answer["instance"].get("forked"), answer
    recorded = json.loads((product.volume / f"comfy-{version}/current/start.json").read_text())
    took_ms, plain_ms = answer["timings"]["start_ms"], recorded["took_ms"]
    print(f"     {took_ms / 1000:.1f} s from its zygote, {plain_ms / 1000:.1f} s plainly", flush=True)


def kill_comfyui(product: Product) -> None:
    """Kills ComfyUI as the kernel does when memory is short."""
    os.kill(instance(product)["state"]["pid"], signal.SIGKILL)


def killed_daemon_during_job(product: Product, version: str) -> None:
    """Raises unless the next daemon returns what the job of the killed one made, without making it twice."""
    file = product.place / "slow.json"
    file.write_text(json.dumps(slow()))
    output = product.place / "slow"
    words = ("run", "--version-id", version, "--workflow", str(file), "--output", str(output), "--job-id", "slow-1")
    before = instance(product)
    command = [str(product.programs / "comfyctl"), *words]
    silent = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=product.environment, cwd=product.place, **silent) as client:
        wait_until(lambda: _queue(before)["queue_running"], limit_s=60, what="the job in ComfyUI")
        os.kill(product.answer("status")["pid"], signal.SIGKILL)
        assert client.wait(30) == _UNAVAILABLE, client.returncode
    answer = product.answer(*words, limit_s=_START_S)
    after = instance(product)
    assert after["adopted"] and after["state"]["pid"] == before["state"]["pid"], (before, after)
    (image,) = [Path(out["file"]["path"]) for out in answer["outputs"]]
    assert image.is_file() and output in image.parents, answer
    made = list((product.volume / f"comfy-{version}/output").glob("slow_*.png"))
    assert len(made) == 1, f"the job ran {len(made)} times"


def _queue(found: dict[str, Any]) -> dict[str, Any]:
    with urllib.request.urlopen(f"{found['url']}/queue", timeout=10) as answer:
        return json.load(answer)
