"""The SDK's ways of trying a handler on one's own machine, and the handler's start."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import textwrap
import unittest
import urllib.request
from typing import Any

from tests.real.product import wait_until

from .machine import LIMIT_S, Machine, image

_START_LIMIT_S = 0.5
"""What the handler may add to the SDK's own start."""

_ADDRESS = re.compile(r"Uvicorn running on (http://\S+)")


class Local(unittest.TestCase):
    """All tests share a machine."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.machine = Machine()
        cls.addClassCleanup(cls.machine.__exit__)
        cls.machine.version("one")

    def test_test_input_runs_one_job(self) -> None:
        status, text = self.machine.test_input({"input": {"version_id": "one", "workflow": image()}})
        self.assertEqual(status, 0, text)
        self.assertIn("made_0000", text)
        status, text = self.machine.test_input({"input": {"workflow": image()}}, COMFY_VERSION_ID="one")
        self.assertEqual(status, 0, text)
        self.assertIn("'cold': False", text)
        status, text = self.machine.test_input({"input": {"version_id": "one"}})
        self.assertEqual(status, 1, text)
        self.assertIn("Missing 'workflow' parameter", text)

    def test_runsync_answers_over_http(self) -> None:
        self._serve()
        wait_until(lambda: _ADDRESS.search(self.machine.log.read_text()), limit_s=LIMIT_S, what="the SDK's server")
        *_, url = _ADDRESS.findall(self.machine.log.read_text())
        # Twice: each has an id of its own.
        for _ in range(2):
            answer = _post(f"{url}/runsync", {"input": {"version_id": "one", "workflow": image()}})
            self.assertEqual(answer["status"], "COMPLETED", answer)
            self.assertEqual(answer["output"]["images"][0]["type"], "base64")
        answer = _post(f"{url}/runsync", {"input": {"version_id": "../one.json", "workflow": image()}})
        self.assertEqual(answer["status"], "FAILED", answer)

    def test_the_version_of_the_environment_is_ready_before_a_job(self) -> None:
        self.machine.version("first")
        self._serve(COMFY_VERSION_ID="first")
        wait_until(lambda: self._instance("first"), limit_s=LIMIT_S, what="the version's ComfyUI")
        # Given back: jobs of other versions may end it to have its room.
        wait_until(lambda: self._instance("first")["leases"] == 0, limit_s=LIMIT_S, what="the end of the claim")

    def _serve(self, **variables: str) -> None:
        """Starts the SDK's server on a port that is free; it ends with the test."""
        self.machine.log.unlink(missing_ok=True)
        server = self.machine.start("--rp_serve_api", "--rp_api_port", "0", **variables)
        self.addCleanup(server.wait)
        self.addCleanup(server.terminate)

    def _instance(self, version: str) -> dict[str, Any] | None:
        instances = self.machine.product.answer("status")["instances"]
        return next(
            (one for one in instances if one["version_id"] == version and one["state"]["kind"] == "ready"), None
        )


class Start(unittest.TestCase):
    """What happens before the first job."""

    def test_the_handler_adds_little_to_the_start_of_the_sdk(self) -> None:
        program = """
            import sys, threading, time
            import runpod.serverless
            begun = time.perf_counter()
            runpod.serverless.start = lambda config: print(time.perf_counter() - begun)
            sys.argv = ["handler"]
            from comfyd_handler.main import main
            main()
            for thread in threading.enumerate():
                if thread.name == "prewarm":
                    thread.join()
        """
        done = self._python(program, COMFYD_BIN="/nonexistent", COMFY_VERSION_ID="v")
        self.assertLess(float(done.stdout), _START_LIMIT_S, done.stderr)
        self.assertIn("/nonexistent", done.stderr, "the first version was asked for")

    def test_nothing_heavy_is_imported_before_the_sdk(self) -> None:
        program = """
            import sys
            import comfyd_handler.main, comfyd_handler.handler
            print(*{name.partition(".")[0] for name in sys.modules} - sys.stdlib_module_names)
        """
        foreign = set(self._python(program).stdout.split())
        self.assertEqual(foreign & {"runpod", "aiohttp", "requests", "boto3", "torch", "numpy"}, set())

    def test_unknown_options_and_wrong_settings_are_refused(self) -> None:
        for option, variables, words in (
            (["--lock", "v.lock"], {"COMFYD_BIN": "/nonexistent"}, "unknown option `--lock`"),
            ([], {"HOME": "relative"}, "HOME is `relative`"),
            ([], {"OUTPUT_MODE": "ftp"}, "OUTPUT_MODE is `ftp`"),
        ):
            done = self._run(["-m", "comfyd_handler", *option], variables)
            self.assertEqual((done.returncode, words in done.stderr), (2, True), done.stderr)

    def _python(self, program: str, **variables: str) -> subprocess.CompletedProcess[str]:
        done = self._run(["-c", textwrap.dedent(program)], variables)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def _run(self, arguments: list[str], variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *arguments]
        with tempfile.TemporaryDirectory() as home:
            variables = {"HOME": home} | variables
            return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=LIMIT_S)


def _post(url: str, body: Any) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=LIMIT_S) as answer:
        return json.load(answer)
