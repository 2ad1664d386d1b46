"""The worker loop of RunPod's SDK with the handler in it, against comfyd."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import time
import unittest
import urllib.request
from pathlib import Path
from typing import Any

from tests.real.product import wait_until

from .bucket import Bucket
from .machine import LIMIT_S, Machine, image
from .runpod import RunPod


class Worker(unittest.TestCase):
    """Each test has a worker of its own on a machine of all."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.machine = Machine()
        cls.addClassCleanup(cls.machine.__exit__)
        for version in ("one", "two"):
            cls.machine.version(version)
            cls.machine.product.comfyctl("realize", version)

    def setUp(self) -> None:
        self.runpod = RunPod()
        self.addCleanup(self.runpod.__exit__)

    def worker(self, **variables: str) -> subprocess.Popen[str]:
        """Starts a worker, which ends with the test."""
        process = self.machine.start(**self.runpod.variables(), **variables)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def job(self, name: str, version: str = "one", **more: Any) -> tuple[str, dict[str, Any]]:
        """Returns a job's id, unique to the test, and its input: a small image unless it says otherwise."""
        return f"{self.id().rpartition('.')[2]}-{name}", {"version_id": version, "workflow": image(), **more}

    def queue(self, version: str) -> list[Any]:
        """Returns what the ComfyUI of a version has to do, asked of itself."""
        for instance in self.machine.product.answer("status")["instances"]:
            if instance["version_id"] == version and instance["state"]["kind"] == "ready":
                with urllib.request.urlopen(f"{instance['url']}/queue", timeout=LIMIT_S) as answer:
                    queue = json.load(answer)
                return queue["queue_running"] + queue["queue_pending"]
        return []

    def files_of_jobs(self) -> set[Path]:
        """Returns what handlers have written for jobs; one that was killed leaves it."""
        return set(self.machine.product.home.glob(".local/state/comfyd/handler/**/*"))

    def await_running(self, version: str) -> None:
        wait_until(lambda: self.queue(version), limit_s=LIMIT_S, what="a workflow that runs")

    def test_jobs_of_two_versions_have_their_own_results(self) -> None:
        self.worker()
        for name, version in (("a", "one"), ("b", "two"), ("c", "one")):
            result = self.runpod.run(*self.job(name, version))
            output = result["output"]
            self.assertNotIn("error", result)
            self.assertEqual(output["version_id"], version)
            (made,) = output["images"]
            self.assertEqual((made["type"], made["mime"], made["node"]), ("base64", "image/png", "9"))
            self.assertTrue(base64.b64decode(made["data"]).startswith(b"\x89PNG"))
        self.assertFalse(output["cold"], "the first version was left running")
        self.assertGreaterEqual(output["timings"]["total_ms"], output["timings"]["execute_ms"])

    def test_inputs_reach_the_workflow_and_nothing_stays_behind(self) -> None:
        self.worker()
        workflow = {
            "1": {"class_type": "LoadImage", "inputs": {"image": "pic.png"}},
            "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "loaded"}},
        }
        # Larger than the daemon's longest line.
        picture = os.urandom(1 << 20)
        images = [{"name": "pic.png", "image": "data:image/png;base64," + base64.b64encode(picture).decode()}]
        before = self.files_of_jobs()
        result = self.runpod.run(*self.job("a", workflow=workflow, images=images))
        (made,) = result["output"]["images"]
        # The fake node makes an image as wide as its file is long.
        width = int.from_bytes(base64.b64decode(made["data"])[16:20], "big")
        self.assertEqual(width, len(picture))
        self.assertEqual(self.files_of_jobs(), before)

    def test_a_workflow_longer_than_a_line_is_run(self) -> None:
        self.worker()
        workflow = image() | {
            str(node): {"class_type": "EmptyImage", "inputs": {"note": "x" * 1000}} for node in range(100, 2000)
        }
        self.assertIn("images", self.runpod.run(*self.job("a", workflow=workflow))["output"])

    def test_outputs_go_where_runpods_own_upload_puts_them(self) -> None:
        bucket = Bucket()
        self.addCleanup(bucket.__exit__)
        keys = {"BUCKET_ACCESS_KEY_ID": "k3y", "BUCKET_SECRET_ACCESS_KEY": "s3cr3t"}
        self.worker(BUCKET_ENDPOINT_URL=bucket.url, **keys)
        job, asked = self.job("a")
        (made,) = self.runpod.run(job, asked)["output"]["images"]
        self.assertEqual(made["type"], "s3_url")
        with urllib.request.urlopen(made["data"], timeout=LIMIT_S) as answer:
            self.assertTrue(answer.read().startswith(b"\x89PNG"))
        self.assertIn("X-Amz-Expires=604800", made["data"])
        ((path, (kind, _)),) = bucket.objects.items()
        self.assertRegex(path, rf"^/{time.strftime('%m-%y')}/{job}/[^/]+\.png$")
        self.assertEqual(kind, "image/png")
        # The job may say otherwise.
        (made,) = self.runpod.run(*self.job("b", output_mode="base64"))["output"]["images"]
        self.assertEqual(made["type"], "base64")
        self.assertNotIn("s3cr3t", self.machine.log.read_text())

    def test_a_job_that_is_sent_again_runs_once(self) -> None:
        self.worker()
        # With an input: the second call must name the same file.
        workflow = {
            "1": {"class_type": "LoadImage", "inputs": {"image": "pic.png"}},
            "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "again"}},
        }
        images = [{"name": "pic.png", "image": base64.b64encode(b"picture").decode()}]
        job, asked = self.job("a", workflow=workflow, images=images)
        first = self.runpod.run(job, asked)["output"]
        self.runpod.told.clear()
        second = self.runpod.run(job, asked)["output"]
        self.assertEqual(second["images"], first["images"])

    def test_failures_are_told_in_worker_comfyuis_fields(self) -> None:
        self.worker()
        broken = {"1": {"class_type": "FakeFail", "inputs": {}}}
        broken |= {"2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0]}}}
        failed = self.runpod.run(*self.job("failed", workflow=broken))
        self.assertEqual(failed["error"], "Job processing failed")
        self.assertIn("this node always fails", failed["output"]["details"][0])
        refused = image() | {"1": {"class_type": "EmptyImage", "inputs": {"height": 8, "batch_size": 1, "color": 0}}}
        refused = self.runpod.run(*self.job("refused", workflow=refused))
        self.assertTrue(refused["error"].startswith("Workflow validation failed"), refused)
        self.assertIn("width", refused["error"])
        images = [{"name": "a.png", "image": "n o p e !"}]
        undecoded = self.runpod.run(*self.job("undecoded", images=images))
        self.assertEqual(undecoded["error"], "Failed to upload one or more input images")
        self.assertIn("a.png", undecoded["output"]["details"][0])
        absent = self.runpod.run(*self.job("absent", "no-such-version"))
        self.assertEqual(absent["output"]["kind"], "not_found")

    def test_a_workflow_without_saved_images_succeeds(self) -> None:
        self.worker()
        workflow = image() | {"9": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}}
        output = self.runpod.run(*self.job("a", workflow=workflow))["output"]
        self.assertEqual((output["status"], output["images"]), ("success_no_images", []))

    def test_progress_comes_in_order_at_most_once_a_second_and_not_after_the_result(self) -> None:
        self.worker()
        job, asked = self.job("a", workflow=image(steps=70, ms=50))
        self.runpod.run(job, asked)
        wait_until(lambda: not self.queue("one"), limit_s=LIMIT_S, what="the end of the workflow")
        told = [(when, body) for one, when, body in self.runpod.told if one == job]
        self.assertEqual([body.get("status") for _, body in told[:-1]], ["IN_PROGRESS"] * (len(told) - 1))
        self.assertGreaterEqual(len(told), 3)
        times = [when for when, _ in told[:-1]]
        self.assertTrue(all(later - sooner > 0.9 for sooner, later in zip(times, times[1:])), times)
        self.assertNotIn("status", told[-1][1])
        (task,) = told[1][1]["output"]["tasks"]
        self.assertEqual(task["kind"], "workflow")

    def test_a_cancelled_job_is_taken_from_comfyui(self) -> None:
        self.worker()
        job, asked = self.job("long", workflow=image(steps=6000, ms=50))
        self.runpod.put(job, asked)
        self.await_running("one")
        self.runpod.cancel(job)
        wait_until(lambda: not self.queue("one"), limit_s=LIMIT_S, what="the end of the workflow")
        self.assertIn("images", self.runpod.run(*self.job("next"))["output"])
        self.assertEqual(self.runpod.results(job), [])

    def test_sigterm_lets_the_job_end(self) -> None:
        worker = self.worker()
        job, asked = self.job("a", workflow=image(steps=40, ms=50))
        self.runpod.put(job, asked)
        self.await_running("one")
        worker.send_signal(signal.SIGTERM)
        self.assertIn("images", self.runpod.result(job)["output"])
        self.assertEqual(worker.wait(LIMIT_S), 0)

    def test_a_worker_that_is_killed_leaves_no_workflow_running(self) -> None:
        worker = self.worker()
        self.runpod.put(*self.job("a", workflow=image(steps=6000, ms=50)))
        self.await_running("one")
        pings = self.runpod.pings
        worker.kill()
        wait_until(lambda: not self.queue("one"), limit_s=LIMIT_S, what="the end of the workflow")
        wait_until(lambda: self.runpod.pings > pings, limit_s=LIMIT_S, what="a heartbeat of the orphan")

    def test_a_daemon_that_is_killed_costs_no_job(self) -> None:
        self.worker()
        job, asked = self.job("a", workflow=image(steps=40, ms=50))
        self.runpod.put(job, asked)
        self.await_running("one")
        os.kill(self.machine.daemon(), signal.SIGKILL)
        result = self.runpod.result(job)
        self.assertIn("images", result["output"], result)
        self.assertEqual(len(self.runpod.results(job)), 1)
