"""Repositories over git's smart HTTP: one commit of a long history, and nine repositories at once.

comfyd's side is `repositories.rs`: what `realize` does with repositories, linked from comfyd's library. A
whole `realize` that gains a node also resolves packages and builds a generation, which is no fetch. Both
sides write to memory, and neither syncs. The clock of comfyd's side begins in a process that runs, as a daemon
does, and has looked at one host before.
"""

from __future__ import annotations

import random
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.real.git import environment, git
from tests.real.server import Server

from ..figures import show
from .ours import comfyui_tree
from .peers import clone, clones_in_turn, fetch_commit

if TYPE_CHECKING:
    from . import Extent

_NODES = 8
_COMMITS = 5000


def measure(programs: Path, place: Path, server: Server, extent: Extent) -> dict[str, Any]:
    """Prints the figures of both rows."""
    root = server.root / "git/bench"
    names = _Names(server, root)
    long = _history(root / "long.git", files=400, commits=max(10, int(_COMMITS * extent.size)), seed=1)
    commit = git(f"--git-dir={long}", "rev-parse", "HEAD")
    one = {
        "comfyd": lambda at: _comfyd(programs, at, [(names.new(long), commit)]),
        "git fetch --depth 1": lambda at: fetch_commit(names.new(long), commit, at / "checkout").wall_s,
        "git clone": lambda at: clone(names.new(long), at / "checkout").wall_s,
    }
    count = git(f"--git-dir={long}", "rev-list", "--count", "HEAD")
    comfy = _history(root / "comfy.git", files=600, commits=50, seed=2, comfyui=True)
    all_nine = [comfy, *(_history(root / f"node{n}.git", files=60, commits=50, seed=3 + n) for n in range(_NODES))]
    nine = {
        "comfyd": lambda at: _comfyd(programs, at, [(names.new(each), "main") for each in all_nine]),
        "git clone --depth 1": lambda at: clones_in_turn([names.new(each) for each in all_nine], at / "clones").wall_s,
    }
    goals = {"git fetch --depth 1": 0.8, "git clone": 0.3}
    return {
        "one commit": _tell(f"one commit of {count}, with checkout", _in_turns(place, one, extent.runs), goals),
        "nine repositories": _tell(
            f"{_NODES} nodes and ComfyUI", _in_turns(place, nine, extent.runs), {"git clone --depth 1": 0.35}
        ),
    }


def _comfyd(programs: Path, at: Path, repositories: list[tuple[str, str]]) -> float:
    words = (word for pair in repositories for word in pair)
    command = (str(programs / "examples/repositories"), str(at / "home"), str(at / "checkouts"), *words)
    ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment())
    return float(ran.stdout)


def _in_turns(place: Path, sides: dict[str, Callable[[Path], float]], runs: int) -> dict[str, list[float]]:
    """Runs all sides, in another order each time, each in an empty directory."""
    spent: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(runs):
        order = list(sides)
        for name in order[turn % len(order) :] + order[: turn % len(order)]:
            at = place / "turn"
            at.mkdir(parents=True)
            spent[name].append(sides[name](at))
            shutil.rmtree(at)
    return spent


def _tell(title: str, spent: dict[str, list[float]], goals: dict[str, float]) -> dict[str, Any]:
    medians = {name: statistics.median(runs) for name, runs in spent.items()}
    show(title, "", ", ".join(f"{name} {wall:.2f} s" for name, wall in medians.items()))
    told: dict[str, Any] = {"wall_s": dict(spent)}
    for name, goal in goals.items():
        told[f"wall to {name}"] = medians["comfyd"] / medians[name]
        show(f"  wall, ratio to {name}", f"{told[f'wall to {name}']:.3f}", f"goal <= {goal:.2f}")
    return told


class _Names:
    """New links of repositories: nothing is cached for a link that nobody has asked for yet."""

    def __init__(self, server: Server, root: Path) -> None:
        self._server = server
        self._root = root
        self._count = 0

    def new(self, repository: Path) -> str:
        """Returns a link that was not used before."""
        self._count += 1
        name = f"{repository.stem}-{self._count}"
        (self._root / f"{name}.git").symlink_to(repository)
        return self._server.url(f"git/bench/{name}")


def _history(repository: Path, *, files: int, commits: int, seed: int, comfyui: bool = False) -> Path:
    """Makes a bare repository of `files` texts of 20 kB; each commit changes some lines of three."""
    git("init", "--quiet", "--bare", "--template=", "--initial-branch=main", repository)
    importing = ["git", f"--git-dir={repository}", "fast-import", "--quiet"]
    with subprocess.Popen(importing, stdin=subprocess.PIPE, env=environment()) as process:
        assert process.stdin is not None
        for part in _stream(files, commits, random.Random(seed), comfyui):
            process.stdin.write(part)
        process.stdin.close()
    if process.returncode != 0:
        raise RuntimeError(f"fast-import of `{repository}` ended with {process.returncode}")
    # As hosts keep it.
    git(f"--git-dir={repository}", "repack", "-adq")
    git(f"--git-dir={repository}", "config", "uploadpack.allowAnySHA1InWant", "true")
    return repository


def _stream(files: int, commits: int, chance: random.Random, comfyui: bool):
    """Yields the stream of `git fast-import`."""
    lines = [[f"{chance.getrandbits(256):064x}\n" for _ in range(300)] for _ in range(files)]
    for commit in range(commits):
        changed = range(files) if commit == 0 else [chance.randrange(files) for _ in range(3)]
        yield b"commit refs/heads/main\ncommitter bench <bench@localhost> %d +0000\n" % (1_735_689_600 + commit * 60)
        yield _data(b"commit %d" % commit)
        if commit == 0:
            yield from _head(comfyui)
        for number in changed:
            if commit > 0:
                lines[number][chance.randrange(300)] = f"{chance.getrandbits(256):064x}\n"
            yield b"M 644 inline src/part%d/file%d.py\n" % (number % 20, number)
            yield _data("".join(lines[number]).encode())


def _head(comfyui: bool):
    """Yields the files that comfyd takes a repository for a node by, or for ComfyUI."""
    if not comfyui:
        yield b"M 644 inline __init__.py\n" + _data(b"NODE_CLASS_MAPPINGS = {}\n")
        return
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch, "tree")
        comfyui_tree(tree)
        for file in sorted(path for path in tree.rglob("*") if path.is_file()):
            yield b"M 644 inline %s\n" % str(file.relative_to(tree)).encode() + _data(file.read_bytes())


def _data(content: bytes) -> bytes:
    return b"data %d\n%s\n" % (len(content), content)
