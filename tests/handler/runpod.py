"""A double of RunPod's job endpoints: a worker takes jobs from it, is told to stop them, and tells results.

The addresses are those that RunPod puts into a worker's environment; who calls them is the SDK.
"""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

from .machine import LIMIT_S
from .serving import Serving

_LONG_POLL_S = 1.0
"""How long a question for jobs is held; at RunPod it is more than a minute."""


class RunPod(Serving):
    """The endpoints of one worker: one that is killed leaves a question for jobs behind. Use as a context."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.waiting: list[dict[str, Any]] = []
        self.stopping: list[str] = []
        self.told: list[tuple[str, float, dict[str, Any]]] = []
        """What workers posted: job, time, body."""
        self.pings = 0
        super().__init__(_Endpoints)

    def variables(self) -> dict[str, str]:
        """Returns what a worker's environment says of these endpoints."""
        base = f"{self.url}/v2/endpoint"
        return {
            "RUNPOD_WEBHOOK_GET_JOB": f"{base}/job-take/$ID?gpu=none",
            "RUNPOD_WEBHOOK_POST_OUTPUT": f"{base}/job-done/$RUNPOD_POD_ID/$ID?gpu=none",
            "RUNPOD_WEBHOOK_PING": f"{base}/ping/$RUNPOD_POD_ID",
            "RUNPOD_PING_INTERVAL": "1000",
            "RUNPOD_AI_API_KEY": "k3y",
            "RUNPOD_POD_ID": "worker",
        }

    def put(self, job_id: str, asked: Any, **more: Any) -> str:
        """Queues a job; returns its id."""
        with self.changed:
            self.waiting.append({"id": job_id, "input": asked, **more})
            self.changed.notify_all()
        return job_id

    def cancel(self, job_id: str) -> None:
        """Tells the worker to stop a job."""
        with self.changed:
            self.stopping.append(job_id)
            self.changed.notify_all()

    def result(self, job_id: str) -> dict[str, Any]:
        """Waits for a job's result and returns it: `output`, and `error` of one that failed."""
        with self.changed:
            if not self.changed.wait_for(lambda: self.results(job_id), LIMIT_S):
                raise AssertionError(f"job `{job_id}` has no result after {LIMIT_S:.0f} s")
            return self.results(job_id)[0]

    def results(self, job_id: str) -> list[dict[str, Any]]:
        """Returns the results that a job has had so far."""
        return [body for job, _, body in self.told if job == job_id and body.get("status") != "IN_PROGRESS"]

    def run(self, job_id: str, asked: Any, **more: Any) -> dict[str, Any]:
        """Queues a job and returns its result."""
        return self.result(self.put(job_id, asked, **more))


class _Endpoints(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        verb = url.path.split("/")[3]
        if verb == "ping":
            self.server.double.pings += 1
            self._answer({})
        elif verb == "job-take":
            jobs = self._take(self.server.double.waiting, 1)
            self._answer(jobs[0] if jobs else None)
        elif verb == "job-take-batch":
            size = next(int(part.split("=")[1]) for part in url.query.split("&") if part.startswith("batch_size="))
            self._answer(self._take(self.server.double.waiting, size) or None)
        elif verb == "job-stop":
            stopping = self._take(self.server.double.stopping, 100)
            self._answer({"jobsToStop": stopping} if stopping else None)
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        runpod = self.server.double
        with runpod.changed:
            runpod.told.append((urlsplit(self.path).path.split("/")[5], time.monotonic(), body))
            runpod.changed.notify_all()
        self._answer({})

    def _take(self, queue: list[Any], most: int) -> list[Any]:
        with self.server.double.changed:
            self.server.double.changed.wait_for(lambda: queue, _LONG_POLL_S)
            taken, queue[:most] = queue[:most], []
            return taken

    def _answer(self, body: Any) -> None:
        content = b"" if body is None else json.dumps(body).encode()
        self.send_response(204 if body is None else 200)
        if content:
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Stays silent: the test prints what matters."""
