"""What the steps do in the container: comfyctl of its users, versions whose ComfyUI is the fake one."""

from __future__ import annotations

import json
import subprocess
import sys
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
        self.settings = f"COMFYD_UV=/mnt/uv/uv\nCOMFYD_PREFETCH=off\nUV_DEFAULT_INDEX={server.url('simple')}\n"
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
        """Makes the repositories of a ComfyUI and of a custom node that waits at a gate, and an index of packages:
        its directories, with what each environment of comfyd holds anyway."""
        wheels = self.server.root / "simple/pip"
        options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--dest", str(wheels)]
        subprocess.run([sys.executable, "-m", "pip", "download", *options, "pip"], check=True, stdin=subprocess.DEVNULL)
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
        return _document(self.container.run("comfyctl", *arguments, "--json", user=user))

    def refused(self, *arguments: str, user: str, status: int) -> dict[str, Any]:
        """Runs comfyctl with `--json`, which must end with this status; returns the error that it printed."""
        return _document(self.container.run("comfyctl", *arguments, "--json", user=user, status=status))["error"]

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
        self.container.run("systemctl", "kill", "--kill-who=main", f"--signal={signal}", "comfyd.service")

    def await_restart(self, before: int) -> int:
        """Returns the daemon that systemd starts in the place of another one."""
        active = lambda: self.container.property("ActiveState") == "active" and self.daemon() not in (0, before)  # noqa: E731
        self.container.wait(active, "another daemon in the place of the one that ended")
        return self.daemon()


def _document(text: str) -> Any:
    """Reads the one document that comfyctl prints; what it tells meanwhile stands before it."""
    try:
        return json.loads(text.splitlines()[-1])
    except (ValueError, IndexError) as error:
        raise Failed(f"comfyctl printed no document:\n{text}") from error
