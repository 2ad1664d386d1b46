"""What a machine's administrator and its users see, step by step. Each builds on those before it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from .machine import HOME, LONER, MEMBER, SOCKET, STRANGER, Machine

_REFUSED, _UNAVAILABLE = 7, 17
"""Exit statuses of comfyctl (client/README.md)."""

_MAX_EXPOSURE = 35
"""What `systemd-analyze security` may say at most, times ten: 3.0 now, and each point is explained in the unit."""

_ENVIRONMENT = "/etc/comfyd/comfyd.env"


class Scenario:
    """The steps, with what they have to know of one another."""

    def __init__(self, machine: Machine, first: Path, second: Path) -> None:
        self.machine = machine
        self.container = machine.container
        self.first, self.second = first, second

    def steps(self) -> list[Callable[[], None]]:
        """Returns the steps; the first line of each one's documentation is its name."""
        return [
            self.installs,
            self.units,
            self.members,
            self.realize,
            self.crash,
            self.hang,
            self.restart,
            self.upgrade,
            self.stop,
            self.slow_stop,
            self.own_daemon,
            self.removal,
        ]

    def installs(self) -> None:
        """the package installs: systemd listens, nothing runs"""
        self.machine.install(self.first)
        state = {unit: self.container.property("ActiveState", f"comfyd.{unit}") for unit in ("socket", "service")}
        assert state == {"socket": "active", "service": "inactive"}, state
        assert self.container.property("UnitFileState", "comfyd.socket") == "enabled"
        for path, expected in (
            (SOCKET, "comfyd:comfyd 660"),
            (_ENVIRONMENT, "root:root 600"),
            (HOME, "comfyd:comfyd 750"),
            (f"{HOME}/versions", "comfyd:comfyd 2770"),
        ):
            found = self.container.run("stat", "--format=%U:%G %a", path).strip()
            assert found == expected, f"`{path}` is {found}"
        self.container.run("usermod", "--append", "--groups=comfyd", MEMBER)
        self.machine.write(_ENVIRONMENT, self.machine.settings)

    def units(self) -> None:
        """systemd finds no fault with the units, and little that is exposed"""
        for scope in ("system", "user"):
            units = [f"/usr/lib/systemd/{scope}/comfyd.{kind}" for kind in ("service", "socket")]
            verify = ("env", "XDG_RUNTIME_DIR=/tmp", "systemd-analyze", "verify")
            said = self.container.run(*verify, "--man=no", f"--{scope}", *units)
            assert not said.strip(), said
        threshold = f"--threshold={_MAX_EXPOSURE}"
        self.container.run("systemd-analyze", "security", "--offline=yes", "--no-pager", threshold, "comfyd.service")

    def members(self) -> None:
        """the first request of a member starts the daemon; root is served too, others are not"""
        error = self.machine.refused("status", "--socket", SOCKET, user=STRANGER, status=_REFUSED)
        assert error["kind"] == "access" and "group" in error["hint"], error
        assert self.container.property("ActiveState") == "inactive", "a stranger started it"
        self.machine.refused("status", "--no-start", user=MEMBER, status=_UNAVAILABLE)
        assert self.container.property("ActiveState") == "inactive", "who forbade it started it"
        status = self.machine.comfyctl("status")
        assert status["pid"] == self.machine.daemon() and status["socket"] == SOCKET, status
        assert self.container.property("Type") == "notify" and self.container.property("User") == "comfyd"
        assert self.machine.comfyctl("status", user="root")["pid"] == status["pid"]
        # What runs without HOME has no place for a daemon of its own.
        homeless = self.container.run("env", "--unset=HOME", "comfyctl", "doctor", "--quick", user=MEMBER, status=None)
        assert SOCKET in homeless, homeless
        # Who may not use it gets a daemon of his own, as where there is none.
        own = self.machine.comfyctl("status", user=STRANGER)
        assert own["socket"].startswith(f"/home/{STRANGER}/") and own["pid"] != status["pid"], own
        self.machine.comfyctl("shutdown", user=STRANGER)

    def realize(self) -> None:
        """a version is realized and runs, as the user comfyd"""
        self.machine.publish()
        self.machine.write_spec("plain")
        answer = self.machine.comfyctl("realize", "plain")
        assert (answer["outcome"], answer["home"]) == ("realized", f"{HOME}/comfy-plain"), answer
        self.machine.comfyctl("ui", "plain", "--detach")
        assert self.machine.instances()["plain"] in self.container.processes("comfyd")
        served = lambda: "1 ComfyUI" in self.container.property("StatusText")  # noqa: E731
        self.container.wait(served, "a word of the daemon about what it does")

    def crash(self) -> None:
        """a daemon that is killed comes back, and its ComfyUI never left"""
        self._comes_back("KILL", result="signal")

    def hang(self) -> None:
        """a daemon that hangs is ended by the watchdog; the same holds"""
        self._comes_back("STOP", result="watchdog")

    def _comes_back(self, signal: str, result: str) -> None:
        before, running = self.machine.daemon(), self.machine.instances()
        self.machine.signal(signal)
        after = self.machine.await_restart(before)
        assert self.machine.instances() == running, "the ComfyUI is another one"
        assert self.machine.comfyctl("status")["pid"] == after
        assert f"Failed with result '{result}'" in self.container.journal(), self.container.journal()

    def restart(self) -> None:
        """a restart in the middle of a realize costs what was not done yet"""
        self.machine.write_spec("gated", "gate")
        client = self.machine.start_comfyctl("realize", "gated", "--json")
        reached = self.container.path(f"{HOME}/reached")
        self.container.wait(reached.exists, "a realize that runs `install.py`")
        before = self.machine.daemon()
        self.container.run("systemctl", "restart", "comfyd")
        said, _ = client.communicate(timeout=60)
        assert client.returncode not in (0, None), said
        assert self.machine.daemon() not in (0, before)
        # What git had to give is here: from now on nothing is at the spec's links.
        shutil.rmtree(self.machine.server.root / "git")
        self.machine.write(f"{HOME}/open", "", user="comfyd")
        assert self.machine.comfyctl("realize", "gated")["outcome"] == "realized"

    def upgrade(self) -> None:
        """an upgrade lets the new daemon answer, and keeps what was set and made"""
        before = self.machine.daemon()
        self.machine.install(self.second)
        version = self.container.run("dpkg-query", "--show", "--showformat=${Version}", "comfyd")
        assert version == self.second.stem.removeprefix("comfyd_"), version
        after = self.machine.comfyctl("status")["pid"]
        assert after == self.machine.daemon() != before
        program = self.container.run("readlink", f"/proc/{after}/exe").strip()
        assert program == "/usr/bin/comfyd", f"the daemon is still `{program}`"
        assert self.container.run("cat", _ENVIRONMENT) == self.machine.settings
        assert self.machine.comfyctl("realize", "plain")["outcome"] == "ready"

    def stop(self) -> None:
        """a stop leaves nothing behind, and the socket is gone with its unit"""
        self.machine.comfyctl("ui", "plain", "--detach")
        self.container.run("systemctl", "stop", "comfyd.socket", "comfyd.service")
        assert self.container.property("Result") == "success", self.container.journal()
        self._nothing_runs()
        assert not self.container.path(SOCKET).exists()

    def slow_stop(self) -> None:
        """a daemon that does not stop in time is killed, with all that it started"""
        self.container.run("systemctl", "start", "comfyd.socket")
        self.machine.comfyctl("ui", "plain", "--detach")
        # Told to stop by a signal that tells it nothing.
        drop_in = "[Service]\nTimeoutStopSec=2\nKillSignal=SIGCONT\n"
        self.machine.write("/etc/systemd/system/comfyd.service.d/slow.conf", drop_in)
        self.container.run("systemctl", "daemon-reload")
        self.container.run("systemctl", "stop", "comfyd.service")
        assert self.container.property("Result") == "timeout", self.container.property("Result")
        self._nothing_runs()

    def _nothing_runs(self) -> None:
        left = self.container.processes("comfyd")
        assert not left, left

    def own_daemon(self) -> None:
        """a user's own units listen in his runtime directory, and stop with nothing left"""
        run = f"/run/user/{self.container.run('id', '--user', LONER).strip()}"

        def as_user(*command: str) -> str:
            return self.container.run("env", f"XDG_RUNTIME_DIR={run}", *command, user=LONER)

        self.container.run("loginctl", "enable-linger", LONER)
        self.container.wait(self.container.path(f"{run}/systemd/private").exists, "the user's service manager")
        as_user("systemctl", "--user", "enable", "--now", "comfyd.socket")
        status = as_user("comfyctl", "status", "--json")
        assert f'"socket":"{run}/comfyd.sock"' in status, status
        main = as_user("systemctl", "--user", "show", "--property=MainPID", "--value", "comfyd").strip()
        assert f'"pid":{main},' in status, (main, status)
        as_user("systemctl", "--user", "stop", "comfyd.socket", "comfyd.service")
        left = [command for command in self.container.processes(LONER).values() if "comfyd" in command]
        assert not left, left

    def removal(self) -> None:
        """a purge takes what comfyd wrote for itself, and leaves versions, models and specs"""
        self.container.run("dpkg", "--purge", "comfyd")
        for path in (SOCKET, "/etc/comfyd", "/var/cache/comfyd", f"{HOME}/state", "/usr/lib/systemd/system/comfyd.service"):
            assert not self.container.path(path).exists(), f"`{path}` is left"
        for path in (f"{HOME}/versions/plain.json", f"{HOME}/comfy-plain/current/ComfyUI/main.py"):
            self.container.run("test", "-e", path)
        known = self.container.run("systemctl", "list-unit-files", "--no-legend", "comfyd.*", status=None)
        assert "enabled" not in known, known
