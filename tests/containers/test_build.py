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

from .container import LIMIT_S, Container, free_port
from .image import Image, arguments

_INSTALL_LIMIT_S = 300.0

# The container is there before its image is complete: what it is for comes after the last RUN line.
_WHEN_BUILT = 'until [ -e /built ]; do sleep 0.05; done; exec comfyd-entrypoint "$@"'


@unittest.skipUnless(os.geteuid() == 0, "apt needs root")
class Build(unittest.TestCase):
    """Each image is built and used."""

    def setUp(self) -> None:
        self.machine = Machine()
        self.addCleanup(self.machine.__exit__)
        self.machine.version("one")

    def build(self, target: str, mount_point: str, **variables: str) -> Container:
        """Runs the RUN lines of an image, then its entrypoint."""
        made = Image.read(target)
        for source, place in made.mounted:
            made.copied.append((None, [source], place))
        command = made.command
        made.entrypoint, made.command = ["sh", "-c", _WHEN_BUILT, "sh", *command], []
        volume = self.machine.product.volume
        variables = {"COMFYD_PREFETCH": "off"} | variables
        container = Container(made, mount_point=mount_point, volume=volume, built=False, **variables)
        self.addCleanup(container.__exit__)
        for line in made.run:
            container.run("sh", "-c", line, limit_s=_INSTALL_LIMIT_S, **arguments())
        return container

    def begin(self, container: Container) -> None:
        """Ends the build: the entrypoint takes over."""
        container.run("touch", "/built")
        container.await_service()

    def test_the_owner_of_the_public_key_comes_into_a_pod(self) -> None:
        place, port = Path(self.machine.place, "ssh"), free_port()
        place.mkdir()
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", place / "key"], check=True)
        key = (place / "key.pub").read_text().strip()
        pod = self.build(
            "pod", "/workspace", PUBLIC_KEY=key, COMFYD_STATE_DIR="/root/state", COMFY_ORG_API_KEY="s3cr3t"
        )
        keys = pod.run("sh", "-c", "ls /etc/ssh/ssh_host_* 2>/dev/null || true")
        self.assertEqual(keys, "", "host keys are no part of an image")
        pod.run("sh", "-c", f"echo 'Port {port}' >/etc/ssh/sshd_config.d/port.conf")
        self.begin(pod)
        options = ["StrictHostKeyChecking=no", f"UserKnownHostsFile={place}/known", "BatchMode=yes"]
        ssh = ["ssh", "-q", "-F", "none", "-i", place / "key", "-p", str(port), *(f"-o{option}" for option in options)]

        def there(command: str) -> str:
            done = subprocess.run([*ssh, "root@127.0.0.1", command], capture_output=True, text=True, timeout=LIMIT_S)
            self.assertEqual(done.returncode, 0, done.stderr + pod.said())
            return done.stdout

        self.assertIn("one", there("comfyctl --no-start list"))
        seen = there("env")
        self.assertIn("COMFYD_STATE_DIR=/root/state", seen)
        self.assertNotIn("s3cr3t", seen + there("cat .ssh/environment"))
        self.assertEqual(pod.stop(), 0, pod.said())

    def test_a_worker_has_a_handler_of_its_own(self) -> None:
        worker = self.build("worker", "/runpod-volume", RUNPOD_SKIP_AUTO_SYSTEM_CHECKS="true", RUNPOD_SKIP_GPU_CHECK="true")
        where = worker.run("/opt/handler/bin/python", "-c", "import comfyd_handler; print(comfyd_handler.__file__)")
        self.assertTrue(where.startswith("/opt/handler/lib/"), f"{where}: not the checkout's")
        tried = json.dumps({"input": {"version_id": "one", "workflow": image()}})
        said = worker.run("comfyd-entrypoint", "worker", "--test_input", tried)
        self.assertIn("made_0000", said)
