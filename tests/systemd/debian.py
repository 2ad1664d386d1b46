"""A small Debian on the disk, made once by debootstrap from the mirror that this machine's apt uses."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

from tests.real.comfyui import CHECKOUT

_CACHE = CHECKOUT / ".cache/systemd"

_PACKAGES = ("ca-certificates", "dbus", "libpam-systemd", "python3", "systemd", "systemd-sysv")
"""What comfyd's package depends on, what ComfyUI runs by, and what users' own services need."""


def root() -> Path:
    """Returns the directory of a Debian of this machine's release. Takes a minute the first time."""
    release = platform.freedesktop_os_release()["VERSION_CODENAME"]
    made = _CACHE / f"{release}-{'-'.join(_PACKAGES)}"
    if made.exists():
        return made
    _CACHE.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(_CACHE / "new", ignore_errors=True)
    new = _CACHE / "new"
    options = ["--variant=minbase", f"--include={','.join(_PACKAGES)}"]
    command = ["debootstrap", *options, release, str(new), _mirror(release)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"`{' '.join(command)}` failed:\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
    return new.rename(made)


def _mirror(release: str) -> str:
    """Returns the mirror that apt is configured with."""
    asked = ["apt-get", "indextargets", "--format", "$(SITE) $(RELEASE) $(COMPONENT)", "Created-By: Packages"]
    told = subprocess.run(asked, check=True, capture_output=True, text=True).stdout
    for line in told.splitlines():
        site, of, component = line.split()
        if (of, component) == (release, "main"):
            return site
    raise RuntimeError(f"apt knows no mirror of `{release}`; it knows:\n{told}")
