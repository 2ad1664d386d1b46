"""The handler's pure parts, by tables, and its messages against the protocol's golden files."""

from __future__ import annotations

import base64
import json
import tempfile
import time
import unittest
from dataclasses import replace
from pathlib import Path
from typing import Any

from comfyd_handler import answer, bucket, call
from comfyd_handler.concurrency import Concurrency, devices_in_use
from comfyd_handler.errors import Failure, failure_of_call
from comfyd_handler.job import parse
from comfyd_handler.progress import shown

from .machine import golden, settings

WORKFLOW = {"1": {"class_type": "EmptyImage", "inputs": {}}}
MONTH = time.strftime("%m-%y")


def job(asked: Any, **variables: str) -> Any:
    return parse({"id": "job-7", "input": asked}, settings(**variables))


class Jobs(unittest.TestCase):
    """What a job may ask for."""

    def test_worker_comfyuis_jobs_are_understood(self) -> None:
        asked = {
            "workflow": WORKFLOW,
            "images": [{"name": "a.png", "image": "data:image/png;base64,iVBORw0KGgo="}],
            "comfy_org_api_key": "k3y",
        }
        for form in (asked, json.dumps(asked)):
            found = job(form, COMFY_VERSION_ID="v", COMFY_ORG_API_KEY="worker's")
            self.assertEqual((found.version, found.workflow, found.job_id), ("v", WORKFLOW, "job-7"))
            self.assertEqual((found.mode, found.comfy_org_api_key), ("base64", "k3y"))
            self.assertEqual(found.inputs[0].data, asked["images"][0]["image"])
        found = job({"workflow": WORKFLOW}, COMFY_VERSION_ID="v", COMFY_ORG_API_KEY="worker's")
        self.assertEqual(found.comfy_org_api_key, "worker's")
        self.assertEqual(job(asked | {"version_id": "other"}, COMFY_VERSION_ID="v").version, "other")

    def test_links_may_stand_for_workflow_and_inputs(self) -> None:
        link = "https://h.example/a.png"
        asked = {
            "version_id": "v",
            "workflow_url": "https://h.example/w.json",
            "images": [{"name": "a.png", "image": link}],
            "input_images": {"b.png": link},
        }
        found = job(asked)
        self.assertEqual(found.workflow, asked["workflow_url"])
        self.assertEqual([(one.name, one.url) for one in found.inputs], [("a.png", link), ("b.png", link)])

    def test_the_words_for_what_makes_no_sense_are_worker_comfyuis(self) -> None:
        for asked, words in (
            (None, "Please provide input"),
            ("{", "Invalid JSON format in input"),
            ({}, "Missing 'workflow' parameter"),
            ({"workflow": WORKFLOW, "images": "a"}, "'images' must be a list of objects with 'name' and 'image' keys"),
            ({"workflow": WORKFLOW, "images": [{}]}, "'images' must be a list of objects with 'name' and 'image' keys"),
        ):
            with self.assertRaises(Failure) as caught:
                job(asked, COMFY_VERSION_ID="v")
            self.assertEqual(caught.exception.output()["error"], words)

    def test_a_job_cannot_name_a_file_of_the_worker(self) -> None:
        good = {"version_id": "v", "workflow": WORKFLOW}
        for more in (
            {"version_id": "/etc/x.json"},
            {"version_id": "x.json"},
            {"version_id": "../v"},
            {"version_id": "a..b"},
            {"version_id": ["v"]},
            {"workflow": "/etc/passwd"},
            {"workflow": '"/etc/passwd"'},
            {"workflow": None, "workflow_url": "/etc/passwd"},
            {"workflow": None, "workflow_url": "file:///etc/passwd"},
            {"input_images": {"a.png": "/etc/passwd"}},
            {"output_mode": "ftp"},
            {"output_mode": "gcs"},
        ):
            with self.assertRaises(Failure, msg=more):
                job(good | more)
        with self.assertRaises(Failure):
            job({"workflow": WORKFLOW})

    def test_the_id_of_a_local_try_names_no_job(self) -> None:
        asked = {"version_id": "v", "workflow": WORKFLOW}
        self.assertIsNone(parse({"id": "local_test", "input": asked}, settings()).job_id)


class Messages(unittest.TestCase):
    """What goes to the daemon, and what its answer becomes."""

    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.scratch = Path(scratch.name)

    def test_a_call_has_only_fields_of_the_protocol(self) -> None:
        asked = {
            "version_id": "v",
            "workflow": WORKFLOW,
            "images": [{"name": "a.png", "image": base64.b64encode(b"picture").decode() + "\n"}],
            "input_images": {"b.png": "https://h.example/b.png"},
            "comfy_org_api_key": "k3y",
        }
        found = job(asked, BUCKET_ENDPOINT_URL="https://s3.example", COMFY_HOME="/volume/{version_id}")
        params = call.parameters(found, settings(COMFY_HOME="/volume/{version_id}"), self.scratch)
        known = golden("run_job")
        self.assertEqual(set(params) - set(known), set())
        self.assertEqual(params["inputs"][1], {"name": "b.png", "url": "https://h.example/b.png"})
        self.assertEqual(Path(params["inputs"][0]["path"]).read_bytes(), b"picture")
        _, delivery = golden("deliveries")
        self.assertEqual(set(params["deliver"]) - set(delivery), set())
        self.assertEqual(set(call.target("v", settings())) - set(golden("warm")), set())

    def test_what_is_long_goes_by_way_of_a_file(self) -> None:
        workflow = {"1": {"class_type": "A", "inputs": {"text": "x" * (1 << 20)}}}
        params = call.parameters(job({"version_id": "v", "workflow": workflow}), settings(), self.scratch)
        self.assertEqual(json.loads(Path(params["workflow"]).read_text()), workflow)

    def test_a_job_that_is_sent_again_asks_for_the_same(self) -> None:
        place = settings(HOME=str(self.scratch))
        asked = {"version_id": "v", "workflow": WORKFLOW, "images": [{"name": "a.png", "image": "aGk="}]}
        calls = []
        for image in ("aGk=", "data:image/png;base64,aGk=", "aG8="):
            asked["images"][0]["image"] = image
            with call.scratch_of(job(asked), place) as scratch:
                calls.append(call.parameters(job(asked), place, scratch))
            self.assertFalse(scratch.exists())
        self.assertEqual(calls[0], calls[1])
        self.assertNotEqual(calls[0], calls[2])

    def test_all_inputs_that_are_no_base64_are_told(self) -> None:
        images = [{"name": "a.png", "image": "x"}, {"name": "b.png", "image": "aGk="}, {"name": "c.png", "image": "?"}]
        with self.assertRaises(Failure) as caught:
            call.parameters(job({"version_id": "v", "workflow": WORKFLOW, "images": images}), settings(), self.scratch)
        output = caught.exception.output()
        self.assertEqual(output["error"], "Failed to upload one or more input images")
        self.assertEqual([line.split(":")[0][-5:] for line in output["details"]], ["a.png", "c.png"])

    def test_an_answer_becomes_worker_comfyuis_result_and_more(self) -> None:
        found = job({"version_id": "v", "workflow": WORKFLOW}, BUCKET_ENDPOINT_URL="https://s3.example")
        output = answer.output(found, golden("run_job_answer"), 22000)
        self.assertEqual(
            output["images"],
            [
                {
                    "filename": "ComfyUI_00001_.png",
                    "type": "s3_url",
                    "data": "https://s3.example/bucket/a.png",
                    "node": "9",
                    "mime": "image/png",
                    "bytes": 1234,
                }
            ],
        )
        self.assertEqual(output["values"], [{"node": "10", "kind": "text", "value": {"text": ["a cat"]}}])
        self.assertEqual(output["errors"], ["one output was skipped"])
        self.assertEqual((output["cold"], output["how"], len(output["recoveries"])), (True, "started", 1))
        expected = {"start_ms": 21000, "queue_ms": 120, "execute_ms": 900, "total_ms": 22000}
        self.assertEqual(output["timings"], expected)

    def test_outputs_are_sorted_as_worker_comfyui_does_and_the_rest_by_type(self) -> None:
        found = job({"version_id": "v", "workflow": WORKFLOW})
        table = (
            ("images", "image/png", "output", "images"),
            ("images", "video/mp4", "output", "images"),
            ("images", "image/png", "temp", None),
            ("gifs", "video/mp4", "output", "videos"),
            ("gifs", "image/gif", "output", "images"),
            ("audio", "audio/flac", "output", "audio"),
            ("3d", "model/gltf-binary", "output", "files"),
        )
        for kind, mime, place, expected in table:
            output = answer.output(found, self._answer(kind, mime, place), 0)
            lists = {name for name in ("images", "videos", "audio", "files") if output.get(name)}
            self.assertEqual(lists, {expected} - {None}, (kind, mime, place))
            self.assertEqual(output.get("status"), None if expected == "images" else "success_no_images")

    def test_a_file_that_is_gone_is_told(self) -> None:
        found = job({"version_id": "v", "workflow": WORKFLOW})
        made = self._answer("images", "image/png", "output")
        made["outputs"].append(json.loads(json.dumps(made["outputs"][0])))
        made["outputs"][1]["file"]["path"] = str(self.scratch / "gone")
        output = answer.output(found, made, 0)
        self.assertEqual((len(output["images"]), len(output["errors"])), (1, 1))
        made["outputs"].pop(0)
        self.assertEqual(answer.output(found, made, 0)["error"], "Job processing failed")
        linked = replace(found, mode="s3")
        unlinked = answer.output(linked, self._answer("images", "image/png", "output"), 0)
        self.assertEqual(unlinked["details"], ["Error uploading made to S3: comfyd returned no link"])

    def test_an_error_of_the_daemon_keeps_its_words(self) -> None:
        error = golden("rpc_error")
        told = failure_of_call(error).output()
        self.assertEqual((told["error"], told["kind"]), ("the spec has errors", "spec"))
        self.assertIn("hint: correct the spec", told["details"])
        self.assertIn("versions/wan22.json:4: comfy.repo: the field is missing", told["details"])
        error["data"]["kind"] = "execution"
        told = failure_of_call(error).output()
        self.assertEqual(told["error"], "Job processing failed")
        self.assertEqual(told["details"][0], "Workflow execution error: the spec has errors")
        told = failure_of_call({"code": -32601, "message": "no"}).output()
        self.assertEqual(told, {"error": "no", "kind": "internal"})

    def test_progress_shows_what_is_under_way(self) -> None:
        state = golden("progress_event")
        state["tasks"].append(state["tasks"][0] | {"state": "done"})
        (task,) = shown(state)["tasks"]
        self.assertEqual((task["label"], task["done"], task["unit"]), ("loras/a.safetensors", 1048576, "bytes"))

    def _answer(self, kind: str, mime: str, place: str) -> dict[str, Any]:
        """Returns the answer to a workflow that made one file, which is there."""
        file = self.scratch / "made"
        file.write_bytes(b"made")
        made = {"path": str(file), "filename": "made", "subfolder": "", "type": place, "mime": mime, "bytes": 4}
        output = {"node": "9", "kind": kind, "file": made}
        return golden("run_answer") | {"outputs": [output], "warnings": []}


class Buckets(unittest.TestCase):
    """Files must come to the places where RunPod's own upload puts them."""

    def test_endpoints_are_read_as_the_sdk_does(self) -> None:
        for endpoint, url, origin, region in (
            ("https://s3.example", f"s3://{MONTH}", "https://s3.example", None),
            ("http://127.0.0.1:9000/", f"s3://{MONTH}", "http://127.0.0.1:9000", None),
            ("https://r2.example/pictures", f"s3://pictures/{MONTH}", "https://r2.example", None),
            (
                "https://my.bucket.s3.us-east-1.amazonaws.com",
                f"s3://my.bucket/{MONTH}",
                "https://s3.us-east-1.amazonaws.com",
                "us-east-1",
            ),
            (
                "https://s3.us-east-1.amazonaws.com",
                f"s3://{MONTH}",
                "https://s3.us-east-1.amazonaws.com",
                "us-east-1",
            ),
            (
                "https://b.nyc3.digitaloceanspaces.com",
                f"s3://b/{MONTH}",
                "https://nyc3.digitaloceanspaces.com",
                "nyc3",
            ),
        ):
            found = bucket.s3(endpoint, "k", "s").message()
            self.assertEqual((found["url"], found["endpoint"], found.get("region")), (url, origin, region))
            self.assertEqual(found["link_s"], 604800)

    def test_a_job_may_bring_its_own_bucket(self) -> None:
        config = {"endpointUrl": "https://s3.example", "accessId": "k", "accessSecret": "s", "bucketName": "b"}
        asked = {"version_id": "v", "workflow": WORKFLOW}
        found = parse({"id": "j", "input": asked, "s3Config": config}, settings())
        self.assertEqual((found.mode, found.bucket.message()["url"]), ("s3", "s3://b"))
        with self.assertRaises(Failure):
            parse({"id": "j", "input": asked, "s3Config": {"endpointUrl": "https://s3.example"}}, settings())

    def test_a_bucket_of_google_is_named_by_the_worker(self) -> None:
        found = job({"version_id": "v", "workflow": WORKFLOW, "output_mode": "gcs"}, GCS_BUCKET="b", GCS_PREFIX="a/")
        self.assertEqual(found.bucket.message(), {"kind": "bucket", "url": "gs://b/a", "link_s": 604800})


class Counts(unittest.TestCase):
    """How many jobs are taken at once."""

    def test_one_for_each_device_with_a_ready_instance(self) -> None:
        def instance(state: str, **device: Any) -> dict[str, Any]:
            return {"state": {"kind": state}, "device": device}

        first, second = instance("ready", kind="gpu", index=0), instance("ready", kind="gpu", index=1)
        for instances, expected in (
            ([], 1),
            ([first], 1),
            ([first, first], 1),
            ([first, second], 2),
            ([first, instance("starting", kind="gpu", index=1)], 1),
            ([instance("ready", kind="cpu"), {"state": {"kind": "ready"}}], 1),
        ):
            self.assertEqual(devices_in_use({"instances": instances}), expected)
        self.assertEqual(devices_in_use(golden("status_answer_with_gpus")), 1)
        concurrency = Concurrency(limit=1)
        concurrency.learn({"instances": [first, second]})
        self.assertEqual(concurrency.modifier(1), 1)
