"""Makes git repositories whose commit ids depend on their files alone."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

DATE = "2025-11-26T00:00:00Z"
"""Author and committer date of every commit: ComfyUI 0.3.75 is of that day. comfyd resolves Python
packages as of the newest commit, so this date decides which packages are installed."""


def environment() -> dict[str, str]:
    """Returns an environment in which no configuration of this machine changes what git does."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    fixed = {
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_AUTHOR_NAME": "comfyd tests",
        "GIT_AUTHOR_EMAIL": "tests@localhost",
        "GIT_COMMITTER_NAME": "comfyd tests",
        "GIT_COMMITTER_EMAIL": "tests@localhost",
        "GIT_AUTHOR_DATE": DATE,
        "GIT_COMMITTER_DATE": DATE,
        "LC_ALL": "C",
    }
    return kept | fixed


def git(*arguments: str | Path) -> str:
    """Runs git and returns what it printed."""
    command = ["git", *map(str, arguments)]
    done = subprocess.run(command, env=environment(), text=True, capture_output=True)
    if done.returncode != 0:
        raise RuntimeError(f"`{' '.join(command)}` failed:\n{done.stderr.strip()}")
    return done.stdout.strip()


def publish(tree: Path, repository: Path, *, branch: str, message: str, tag: str | None = None) -> str:
    """Makes the bare repository `repository` with one commit of all files in `tree`; returns its id.

    File modes are normalised to 644, ignored files are included. The tag is an annotated one.
    """
    git("init", "--quiet", "--bare", "--template=", f"--initial-branch={branch}", repository)
    at = (f"--git-dir={repository}", f"--work-tree={tree}")
    git(*at, "-c", "core.fileMode=false", "-c", "core.autocrlf=false", "add", "--force", "--all")
    git(*at, "commit", "--quiet", f"--message={message}")
    if tag is not None:
        git(*at, "tag", "--annotate", f"--message={tag}", tag)
    # As the large hosts allow it: a commit may be asked for by its id alone.
    git(*at, "config", "uploadpack.allowAnySHA1InWant", "true")
    git(*at, "config", "uploadpack.allowFilter", "true")
    return git(*at, "rev-parse", "HEAD")
