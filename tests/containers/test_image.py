"""What the images are made of, held against the rest of the checkout."""

from __future__ import annotations

import re
import tomllib
import unittest
from fnmatch import fnmatch

from tests.real.comfyui import CHECKOUT

from .image import DOCKERFILE, Image, arguments, instructions

_SECRET = re.compile(r"TOKEN|SECRET|PASSWORD|KEY")


class Dockerfile(unittest.TestCase):
    """Both images, by the lines that make them."""

    def test_the_versions_are_those_that_are_tested(self) -> None:
        makefile = (CHECKOUT / "Makefile").read_text()
        workspace = tomllib.loads((CHECKOUT / "Cargo.toml").read_text())["workspace"]["package"]
        self.assertIn(f"UV_VERSION := {arguments()['UV']}\n", makefile)
        self.assertEqual(arguments()["RUST"], workspace["rust-version"])

    def test_pods_and_workers_have_one_base(self) -> None:
        pod, worker = Image.read("pod"), Image.read("worker")
        self.assertEqual((pod.command, worker.command), (["pod"], ["worker"]))
        self.assertEqual((pod.copied, pod.variables), (worker.copied, worker.variables))
        self.assertEqual(pod.entrypoint, worker.entrypoint)
        *_, last = (rest for instruction, rest in instructions() if instruction == "FROM")
        self.assertEqual(last, "base AS worker", "it is built where no target is named")

    def test_no_layer_holds_a_secret(self) -> None:
        names = [*arguments(), *Image.read("pod").variables, *Image.read("worker").variables]
        self.assertEqual([name for name in names if _SECRET.search(name)], [])
        for instruction, rest in instructions():
            if "openssh-server" in rest:
                self.assertIn("rm -rf /var/lib/apt/lists/* /etc/ssh/ssh_host_*", rest)

    def test_what_is_copied_is_in_the_context(self) -> None:
        ignored = DOCKERFILE.with_name("Dockerfile.dockerignore").read_text().splitlines()
        kept = [line[1:] for line in ignored if line.startswith("!")]
        self.assertEqual([name for name in kept if not (CHECKOUT / name).exists()], [])
        needed = [source for stage, sources, _ in Image.read("worker").copied if stage is None for source in sources]
        members = tomllib.loads((CHECKOUT / "Cargo.toml").read_text())["workspace"]["members"]
        for path in [*needed, *members, "Cargo.lock", "Makefile", "client/handler"]:
            self.assertTrue(any(fnmatch(path, name) or path.startswith(f"{name}/") for name in kept), path)
