"""What the worker's environment says. The one reader of it in this package.

The rules for the socket, the state directory and the program are comfyctl's (proto/src/places.rs,
client/src/environment.rs): both must come to the same daemon.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .bucket import Bucket, gcs, s3
from .errors import Failure

VOLUMES = ("/runpod-volume", "/workspace")
"""Mount points of a network volume: on serverless workers and on pods."""

SOCKET_PATH_MAX = 107
"""Longest path of a socket in bytes (unix(7))."""

SYSTEM_SOCKET = Path("/run/comfyd/comfyd.sock")
"""The socket of the daemon that systemd runs for the whole machine."""

MODES = ("base64", "s3", "gcs")
"""How outputs may be returned."""


@dataclass(frozen=True)
class Settings:
    """Everything that is the same for all jobs."""

    socket: Path
    system_socket: Path | None
    """Where else a daemon may be found: nowhere when a socket was named."""
    state_dir: Path
    """Where the daemon's log goes, and jobs' files while they run."""
    program: str
    """The daemon to start when none listens."""
    volume_wait_s: float
    """How long a daemon that is started waits for its volume before it listens."""
    cwd: str | None
    version_id: str | None
    """The version of jobs that name none. It is started with the worker."""
    comfy_home: str | None
    offline: bool
    comfy_org_api_key: str | None = field(repr=False)
    output_mode: str
    s3: Bucket | None
    gcs: Bucket | None
    max_concurrency: int | None
    """Jobs taken at once at most; as many as can compute at once when absent."""

    @classmethod
    def read(cls, variables: Mapping[str, str] = os.environ) -> "Settings":
        """Reads the environment; raises `Failure` for a variable that cannot be followed."""
        text = _Texts(variables)
        state_dir = _state_dir(text)
        endpoint = text("BUCKET_ENDPOINT_URL")
        keys = text("BUCKET_ACCESS_KEY_ID"), text("BUCKET_SECRET_ACCESS_KEY")
        return cls(
            socket=_socket(text, state_dir),
            system_socket=None if text("COMFYD_SOCKET") else SYSTEM_SOCKET,
            state_dir=state_dir,
            program=text("COMFYD_BIN") or "comfyd",
            volume_wait_s=_count(text, "COMFYD_VOLUME_WAIT", least=0) or 0,
            cwd=_cwd(),
            version_id=text("COMFY_VERSION_ID"),
            comfy_home=text("COMFY_HOME"),
            offline=(text("COMFY_OFFLINE") or "0").lower() not in ("0", "false", "no", "off"),
            comfy_org_api_key=text("COMFY_ORG_API_KEY"),
            output_mode=_mode(text("OUTPUT_MODE") or ("s3" if endpoint else "base64")),
            s3=s3(endpoint, *keys) if endpoint else None,
            gcs=gcs(name, text("GCS_PREFIX")) if (name := text("GCS_BUCKET")) else None,
            max_concurrency=_count(text, "COMFY_MAX_CONCURRENCY"),
        )


class _Texts:
    """Values of variables: one that is blank is not set."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables

    def __call__(self, name: str) -> str | None:
        return self._variables.get(name, "").strip() or None

    def path(self, name: str) -> Path | None:
        value = self(name)
        if value is not None and not value.startswith("/"):
            raise Failure(f"{name} is `{value}`, which is not an absolute path")
        return Path(value) if value else None


def _socket(text: _Texts, state_dir: Path) -> Path:
    runtime = text.path("XDG_RUNTIME_DIR")
    socket = text.path("COMFYD_SOCKET") or (runtime or state_dir) / "comfyd.sock"
    if len(os.fsencode(socket)) > SOCKET_PATH_MAX:
        raise Failure(f"the socket path `{socket}` is longer than {SOCKET_PATH_MAX} bytes: set COMFYD_SOCKET")
    return socket


def _state_dir(text: _Texts) -> Path:
    if directory := text.path("COMFYD_STATE_DIR"):
        return directory
    if state := text.path("XDG_STATE_HOME"):
        return state / "comfyd"
    home = text.path("HOME") or _volume(text)
    if home is None:
        raise Failure("neither HOME nor COMFY_VOLUME is set: there is no place for the daemon's state")
    return home / ".local/state/comfyd"


def _volume(text: _Texts) -> Path | None:
    if named := text("COMFY_VOLUME"):
        return Path(named)
    return next((Path(volume) for volume in VOLUMES if os.path.isdir(volume) and os.access(volume, os.W_OK)), None)


def _cwd() -> str | None:
    try:
        return os.getcwd()
    except OSError:
        return None  # removed meanwhile; the daemon then looks for specs in its own places alone


def _mode(value: str) -> str:
    if value not in MODES:
        raise Failure(f"OUTPUT_MODE is `{value}`, not one of {', '.join(MODES)}")
    return value


def _count(text: _Texts, name: str, *, least: int = 1) -> int | None:
    value = text(name)
    if value is None:
        return None
    if not value.isascii() or not value.isdigit() or int(value) < least:
        raise Failure(f"{name} is `{value}`, not a number from {least} on")
    return int(value)
