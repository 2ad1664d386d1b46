"""What is tried, in order. Each step stands on the ones before it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import comfyui, model, node, warm
from .product import Product
from .server import Server
from .workflow import ALMOST, check_images, refused, workflow

VERSION = "real"
REALIZE_S = 900
"""Six gigabytes of packages come over the network and are unpacked on two cores."""
START_S = 300
_WORKFLOW_REFUSED = 13
"""Exit status of comfyctl when ComfyUI refuses a workflow (`ErrorKind::Workflow`)."""
_NOT_FOUND = 4
"""Exit status when there is no such version (`ErrorKind::NotFound`)."""


class Scenario:
    """A newcomer's session: one version, from its spec to its images."""

    def __init__(self, product: Product, server: Server) -> None:
        self.product = product
        self.server = server
        self.commits: dict[str, str] = {}
        self.model_bytes = 0

    def steps(self) -> list[Callable[[], None]]:
        """Returns the steps; the first line of each one's text is its name."""
        return [
            self.publish,
            self.unknown_version,
            self.dry_run,
            self.realize,
            self.realize_again,
            self.test,
            self.run,
            self.run_again,
            self.refused_workflow,
            self.look_around,
            self.warm_twice,
            self.primed,
            self.killed_comfyui,
            self.killed_daemon,
            self.stop,
            self.shutdown,
        ]

    def publish(self) -> None:
        """the repositories, the model and the spec are made"""
        root = self.server.root
        self.commits = {
            "ComfyUI": comfyui.publish_comfyui(root / "git/upstream/ComfyUI.git"),
            node.DIRECTORY: node.publish_node(root / f"git/tests/{node.DIRECTORY}.git"),
        }
        self.model_bytes = model.write_model(root / model.FILE_NAME)
        self.product.write_spec(VERSION, spec(self.server))

    def unknown_version(self) -> None:
        """an unknown version is an error that names it"""
        _, text = self.product.comfyctl("realize", "no-such-version", status=_NOT_FOUND)
        assert "no-such-version" in text, text

    def dry_run(self) -> None:
        """realize --dry-run lists every step and changes nothing"""
        plan = self.product.answer("realize", VERSION, "--dry-run", limit_s=START_S)
        check_plan(plan, self.commits, self.model_bytes)
        assert not Path(plan["home"]).exists(), f"`{plan['home']}` was made by a dry run"
        text, _ = self.product.comfyctl("realize", VERSION, "--dry-run", limit_s=START_S)
        for word in (*(commit[:7] for commit in self.commits.values()), model.FILE_NAME):
            assert word in text, f"`{word}` is not in:\n{text}"

    def realize(self) -> None:
        """realize makes the home"""
        answer = self.product.answer("realize", VERSION, limit_s=REALIZE_S)
        assert answer["outcome"] == "realized", answer
        assert answer["missing"] == [], answer
        home = Path(answer["home"])
        assert home == self.product.volume / f"comfy-{VERSION}", home
        link = home / "ComfyUI/custom_nodes" / node.DIRECTORY
        assert link.is_symlink() and (link / "__init__.py").is_file(), f"`{link}`"
        models = self.product.volume / "models" / model.FOLDER
        assert (models / model.FILE_NAME).stat().st_size == self.model_bytes

    def realize_again(self) -> None:
        """realize of a ready version needs no host"""
        # From here on nobody answers at the spec's links.
        self.server.stop()
        answer = self.product.answer("realize", VERSION, limit_s=30)
        assert answer["outcome"] == "ready", answer

    def test(self) -> None:
        """test passes"""
        answer = self.product.answer("test", VERSION, limit_s=START_S)
        failed = [check for check in answer["checks"] if check["outcome"] != "passed"]
        assert answer["passed"] and not failed, failed
        names = " ".join(check["name"] for check in answer["checks"])
        assert node.DIRECTORY in names and model.FILE_NAME in names, names

    def run(self) -> None:
        """run makes the right images"""
        check_images(self._run("first"))

    def run_again(self) -> None:
        """the same workflow gives its images once more"""
        # ComfyUI answers a repeated workflow from its cache, without naming any file.
        check_images(self._run("second"))

    def refused_workflow(self) -> None:
        """a model that is not there is named, with the one that may have been meant"""
        file = self._write(refused(), "refused.json")
        _, text = self.product.comfyctl(
            "run", "--version-id", VERSION, "--workflow", file, status=_WORKFLOW_REFUSED, limit_s=START_S
        )
        assert ALMOST in text and model.FILE_NAME in text, text

    def look_around(self) -> None:
        """list, show, status and logs tell what there is"""
        listed = self.product.answer("list")["versions"]
        states = {version["version_id"]: version["state"] for version in listed}
        assert states == {VERSION: "running"}, states
        shown = self.product.answer("show", VERSION)
        assert shown["lacks"] == [] and shown["linked_nodes"] == [node.DIRECTORY], shown
        assert shown["lock"]["comfy"]["commit"] == comfyui.COMMIT, shown["lock"]["comfy"]
        instances = self.product.answer("status")["instances"]
        assert [instance["state"]["kind"] for instance in instances] == ["ready"], instances
        text, _ = self.product.comfyctl("logs", VERSION)
        assert "Prompt executed" in text, text

    def warm_twice(self) -> None:
        """warm starts ComfyUI once, and finds it running then"""
        warm.warm_twice(self.product, VERSION)

    def primed(self) -> None:
        """a primed version starts from its zygote, and makes the same images"""
        warm.primed(self.product, VERSION)
        check_images(self._run("forked"))

    def killed_comfyui(self) -> None:
        """a ComfyUI that was killed between two jobs is started again for the next"""
        warm.kill_comfyui(self.product)
        check_images(self._run("third"))

    def killed_daemon(self) -> None:
        """a daemon that is killed during a job leaves its result to the next one"""
        warm.killed_daemon_during_job(self.product, VERSION)

    def stop(self) -> None:
        """stop ends ComfyUI, and only once"""
        assert self.product.answer("stop", VERSION) == {"stopped": True}
        assert self.product.answer("stop", VERSION) == {"stopped": False}

    def shutdown(self) -> None:
        """shutdown leaves no process and no socket"""
        self.product.answer("shutdown")
        self.product.await_end()
        assert not self.product.socket.exists(), "the socket is still there"

    def _run(self, name: str) -> dict[str, Path]:
        output = self.product.place / name
        file = self._write(workflow(), f"{name}.json")
        command = ("run", "--version-id", VERSION, "--workflow", file, "--output", output)
        answer = self.product.answer(*command, limit_s=START_S)
        files = {out["node"]: Path(out["file"]["path"]) for out in answer["outputs"] if "file" in out}
        outside = [str(file) for file in files.values() if output not in file.parents]
        assert not outside, f"not below `{output}`: {outside}"
        return files

    def _write(self, content: dict[str, object], name: str) -> Path:
        file = self.product.place / name
        file.write_text(json.dumps(content))
        return file


def spec(server: Server) -> dict[str, Any]:
    """Returns the spec of the version, with links to the server."""
    return {
        "schema_version": 2,
        "comfy": {"repo": server.url("git/upstream/ComfyUI"), "ref": comfyui.TAG},
        "custom_nodes": [{"repo": server.url(f"git/tests/{node.DIRECTORY}"), "ref": node.BRANCH}],
        "models": [{"source": server.url(model.FILE_NAME), "target_subdir": model.FOLDER}],
        "options": {"extra_args": ["--cpu"]},
    }


def check_plan(plan: dict[str, Any], commits: dict[str, str], model_bytes: int) -> None:
    """Raises `AssertionError` unless the plan of a first realize names everything there is to do."""
    assert plan["ready"] is False and plan["missing"] == [], plan
    repositories = {step["name"]: step["commit"] for step in plan["repositories"]}
    assert repositories == commits, repositories
    # Resolving has read the requirements files: their commits may be cached already.
    assert {step["action"] for step in plan["repositories"]} <= {"fetch", "checkout"}, plan["repositories"]
    packages = plan["packages"]
    assert packages["action"] == {"kind": "install"} and packages["count"] > 60, packages
    # Not every index tells sizes; the plan then says of how many packages it does not know them.
    assert packages["download_bytes"] > 1 << 30 or packages["unknown_sizes"] > 0, packages
    assert plan["install_scripts"] == [node.DIRECTORY], plan["install_scripts"]
    (step,) = plan["models"]
    assert step["target"] == f"{model.FOLDER}/{model.FILE_NAME}", step
    assert step["action"] == {"kind": "download"} and step["size_bytes"] == model_bytes, step
    assert any(link["link"].endswith(f"custom_nodes/{node.DIRECTORY}") for link in plan["links"]), plan["links"]
    assert plan["disk"] and all(need["needed_bytes"] < need["available_bytes"] for need in plan["disk"]), plan["disk"]
