"""Files over HTTP: one big one, slow connections, many far away."""

from __future__ import annotations

import os
import shutil
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..figures import show
from .host import FileHost
from .ours import Ours
from .peers import Spent, aria2c, aria2c_list, curl

if TYPE_CHECKING:
    from . import Extent

_GB = 1_000_000_000
_CONNECTIONS = 16
_CONNECTION_RATE = 20_000_000
_LATENCY_MS = 80
_MEMORY_GOAL = 32 << 20


def big(ours: Ours, host: FileHost, disk: str, extent: Extent) -> dict[str, Any]:
    """One file without any limit, on a disk."""
    size = extent.bytes(4 * _GB)
    host.pace()
    spent = _in_turns(ours, host, [size], extent.runs, {"curl": _with(curl), "aria2c": _with(aria2c)})
    title = f"{size / _GB:.1f} GB, no limit, {disk}"
    goals = {"curl": 0.7, "aria2c": 0.6}
    return _tell(title, spent, goals, {"curl": 1.0})


def slow_connections(ours: Ours, host: FileHost, extent: Extent) -> dict[str, Any]:
    """One file from a host that gives each connection a sixteenth of the line."""
    size = extent.bytes(2 * _GB)
    host.pace(per_connection=_CONNECTION_RATE)
    spent = _in_turns(ours, host, [size], extent.runs, {"aria2c": _with(aria2c)})
    host.pace()
    title = f"{size / _GB:.1f} GB, {_CONNECTION_RATE / 1e6:.0f} MB/s a connection"
    told = _tell(title, spent, {"aria2c": 0.8}, {})
    worth = size / _median([run.wall_s for run in spent["comfyd"]]) / (_CONNECTIONS * _CONNECTION_RATE)
    show(f"  of what {_CONNECTIONS} connections give", f"{worth:.3f}", "goal >= 0.95")
    return told | {"of sixteen connections": worth}


def many(ours: Ours, host: FileHost, extent: Extent) -> dict[str, Any]:
    """Twenty files from a host that is far away; the host waits before it answers, connected or anew."""
    sizes = [extent.bytes(50_000_000)] * 20
    host.pace(connect_ms=_LATENCY_MS, request_ms=_LATENCY_MS)
    spent = _in_turns(ours, host, sizes, extent.runs, {"aria2c": aria2c_list})
    host.pace()
    title = f"20 files of {sizes[0] / 1e6:.0f} MB, {_LATENCY_MS} ms away"
    return _tell(title, spent, {"aria2c": 0.8}, {})


_Peer = Callable[[list[str], Path], Spent]


def _with(peer: Callable[[str, Path], Spent]) -> _Peer:
    return lambda urls, directory: peer(urls[0], directory / "file")


def _in_turns(
    ours: Ours, host: FileHost, sizes: Sequence[int], runs: int, peers: dict[str, _Peer]
) -> dict[str, list[Spent]]:
    """Fetches the same files by all, in another order each time; each run has files of its own."""
    spent: dict[str, list[Spent]] = {name: [] for name in ("comfyd", *peers)}
    for run in range(runs):
        paths = [f"/{sizes[0]}-{run}-{number}.safetensors" for number in range(len(sizes))]
        urls = [host.put(path, size=size) for path, size in zip(paths, sizes, strict=True)]
        names = list(spent)
        for name in names[run % len(names) :] + names[: run % len(names)]:
            os.sync()  # what the one before has left is none of this one's business
            if name == "comfyd":
                spent[name].append(_ours(ours, host, paths, urls))
                continue
            directory = ours.place / "peer"
            directory.mkdir()
            spent[name].append(peers[name](urls, directory))
            shutil.rmtree(directory)
    return spent


def _ours(ours: Ours, host: FileHost, paths: list[str], urls: list[str]) -> Spent:
    names = [path.removeprefix("/") for path in paths]
    spent = ours.fetch(list(zip(urls, names, strict=True)))
    for path, name in zip(paths, names, strict=True):
        host.check(path, ours.models / name)
    ours.forget_models()
    return spent


def _tell(
    title: str, spent: dict[str, list[Spent]], walls: dict[str, float], cpus: dict[str, float]
) -> dict[str, Any]:
    medians = {name: _median([run.wall_s for run in runs]) for name, runs in spent.items()}
    show(title, "", ", ".join(f"{name} {wall:.2f} s" for name, wall in medians.items()))
    told: dict[str, Any] = {"wall_s": {name: [run.wall_s for run in runs] for name, runs in spent.items()}}
    for name, goal in walls.items():
        told[f"wall to {name}"] = medians["comfyd"] / medians[name]
        show(f"  wall, ratio to {name}", f"{told[f'wall to {name}']:.3f}", f"goal <= {goal:.2f}")
    for name, goal in cpus.items():
        ours, theirs = (_median([run.cpu_s for run in spent[who]]) for who in ("comfyd", name))
        told[f"cpu to {name}"] = ours / theirs
        show(f"  CPU, ratio to {name}", f"{ours / theirs:.3f}", f"goal <= {goal:.2f} ({ours:.2f} s to {theirs:.2f} s)")
    memory = max(run.memory_bytes for run in spent["comfyd"])
    told["memory_bytes"] = memory
    show("  resident above idle, the most", f"{memory / (1 << 20):.1f} MiB", f"goal <= {_MEMORY_GOAL >> 20} MiB")
    return told


def _median(values: Sequence[float]) -> float:
    return statistics.median(values)
