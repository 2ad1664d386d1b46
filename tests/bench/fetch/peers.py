"""curl, aria2c and git, as a person would call them; the time and memory of a child process."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from tests.real.git import environment


@dataclass(frozen=True)
class Spent:
    """What a piece of work took."""

    wall_s: float
    cpu_s: float
    memory_bytes: int
    """The most that was resident; for a daemon, above what it needs idle."""


def install_aria2() -> None:
    """Installs aria2c from the distribution, where it is missing."""
    if shutil.which("aria2c"):
        return
    if os.geteuid() != 0:
        raise RuntimeError("there is no `aria2c`: install your distribution's package `aria2`")
    quiet = {"env": os.environ | {"DEBIAN_FRONTEND": "noninteractive"}, "stdout": subprocess.DEVNULL}
    subprocess.run(["apt-get", "install", "-y", "-q", "aria2"], check=True, **quiet)


def curl(url: str, file: Path) -> Spent:
    """Fetches a file over one connection."""
    return run("curl", "--silent", "--show-error", "--fail", "--output", str(file), url)


def aria2c(url: str, file: Path) -> Spent:
    """Fetches a file over sixteen connections."""
    return run(*_ARIA2C, f"--dir={file.parent}", f"--out={file.name}", url)


def aria2c_list(urls: list[str], directory: Path) -> Spent:
    """Fetches files, each under its own name."""
    listed = directory / "list.txt"
    listed.write_text("".join(f"{url}\n" for url in urls))
    return run(*_ARIA2C, f"--dir={directory}", f"--input-file={listed}")


# `falloc` is what comfyd does too; the default would write the file twice on some disks.
_ARIA2C = ("aria2c", "-x16", "-s16", "-k1M", "--file-allocation=falloc", "--no-conf", "--quiet")


def fetch_commit(repository: str, commit: str, directory: Path) -> Spent:
    """Fetches one commit and checks it out."""
    steps = (
        f"git init --quiet {directory}",
        f"cd {directory}",
        f"git fetch --quiet --depth 1 {repository} {commit}",
        "git -c advice.detachedHead=false checkout --quiet FETCH_HEAD",
    )
    return run("sh", "-c", " && ".join(steps))


def clone(repository: str, directory: Path) -> Spent:
    """Clones everything."""
    return run("git", "clone", "--quiet", repository, str(directory))


def clones_in_turn(repositories: list[str], directory: Path) -> Spent:
    """Clones the newest commits, one repository after the other."""
    directory.mkdir()
    each = (f"git clone --quiet --depth 1 {url} {directory}/{n}" for n, url in enumerate(repositories))
    return run("sh", "-c", " && ".join(each))


def run(*command: str) -> Spent:
    """Runs a program to its end."""
    program = shutil.which(command[0])
    if program is None:
        raise RuntimeError(f"there is no program `{command[0]}`")
    started = time.perf_counter()
    process = os.posix_spawn(program, command, environment())
    _, status, usage = os.wait4(process, 0)
    took = time.perf_counter() - started
    if (code := os.waitstatus_to_exitcode(status)) != 0:
        raise RuntimeError(f"`{' '.join(command)}` ended with {code}")
    return Spent(took, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)
