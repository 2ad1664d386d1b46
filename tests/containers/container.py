"""An image as a container: name spaces for processes and mounts, and a root directory of its own.

The root is this machine's, with the image's files on top (an overlay): what a container writes, nobody else sees. In
place of the base image's system there is this machine's, and the image's paths, variables, volume and first process are
as a container engine has them. The network is this machine's.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.real.comfyui import CHECKOUT
from tests.real.product import Failed, uv, wait_until

from .image import Image

GRACE_S = 10.0
"""What a container engine gives a container between SIGTERM and SIGKILL, unless it is told otherwise."""

LIMIT_S = 60.0
"""How long anything here may take; it takes seconds."""

_BEGIN = """\
set -eu
scratch=$1 files=$2 volume=$3 mount_point=$4
shift 4
mount -t tmpfs image "$scratch"
mkdir "$scratch/upper" "$scratch/work" "$scratch/root"
cp -a "$files/." "$scratch/upper/"
mount -t overlay image -o "lowerdir=/,upperdir=$scratch/upper,workdir=$scratch/work" "$scratch/root"
cd "$scratch/root"
mount --rbind /dev dev
mount -t proc proc proc
mount --rbind /sys sys
# What this machine's user has there is none of the container's business.
for own in root/.local root/.cache root/.comfy-cache root/.ssh; do
    mkdir -p "$own"
    mount -t tmpfs home "$own"
done
while [ "$1" != -- ]; do
    mkdir -p ".$1"
    mount --rbind "$1" ".$1"
    shift
done
shift
if [ -n "$volume" ]; then mount --bind "$volume" ".$mount_point"; fi
exec chroot . "$@"
"""


class Container:
    """A container of an image. Use as a context, which kills all that is left in it."""

    def __init__(
        self,
        image: Image,
        *command: str,
        mount_point: str,
        volume: Path | None,
        user: int | None = None,
        built: bool = True,
        **variables: str,
    ) -> None:
        """Starts it; without a volume, `mount` may bring it later. Without a command it is the image's own. With
        `built`, what the image's RUN lines install is there already."""
        self._scratch = Path(tempfile.mkdtemp(prefix="container-"))
        self._mount_point = mount_point
        self.environment = _of_network() | {"PATH": _path(), "HOME": "/root"} | image.variables | variables
        self.log = self._scratch.with_suffix(".log")
        first = [*image.entrypoint, *(command or image.command)]
        if user is not None:
            first = ["/usr/bin/setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *first]
        with tempfile.TemporaryDirectory() as files, open(self.log, "w") as log:
            _lay_out(image, Path(files), mount_point)
            if built:
                _install(Path(files))
            places = [self._scratch, files, volume or "", mount_point, *_beside_root(), "--"]
            self._outside = subprocess.Popen(
                ["unshare", "--mount", "--pid", "--fork", "--kill-child", *_as_root(), "sh", "-c", _BEGIN, "sh"]
                + [str(place) for place in places]
                + first,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
            wait_until(self._has_begun, limit_s=LIMIT_S, what="the container's begin")

    def _has_begun(self) -> bool:
        """Tells whether the first process is the image's, or has ended already."""
        if self._outside.poll() is not None:
            return True
        try:
            root = os.readlink(f"/proc/{self.first}/root")
        except (OSError, StopIteration):
            return False
        return root != "/"

    @property
    def first(self) -> int:
        """The first process's number outside."""
        return next(iter(_children(self._outside.pid)))

    def run(self, *command: str, status: int = 0, limit_s: float = LIMIT_S, **variables: str) -> str:
        """Runs a command in the container as `docker exec` does; returns what it wrote to standard output."""
        done = subprocess.run(
            ["nsenter", f"--target={self.first}", "--mount", "--pid", "--root", "--wd", *command],
            env=self.environment | variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=limit_s,
        )
        if done.returncode != status:
            raise Failed(f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}{self.said()}")
        return done.stdout

    def answer(self, *arguments: str) -> Any:
        """Runs comfyctl in the container, never to start a daemon; returns the document that it printed."""
        return json.loads(self.run("comfyctl", "--no-start", "--json", *arguments))

    def serves(self) -> bool:
        """Tells whether comfyd answers in the container."""
        try:
            self.answer("status")
        except (Failed, StopIteration):
            return False
        return True

    def await_service(self) -> None:
        """Returns when comfyd answers."""
        wait_until(lambda: self.serves() or self.ended(), limit_s=LIMIT_S, what="a comfyd that answers")
        if self.ended():
            raise Failed(f"the container ended:\n{self.said()}")

    def mount(self, volume: Path) -> None:
        """Mounts the volume, as some do after the container began."""
        place = f"{self._scratch}/root{self._mount_point}"
        subprocess.run(["nsenter", f"--target={self.first}", "--mount", "mount", "--bind", volume, place], check=True)

    def processes(self) -> dict[int, str]:
        """Returns the processes in it and the state of each, by their numbers outside (proc_pid_stat(5))."""
        space = os.readlink(f"/proc/{self.first}/ns/pid")
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                if os.readlink(entry / "ns/pid") == space:
                    found[int(entry.name)] = (entry / "stat").read_text().rpartition(") ")[2][0]
            except OSError:
                continue  # ended meanwhile
        return found

    def zombies(self) -> list[int]:
        """Returns the first process's children that are dead and not reaped."""
        return [child for child, state in _children(self.first).items() if state == "Z"]

    def said(self) -> str:
        """Returns what the container's log has."""
        return self.log.read_text()

    def ended(self) -> bool:
        """Tells whether it has ended."""
        return self._outside.poll() is not None

    def stop(self, signal_: int = signal.SIGTERM, limit_s: float = GRACE_S) -> int:
        """Asks it to end, as an engine does; returns its exit status."""
        os.kill(self.first, signal_)
        return self.wait(limit_s)

    def wait(self, limit_s: float = LIMIT_S) -> int:
        """Returns its exit status when it has ended."""
        try:
            return self._outside.wait(limit_s)
        except subprocess.TimeoutExpired as error:
            raise Failed(f"the container did not end within {limit_s:.0f} s:\n{self.said()}") from error

    def __enter__(self) -> "Container":
        return self

    def __exit__(self, *_: object) -> None:
        # Its first process dies with it, and with that all others.
        self._outside.kill()
        self._outside.wait()
        self.log.unlink()
        self._scratch.rmdir()


def _lay_out(image: Image, files: Path, mount_point: str) -> None:
    """Makes the files that the image adds to its base."""
    files.chmod(0o755)  # it becomes the root directory
    for stage, sources, place in image.copied:
        for source in sources:
            # The stage compiles what `make build` has compiled here.
            origin = CHECKOUT / source if stage is None else CHECKOUT / "target/debug" / Path(source).name
            copy = files / place.lstrip("/")
            copy = copy / origin.name if place.endswith("/") else copy
            copy.parent.mkdir(parents=True, exist_ok=True)
            if origin.is_dir():
                shutil.copytree(origin, copy)
            else:
                shutil.copy(origin, copy)
    (files / mount_point.lstrip("/")).mkdir()
    # As in base images: no package starts its service when it is installed (deb-systemd-invoke(1p)).
    policy = files / "usr/sbin/policy-rc.d"
    policy.parent.mkdir()
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)


def _install(files: Path) -> None:
    """Puts what this checkout has in place of what the RUN lines install."""
    programs = files / "usr/local/bin"
    (programs / "uv").symlink_to(uv()["COMFYD_UV"])
    (files / "opt").mkdir()
    (files / "opt/handler").symlink_to(sys.prefix)
    (programs / "comfyd-handler").symlink_to("/opt/handler/bin/comfyd-handler")


def free_port() -> int:
    """Returns a port of loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def _of_network() -> dict[str, str]:
    """Returns what this machine needs to reach package indexes; an image has no need of it."""
    names = re.compile(r"(PIP|UV|SSL_CERT)_\w+|(REQUESTS_CA|CURL_CA)_BUNDLE|\w+_proxy", re.IGNORECASE)
    return {name: value for name, value in os.environ.items() if names.fullmatch(name)}


def _path() -> str:
    """Returns PATH as images have it, with this machine's Python before all else."""
    return f"{sys.base_prefix}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def _beside_root() -> list[str]:
    """Returns what the container needs of this machine and what lies on another disk than its root."""
    root = os.stat("/").st_dev
    return [place for place in (str(CHECKOUT), sys.base_prefix) if os.stat(place).st_dev != root]


def _as_root() -> list[str]:
    return [] if os.geteuid() == 0 else ["--user", "--map-root-user"]


def _children(parent: int) -> dict[int, str]:
    """Returns the children of a process and the state of each."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            state, its_parent, *_ = (entry / "stat").read_text().rpartition(") ")[2].split()
        except OSError:
            continue  # ended meanwhile
        if int(its_parent) == parent:
            found[int(entry.name)] = state
    return found
