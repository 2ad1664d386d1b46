"""What the images' RUN lines do, on this machine's Debian in place of the base image's.

They install packages, so they need the package hosts that apt and pip are set to.
"""

from __future__ import annotations

import json
import os
import subprocess
import unittest
from pathlib import Path

from tests.handler.machine import Machine, image
from tests.real.product import Failed

from .container import LIMIT_S, Container, free_port
from .image import Image, arguments

_INSTALL_LIMIT_S = 400.0

# The container is there before its image is complete: what it is for comes after the last RUN line.
_WHEN_BUILT = 'until [ -e /built ]; do sleep 0.05; done; exec comfyd-entrypoint "$@"'

# The SDK looks for a public name server and for much free disk before its first job.
_NO_CHECKS = {"RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true", "RUNPOD_SKIP_GPU_CHECK": "true"}


@unittest.skipUnless(os.geteuid() == 0, "apt needs root")
class Build(unittest.TestCase):
    """Both images in one, since they differ in little: a pod that has the worker's handler, too."""

    def setUp(self) -> None:
        self.machine = Machine()
        self.addCleanup(self.machine.__exit__)
        self.machine.version("one")
        self.ssh = Path(self.machine.place, "ssh")
        self.ssh.mkdir()
        self.port = free_port()

    def test_what_is_installed_works(self) -> None:
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.ssh / "key"], check=True)
        key = (self.ssh / "key.pub").read_text().strip()
        pod = self.built(PUBLIC_KEY=key, COMFYD_STATE_DIR="/root/state", COMFY_ORG_API_KEY="s3cr3t", **_NO_CHECKS)
        keys = pod.run("sh", "-c", "ls /etc/ssh/ssh_host_* 2>/dev/null || true")
        self.assertEqual(keys, "", "host keys are no part of an image")
        where = pod.run("/opt/handler/bin/python", "-c", "import comfyd_handler; print(comfyd_handler.__file__)")
        self.assertTrue(where.startswith("/opt/handler/lib/"), f"{where}: the checkout's")
        self.assertEqual(pod.run("id", "-un", "comfyd").strip(), "comfyd")

        pod.run("sh", "-c", f"echo 'Port {self.port}' >/etc/ssh/sshd_config.d/port.conf; touch /built")
        pod.await_service()
        tried = json.dumps({"input": {"version_id": "one", "workflow": image()}})
        self.assertIn("made_0000", pod.run("comfyd-handler", "--test_input", tried))
        self.assertIn("one", self.there("comfyctl --no-start list"))
        seen = self.there("env")
        self.assertIn("COMFYD_STATE_DIR=/root/state", seen)
        self.assertNotIn("s3cr3t", seen + self.there("cat .ssh/environment"))
        self.assertEqual(pod.stop(), 0, pod.said())

    def built(self, **variables: str) -> Container:
        """Runs the RUN lines of both images; the pod's entrypoint waits."""
        made, worker = Image.read("pod"), Image.read("worker")
        made.entrypoint, made.command = ["sh", "-c", _WHEN_BUILT, "sh", *made.command], []
        made.copied += [(None, [source], place) for source, place in worker.mounted]
        volume = self.machine.product.volume
        pod = Container(made, mount_point="/workspace", volume=volume, built=False, COMFYD_PREFETCH="off", **variables)
        self.addCleanup(pod.__exit__)
        for line in [*made.run, *(line for line in worker.run if line not in made.run)]:
            pod.run("sh", "-c", line, limit_s=_INSTALL_LIMIT_S, **arguments())
        return pod

    def there(self, command: str) -> str:
        """Runs a command by ssh; returns what it wrote to standard output."""
        options = ["StrictHostKeyChecking=no", f"UserKnownHostsFile={self.ssh}/known", "BatchMode=yes"]
        ssh = ["ssh", "-F", "none", "-i", self.ssh / "key", "-p", str(self.port), *(f"-o{one}" for one in options)]
        done = subprocess.run([*ssh, "root@127.0.0.1", command], capture_output=True, text=True, timeout=LIMIT_S)
        if done.returncode != 0:
            raise Failed(f"`{command}` by ssh ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout
