"""The custom node `comfyd-invert` as a git repository."""

from __future__ import annotations

from pathlib import Path

from .git import publish

DIRECTORY = "comfyd-invert"
"""Its directory under `custom_nodes`: the repository's name."""

CLASS_TYPE = "ComfydInvert"
"""Its one node, as workflows name it."""

PACKAGE = "webcolors"
"""What it requires from the package index; nothing of ComfyUI's needs it."""

BRANCH = "main"


def publish_node(repository: Path) -> str:
    """Makes the bare repository `repository` of the node's files; returns the commit id."""
    tree = Path(__file__).resolve().parent / DIRECTORY
    return publish(tree, repository, branch=BRANCH, message="comfyd-invert: a node to test with")
