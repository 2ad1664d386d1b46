"""What the steps do in the container: comfyctl of its users, versions whose ComfyUI is the fake one."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from tests.bench.fetch.ours import comfyui_tree
from tests.real.git import publish
from tests.real.product import Failed
from tests.real.server import Server

from .container import Container

MEMBER, STRANGER, LONER = "alice", "mallory", "bob"
"""Users: a member of the group comfyd, one who is not, one with a comfyd of his own."""

SOCKET = "/run/comfyd/comfyd.sock"
HOME = "/var/lib/comfyd"

SETTINGS = """
COMFYD_UV=/mnt/uv/uv
COMFYD_PREFETCH=off
UV_NO_CONFIG=1
"""
"""Of the daemon: what a machine without a package index needs, and nothing that it does by itself."""

_DROP_IN = """
[Service]
WatchdogSec=9
TimeoutAbortSec=1
"""
"""A watchdog that a test can wait for."""

_GATE = """
import os, time
home = os.environ["HOME"]
open(home + "/reached", "w").close()
while not os.path.exists(home + "/open"):
    time.sleep(0.01)
"""
"""An `install.py` that waits until it may pass."""


class Machine:
    """The container, its users, and the host of its repositories."""

    def __init__(self, container: Container, server: Server) -> None:
        self.container = container
        self.server = server
        for user in (MEMBER, STRANGER, LONER):
            container.run("useradd", "--create-home", user)
        container.run("mkdir", "-p", "/etc/systemd/system/comfyd.service.d")
        self.write("/etc/systemd/system/comfyd.service.d/test.conf", _DROP_IN)

    def install(self, package: Path) -> str:
        """Installs a package, as `apt install ./comfyd.deb` would; returns what was said."""
        return self.container.run("dpkg", "--install", f"/mnt/packages/{package.name}")

    def write(self, path: str, text: str, user: str = "root") -> None:
        """Writes a file there as a user."""
        self.container.run("tee", path, user=user, stdin=text)

    def publish(self) -> None:
        """Makes the repositories of a ComfyUI and of a custom node that waits at a gate."""
        with tempfile.TemporaryDirectory() as scratch:
            comfyui_tree(tree := Path(scratch, "ComfyUI"))
            publish(tree, self.server.root / "git/ComfyUI.git", branch="main", message="a ComfyUI")
            (tree := Path(scratch, "gate")).mkdir()
            (tree / "__init__.py").write_text("NODE_CLASS_MAPPINGS = {}\n")
            (tree / "install.py").write_text(_GATE)
            publish(tree, self.server.root / "git/gate.git", branch="main", message="a gate")

    def write_spec(self, version: str, *nodes: str) -> None:
        """Puts a spec where the daemon seeks it, as a member of the group."""
        spec: dict[str, Any] = {"schema_version": 2, "comfy": {"repo": self.server.url("git/ComfyUI"), "ref": "main"}}
        spec["custom_nodes"] = [{"repo": self.server.url(f"git/{node}")} for node in nodes]
        self.write(f"{HOME}/versions/{version}.json", json.dumps(spec), user=MEMBER)

    def comfyctl(self, *arguments: str, user: str = MEMBER) -> Any:
        """Runs comfyctl with `--json`, which must succeed; returns the document that it printed."""
        text = self.container.run("comfyctl", *arguments, "--json", user=user)
        try:
            return json.loads(text)
        except ValueError as error:
            raise Failed(f"`comfyctl {' '.join(arguments)} --json` printed:\n{text}") from error

    def refused(self, *arguments: str, user: str, status: int) -> dict[str, Any]:
        """Runs comfyctl with `--json`, which must end with this status; returns the error that it printed."""
        return json.loads(self.container.run("comfyctl", *arguments, "--json", user=user, status=status))["error"]

    def start_comfyctl(self, *arguments: str) -> subprocess.Popen[str]:
        """Starts comfyctl as a member of the group."""
        return self.container.start("comfyctl", *arguments, user=MEMBER)

    def daemon(self) -> int:
        """Returns the daemon's process as systemd knows it; 0 when there is none."""
        return int(self.container.property("MainPID"))

    def instances(self) -> dict[str, int]:
        """Returns the processes of the ComfyUIs that run, by version."""
        instances = self.comfyctl("status")["instances"]
        return {instance["version_id"]: instance["state"]["pid"] for instance in instances}

    def signal(self, signal: str) -> None:
        """Sends a signal to the daemon, and to nobody else."""
        self.container.run("kill", f"-{signal}", str(self.daemon()))

    def await_restart(self, before: int) -> int:
        """Returns the daemon that systemd starts in the place of another one."""
        active = lambda: self.container.property("ActiveState") == "active" and self.daemon() not in (0, before)  # noqa: E731
        self.container.wait(active, "another daemon in the place of the one that ended")
        return self.daemon()
