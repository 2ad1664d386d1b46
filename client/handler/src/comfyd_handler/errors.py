"""Why a job has no result, and what RunPod's users are told."""

from __future__ import annotations

from typing import Any


class Failure(Exception):
    """A failure with its kind (proto/src/error.rs names them) and lines that explain it."""

    def __init__(self, message: str, *, kind: str = "usage", details: list[str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.kind = kind
        self.details = details or []

    def output(self) -> dict[str, Any]:
        """Returns what the handler returns: worker-comfyui's `error` and `details`, and the kind."""
        output: dict[str, Any] = {"error": self.message, "kind": self.kind}
        if self.details:
            output["details"] = self.details
        return output


class Disconnected(Exception):
    """The daemon hung up: it was stopped or killed. What it was asked may be asked again."""


def failure_of_call(error: dict[str, Any]) -> Failure:
    """Makes a failure of JSON-RPC's error object, in worker-comfyui's words where it has some."""
    data = error.get("data") or {}
    kind, message = data.get("kind", "internal"), str(error.get("message", "the daemon gave no reason"))
    lines = [*data.get("causes", []), *_shown(data.get("diagnostics", [])), *data.get("details", [])]
    hint = [f"hint: {data['hint']}"] if data.get("hint") else []
    if kind == "execution":
        first = f"Workflow execution error: {message}"
        return Failure("Job processing failed", kind=kind, details=[first, *lines, *hint])
    if kind == "workflow" and lines:
        # Clients show `error` alone, so worker-comfyui has the findings in it.
        findings = "\n".join(f"• {line}" for line in lines)
        return Failure(f"Workflow validation failed:\n{findings}", kind=kind, details=[message, *lines, *hint])
    return Failure(message, kind=kind, details=[*lines, *hint])


def _shown(diagnostics: list[dict[str, Any]]) -> list[str]:
    places = [(f"{one.get('file')}:{one.get('line')}", one.get("field"), one.get("message")) for one in diagnostics]
    return [f"{place}: {field}: {message}" if field else f"{place}: {message}" for place, field, message in places]
