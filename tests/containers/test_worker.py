"""A serverless worker: jobs come from RunPod's SDK, versions from a volume that a pod has filled."""

from __future__ import annotations

import json
import os
import signal
import unittest
from pathlib import Path
from typing import Any

from tests.handler.machine import Machine, image
from tests.handler.runpod import RunPod
from tests.real.product import wait_until

from .container import LIMIT_S, Container
from .image import Image

# The SDK looks for a public name server and for much free disk before its first job.
_NO_CHECKS = {"RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true", "RUNPOD_SKIP_GPU_CHECK": "true"}


class Worker(unittest.TestCase):
    """All share a volume, on which a pod has realized a version."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.machine = Machine()
        cls.addClassCleanup(cls.machine.__exit__)
        cls.volume = cls.machine.product.volume
        cls.machine.version("one")
        pod = Image.read("pod")
        with Container(pod, mount_point="/workspace", volume=cls.volume, COMFYD_PREFETCH="off") as container:
            container.await_service()
            container.run("comfyctl", "realize", "one")
            container.stop()
        cls.image = Image.read("worker")

    def setUp(self) -> None:
        self.runpod = RunPod()
        self.addCleanup(self.runpod.__exit__)

    def worker(self, *command: str, volume: Path | None, **more: Any) -> Container:
        """Starts a container, which ends with the test."""
        variables = {"COMFYD_PREFETCH": "off", "COMFY_OFFLINE": "1"} | _NO_CHECKS | more
        worker = Container(self.image, *command, mount_point="/runpod-volume", volume=volume, **variables)
        self.addCleanup(worker.__exit__)
        return worker

    def job(self, name: str, **slow: int) -> tuple[str, dict[str, Any]]:
        """Returns a job's id, unique to the test, and its input."""
        return f"{self.id().rpartition('.')[2]}-{name}", {"workflow": image(**slow)}

    def test_what_a_pod_has_realized_serves_jobs(self) -> None:
        worker = self.worker(volume=self.volume, COMFY_VERSION_ID="one", **self.runpod.variables())
        result = self.runpod.run(*self.job("a"))
        self.assertNotIn("error", result, worker.said())
        self.assertEqual(result["output"]["images"][0]["mime"], "image/png")
        self.assertNotEqual(result["output"]["how"], "realized", "nothing was left to do")
        self.assertEqual(worker.stop(), 0, worker.said())

    def test_a_stop_has_the_job_done_first(self) -> None:
        worker = self.worker(volume=self.volume, COMFY_VERSION_ID="one", **self.runpod.variables())
        self.runpod.run(*self.job("first"))
        job, asked = self.job("last", steps=40, ms=50)
        self.runpod.put(job, asked)
        wait_until(lambda: self._works(worker), limit_s=LIMIT_S, what="a job that runs")
        os.kill(worker.first, signal.SIGTERM)
        self.assertIn("images", self.runpod.result(job)["output"])
        self.assertEqual(worker.wait(), 0, worker.said())

    def test_a_volume_may_come_late(self) -> None:
        worker = self.worker(
            volume=None, COMFY_VERSION_ID="one", COMFYD_VOLUME_WAIT="600", **self.runpod.variables()
        )
        waits = "waiting until a volume is mounted at `/runpod-volume` or `/workspace`"
        wait_until(lambda: waits in worker.said(), limit_s=LIMIT_S, what="a word about it")
        job, asked = self.job("a")
        self.runpod.put(job, asked)
        self.assertEqual(worker.run("ls", "-A", "/runpod-volume"), "", "nothing is made where the volume will be")
        self.assertEqual(len(self.runpod.waiting), 1, "jobs are left to workers that can do them")
        worker.mount(self.volume)
        self.assertIn("images", self.runpod.result(job)["output"], worker.said())
        self.assertEqual(worker.stop(), 0, worker.said())

    def test_a_worker_that_waits_can_be_stopped(self) -> None:
        worker = self.worker(volume=None, COMFYD_VOLUME_WAIT="600", **self.runpod.variables())
        wait_until(lambda: "waiting until" in worker.said(), limit_s=LIMIT_S, what="a word about it")
        self.assertEqual(worker.stop(), 0, worker.said())

    def test_a_worker_without_its_volume_fails_and_says_why(self) -> None:
        worker = self.worker(volume=None, COMFYD_VOLUME_WAIT="1", **self.runpod.variables())
        self.assertEqual(worker.wait(), 1)
        self.assertIn("no volume was mounted at `/runpod-volume` or `/workspace` within 1 s", worker.said())

    def test_one_job_can_be_tried_without_runpod(self) -> None:
        tried = json.dumps({"input": {"version_id": "one", "workflow": image()}})
        worker = self.worker("worker", "--test_input", tried, volume=self.volume)
        self.assertEqual(worker.wait(), 0, worker.said())
        self.assertIn("made_0000", worker.said())

    def _works(self, worker: Container) -> bool:
        return bool(worker.answer("status")["workflows"])
