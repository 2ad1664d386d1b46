"""A pod: people work on it, and it stays."""

from __future__ import annotations

import os
import shutil
import signal
import unittest
import urllib.request
from pathlib import Path
from typing import Any

from tests.handler.machine import Machine
from tests.real.product import wait_until

from .container import LIMIT_S, Container, free_port
from .image import Image

_ORPHANS = 100


class Pod(unittest.TestCase):
    """All share a volume, with two versions on it."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.machine = Machine()
        cls.addClassCleanup(cls.machine.__exit__)
        cls.volume = cls.machine.product.volume
        for version in ("one", "two"):
            cls.machine.version(version)
        cls.image = Image.read("pod")

    def pod(self, *command: str, volume: bool = True, **more: Any) -> Container:
        """Starts a container, which ends with the test."""
        more = {"COMFYD_PREFETCH": "off"} | more
        pod = Container(self.image, *command, mount_point="/workspace", volume=self.volume if volume else None, **more)
        self.addCleanup(pod.__exit__)
        return pod

    def test_versions_live_on_the_volume_and_a_stop_ends_everything(self) -> None:
        pod = self.pod()
        pod.await_service()
        pod.run(*self.image.healthcheck)
        pod.run("comfyctl", "warm", "one")
        current = os.readlink(self.volume / "comfy-one/current")
        self.assertTrue(current.startswith("generations/"), current)
        self.assertEqual(pod.answer("status")["instances"][0]["state"]["kind"], "ready")
        self.assertEqual(pod.stop(), 0, pod.said())
        self.assertIn("stopping", pod.said(), "comfyd's log is the container's")

    def test_what_loses_its_parent_is_reaped(self) -> None:
        pod = self.pod()
        pod.await_service()
        pod.run("sh", "-c", f"i=0; while [ $i -lt {_ORPHANS} ]; do i=$((i+1)); ((sleep 0.01; echo >>/ended) &); done")
        wait_until(lambda: pod.run("cat", "/ended").count("\n") == _ORPHANS, limit_s=LIMIT_S, what="the orphans' ends")
        wait_until(lambda: not pod.zombies(), limit_s=LIMIT_S, what="a first process that reaps")

    def test_a_version_is_there_for_people_and_outlives_a_crash_of_comfyd(self) -> None:
        port = free_port()
        pod = self.pod(COMFY_VERSION_ID="two", COMFY_UI_PORT=str(port))
        wait_until(lambda: _answers(port), limit_s=LIMIT_S, what="ComfyUI")
        (before,) = pod.answer("status")["instances"]
        (comfyd,) = [child for child in _comfyds(pod)]
        os.kill(comfyd, signal.SIGKILL)
        wait_until(lambda: "is started again" in pod.said() and pod.serves(), limit_s=LIMIT_S, what="another comfyd")
        (after,) = pod.answer("status")["instances"]
        self.assertEqual(after["state"]["pid"], before["state"]["pid"])
        self.assertTrue(_answers(port))
        self.assertEqual(pod.stop(), 0, pod.said())
        self.assertFalse(_answers(port))

    def test_a_pod_stays_when_comfyd_was_shut_down(self) -> None:
        pod = self.pod()
        pod.await_service()
        pod.run("comfyctl", "shutdown")
        wait_until(lambda: "the next comfyctl starts one" in pod.said(), limit_s=LIMIT_S, what="a word about it")
        self.assertIn("two", pod.run("comfyctl", "list"))
        self.assertTrue(pod.serves(), "comfyctl has started one")
        self.assertEqual(pod.stop(), 0, pod.said())

    def test_a_pod_without_its_volume_says_so_and_stays(self) -> None:
        pod = self.pod(volume=False, COMFY_VOLUME="/workspace", COMFYD_VOLUME_WAIT="1")
        wait_until(lambda: "the next comfyctl starts one" in pod.said(), limit_s=LIMIT_S, what="a word about it")
        self.assertIn("no volume was mounted at `/workspace` within 1 s", pod.said())
        self.assertEqual(pod.run("ls", "-A", "/workspace"), "")
        pod.mount(self.volume)
        self.assertIn("two", pod.run("comfyctl", "list"), "who repaired it goes on by hand")
        self.assertEqual(pod.stop(), 0, pod.said())

    def test_another_command_is_run_instead(self) -> None:
        pod = self.pod("comfyctl", "--version")
        self.assertEqual((pod.wait(), pod.said()[:9]), (0, "comfyctl "))
        pod = self.pod("comfyd")
        pod.await_service()
        self.assertEqual(pod.stop(), 0, pod.said())

    def test_it_needs_no_root(self) -> None:
        if os.geteuid() != 0:
            self.skipTest("nobody else is to be had here")
        nobody = 65534
        volume = Path(self.machine.place, "of-nobody")
        shutil.copytree(self.volume / "versions", volume / "versions")
        for path in (volume, volume / "versions"):
            os.chown(path, nobody, nobody)
        pod = Container(
            self.image, mount_point="/workspace", volume=volume, user=nobody, HOME="/workspace/home", PUBLIC_KEY="k"
        )
        self.addCleanup(pod.__exit__)
        pod.await_service()
        self.assertIn("no sshd that this user may run", pod.said())
        self.assertEqual((volume / "home").stat().st_uid, nobody)
        self.assertEqual(pod.stop(), 0, pod.said())


def _comfyds(pod: Container) -> list[int]:
    """Returns the pod's daemons."""
    return [pid for pid in pod.processes() if Path(f"/proc/{pid}/comm").read_text() == "comfyd\n"]


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/system_stats", timeout=LIMIT_S) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
