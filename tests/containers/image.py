"""Reads `containers/Dockerfile`: what it copies, sets, runs and starts."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field

from tests.real.comfyui import CHECKOUT

DOCKERFILE = CHECKOUT / "containers/Dockerfile"


@dataclass
class Image:
    """An image, by the lines of its stages from the base on."""

    copied: list[tuple[str | None, list[str], str]] = field(default_factory=list)
    """Stage (none: the sources), what is copied, and where to."""
    run: list[str] = field(default_factory=list)
    """Shell lines; what is mounted for one of them is `mounted`."""
    mounted: list[tuple[str, str]] = field(default_factory=list)
    """What of the sources is mounted, and where."""
    variables: dict[str, str] = field(default_factory=dict)
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    healthcheck: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, target: str) -> "Image":
        """Returns the image that `docker build --target` makes."""
        stages = _stages()
        lines: list[tuple[str, str]] = []
        stage: str | None = target
        while stage in stages:
            stage, own = stages[stage]
            lines = own + lines
        image = cls()
        for instruction, rest in lines:
            image._apply(instruction, rest)
        return image

    def _apply(self, instruction: str, rest: str) -> None:
        if instruction == "COPY":
            options = dict(re.findall(r"--(\w+)=(\S+)", rest))
            *sources, place = [word for word in rest.split() if not word.startswith("--")]
            self.copied.append((options.get("from"), sources, place))
        elif instruction == "RUN":
            self.mounted += re.findall(r"--mount=type=bind,source=([^,]+),target=(\S+)", rest)
            self.run.append(re.sub(r"--mount=\S+ ", "", rest))
        elif instruction == "ENV":
            self.variables |= dict(word.split("=", 1) for word in shlex.split(rest))
        elif instruction == "ENTRYPOINT":
            self.entrypoint = json.loads(rest)
        elif instruction == "CMD":
            self.command = json.loads(rest)
        elif instruction == "HEALTHCHECK":
            self.healthcheck = json.loads(rest.partition(" CMD ")[2])


def arguments() -> dict[str, str]:
    """Returns the defaults of the build arguments."""
    return dict(rest.split("=", 1) for instruction, rest in instructions() if instruction == "ARG")


def instructions() -> list[tuple[str, str]]:
    """Returns all instructions with what follows them."""
    text = "\n".join(line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#"))
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [tuple(line.split(" ", 1)) for line in lines if line]  # type: ignore[misc]


def _stages() -> dict[str | None, tuple[str, list[tuple[str, str]]]]:
    """Returns each stage by its name: what it is made from, and its instructions."""
    stages: dict[str | None, tuple[str, list[tuple[str, str]]]] = {}
    own: list[tuple[str, str]] = []
    for instruction, rest in instructions():
        if instruction == "FROM":
            base, _, name = rest.partition(" AS ")
            own = []
            stages[name] = (base, own)
        else:
            own.append((instruction, rest))
    return stages
