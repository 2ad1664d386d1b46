"""How many jobs a worker takes at once: as many as can compute at once. Pure, but for the memory of it.

Two workflows on one GPU wait for each other. A job that waits here, on RunPod's clock, could run on another
worker; so one is taken for each device that the ready instances are on.
"""

from __future__ import annotations

from typing import Any


class Concurrency:
    """The number of jobs that the SDK asks for before each look for work."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._wanted = 1

    def learn(self, status: dict[str, Any]) -> None:
        """Takes in what the daemon's `status` says."""
        wanted = devices_in_use(status)
        self._wanted = wanted if self._limit is None else min(wanted, self._limit)

    def modifier(self, _current: int) -> int:
        """Returns the number; the SDK's `concurrency_modifier`."""
        return self._wanted


def devices_in_use(status: dict[str, Any]) -> int:
    """Returns how many devices hold a ready ComfyUI, at least 1."""
    devices = {
        (device.get("kind"), device.get("index"))
        for instance in status.get("instances", [])
        if instance.get("state", {}).get("kind") == "ready" and (device := instance.get("device"))
    }
    return max(1, len(devices))
