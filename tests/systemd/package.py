"""The Debian package of the programs that the tests were built with, by the same rules as the one that ships."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.real.comfyui import CHECKOUT

_CARGO_DEB = CHECKOUT / ".tools/cargo-deb/bin/cargo-deb"


def build(programs: Path, place: Path, version: str) -> Path:
    """Makes `place/comfyd_<version>.deb` of the two programs in `programs`; returns it."""
    # cargo-deb packs no debug builds: it finds them where a release would lie.
    release = place / "target/release"
    if not release.exists():
        release.mkdir(parents=True)
        for program in ("comfyd", "comfyctl"):
            subprocess.run(["strip", "-o", release / program, programs / program], check=True)
    package = place / f"comfyd_{version}.deb"
    options = ["--quiet", "--no-build", "--no-strip", "--fast", "--compress-type=gz", "--compress-system", "--locked", "--offline"]
    subprocess.run(
        [_CARGO_DEB, "--package=comfyd", *options, f"--deb-version={version}", f"--output={package}"],
        cwd=CHECKOUT,
        env=os.environ | {"CARGO_TARGET_DIR": str(place / "target")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return package
