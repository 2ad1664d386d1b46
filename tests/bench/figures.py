"""Medians, clocks and the table."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path


def show(name: str, value: str, beside: str = "") -> None:
    """Prints one line of the table; `beside` is the goal or what else the figure is to be read with."""
    print(f"{name:<52} {value:>26}  {beside}".rstrip(), flush=True)


def percentiles(times_s: Sequence[float]) -> str:
    """Returns median and 95th percentile, in milliseconds."""
    return f"p50 {statistics.median(times_s) * 1e3:.2f}  p95 {p95(times_s) * 1e3:.2f} ms"


def p95(times_s: Sequence[float]) -> float:
    """Returns the 95th percentile of at least two values."""
    return statistics.quantiles(times_s, n=20, method="inclusive")[-1]


def ratio(ours_s: Sequence[float], theirs_s: Sequence[float]) -> str:
    """Returns the ratio of the medians."""
    return f"{statistics.median(ours_s) / statistics.median(theirs_s):.3f}"


def cpu_s(process: int) -> float:
    """Returns the processor time that a process has used, its threads included, without children."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def idle_share(process: int, seconds: int) -> float:
    """Returns the share of one processor that a process takes while this one sleeps."""
    before = cpu_s(process)
    time.sleep(seconds)
    return (cpu_s(process) - before) / seconds


def spawn(program: str | Path, *arguments: str, environment: dict[str, str]) -> float:
    """Runs a program without output; returns the seconds from its start to its end.

    It is started by `posix_spawn`: forking a Python process would cost more than comfyctl itself.
    """
    quiet = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
    started = time.perf_counter()
    process = os.posix_spawn(program, [str(program), *arguments], environment, file_actions=quiet)
    _, status = os.waitpid(process, 0)
    took = time.perf_counter() - started
    if (code := os.waitstatus_to_exitcode(status)) != 0:
        raise RuntimeError(f"`{program} {' '.join(arguments)}` ended with {code}")
    return took
