"""A machine that systemd-nspawn boots: changes to its disk are in memory, and gone with it.

It shares the network of this machine, so it reaches what tests serve on loopback. Commands enter its name spaces
(nsenter), since no service manager runs on this side that could ask the one in there.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.real.product import Failed, wait_until

_CGROUPS = Path("/sys/fs/cgroup")
_BOOT_S = 60.0
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "NO_COLOR": "1"}


class Container:
    """Use as a context, which ends it."""

    def __init__(self, root: Path, place: Path, **shown: Path) -> None:
        """Boots; `shown` are directories of this machine that are read-only under `/mnt/<name>` there."""
        self._console = place / "console.log"
        self._groups = [group / f"comfyd-test-{os.getpid()}" for group in _hierarchies()]
        # Of its own, so that it is nobody else's: without a service manager, nspawn takes the one it is in.
        for group in self._groups:
            group.mkdir()
        binds = [f"--bind-ro={path}:/mnt/{name}" for name, path in shown.items()]
        alone = ["--register=no", "--keep-unit", "--volatile=overlay", f"--machine=comfyd-test-{os.getpid()}"]
        with open(self._console, "wb") as console:
            self._nspawn = subprocess.Popen(
                ["systemd-nspawn", "--quiet", "--boot", f"--directory={root}", *alone, *binds],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                preexec_fn=self._join,
            )
        try:
            wait_until(self._is_up, limit_s=_BOOT_S, what="the boot of the container")
        except BaseException:
            print(self._console.read_text(errors="replace"))
            self.__exit__()
            raise

    def run(self, *command: str, user: str = "root", stdin: str = "", status: int | None = 0) -> str:
        """Runs a command there and returns what it wrote; None: it may end with any status."""
        done = self.start(*command, user=user)
        out, _ = done.communicate(stdin, timeout=180)
        if status is not None and done.returncode != status:
            raise Failed(f"`{' '.join(command)}` of {user} ended with {done.returncode}, not {status}:\n{out}")
        return out

    def start(self, *command: str, user: str = "root") -> subprocess.Popen[str]:
        """Starts a command there; standard error goes where standard output does."""
        home = "/root" if user == "root" else f"/home/{user}"
        spelt = [f"{name}={value}" for name, value in (_ENVIRONMENT | {"HOME": home}).items()]
        who = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"]
        return subprocess.Popen(
            ["nsenter", f"--target={self._leader()}", "--all", "--wdns=/", "env", "-i", *spelt, *who, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def path(self, path: str) -> Path:
        """Returns a path in there as it is for this side."""
        return Path(f"/proc/{self._leader()}/root{path}")

    def property(self, name: str, unit: str = "comfyd.service") -> str:
        """Returns what the service manager there says of a unit."""
        return self.run("systemctl", "show", f"--property={name}", "--value", unit).strip()

    def wait(self, condition: Callable[[], object], what: str, limit_s: float = 60.0) -> None:
        """Waits until something holds there."""
        wait_until(condition, limit_s=limit_s, what=what)

    def processes(self, user: str) -> dict[int, str]:
        """Returns the command lines of a user's processes, by their numbers there."""
        owner, found = int(self.run("id", "--user", user)), {}
        for entry in self.path("/proc").iterdir():
            try:
                if entry.name.isdigit() and entry.stat().st_uid == owner:
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue  # ended meanwhile
        return found

    def journal(self) -> str:
        """Returns the newest lines of the log."""
        return self.run("journalctl", "--boot", "--no-pager", "--lines=60", status=None)

    def _is_up(self) -> bool:
        if self._nspawn.poll() is not None:
            raise Failed(f"systemd-nspawn ended with {self._nspawn.returncode}")
        state = self.run("systemctl", "is-system-running", status=None) if self._leader() else ""
        return state.strip() in ("running", "degraded")

    def _leader(self) -> int:
        """Returns the first process in there, as numbered on this side; 0 before there is one."""
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children").read_text().split()
        return int(children[0]) if children else 0

    def _join(self) -> None:
        for group in self._groups:
            (group / "cgroup.procs").write_text(str(os.getpid()))

    def __enter__(self) -> "Container":
        return self

    def __exit__(self, *_: object) -> None:
        if self._nspawn.poll() is None and self._leader():
            self.run("systemctl", "poweroff", "--force", status=None)
        try:
            self._nspawn.wait(30)
        except subprocess.TimeoutExpired:
            self._nspawn.kill()
            self._nspawn.wait()
        for group in self._groups:
            _remove(group)


def _hierarchies() -> list[Path]:
    """Returns where a group is made: in the one hierarchy, or in systemd's two beside those of version 1."""
    if (_CGROUPS / "cgroup.controllers").exists():
        return [_CGROUPS]
    return [group for group in (_CGROUPS / "systemd", _CGROUPS / "unified") if group.is_dir()]


def _remove(group: Path) -> None:
    """Removes a group and those in it. The kernel takes a moment to see that its processes have ended."""
    for directory, _, _ in os.walk(group, topdown=False):
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            try:
                os.rmdir(directory)
                break
            except OSError:
                time.sleep(0.05)
