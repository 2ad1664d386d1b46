"""comfyd killed by SIGKILL at random moments of a download, and started again."""

from __future__ import annotations

import os
import random
import signal
import statistics
import subprocess
import time
from typing import TYPE_CHECKING, Any

from ..figures import show
from .host import FileHost
from .ours import VERSION, Ours, wanted

if TYPE_CHECKING:
    from . import Extent

_SIZE = 1_000_000_000
_LINE = 250_000_000
"""Bytes a second: without a bound, most of what a kill loses would lie in the sockets of loopback."""


def measure(ours: Ours, host: FileHost, extent: Extent) -> dict[str, Any]:
    """Each round is a download that is killed once; the host counts what it sends."""
    size = extent.bytes(_SIZE)
    host.pace(total=_LINE)
    shares = [_round(ours, host, number, size) for number in range(extent.kills)]
    host.pace()
    told = {
        "median": statistics.median(shares),
        "most": max(shares),
        "all": statistics.fmean(shares),
    }
    show(f"kill -9 at a random moment of {size / 1e9:.1f} GB, {len(shares)} times", "", "content identical")
    show("  bytes sent in all, to the size", f"{told['all']:.3f}", "goal <= 1.05")
    show("  the median round and the worst", f"{told['median']:.3f}, {told['most']:.3f}")
    return told


def _round(ours: Ours, host: FileHost, number: int, size: int) -> float:
    name = f"kill-{number}.safetensors"
    path = f"/{name}"
    url, moment = host.put(path, size=size), random.randrange(size)
    ours.product.write_spec(VERSION, ours.spec(wanted([(url, name)])))
    daemon = ours.daemon()
    client = subprocess.Popen(
        [ours.product.programs / "comfyctl", "realize", VERSION, "--quiet"],
        env=ours.product.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while host.sent(path) < moment and client.poll() is None:
        time.sleep(0.001)
    os.kill(daemon, signal.SIGKILL)
    client.wait()
    ours.fetch([(url, name)])
    host.check(path, ours.models / name)
    sent = host.sent(path)
    ours.forget_models()
    return sent / size
