"""`python3 -m tests.packages`: what `make packages` made is whole, runs anywhere, and says one version."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
import threading
import unittest
import zipfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
PACKAGES = CHECKOUT / "target/packages"
VERSION = re.search(r'^version = "(.+)"$', (CHECKOUT / "Cargo.toml").read_text(), re.MULTILINE)[1]

CLIENT_BYTES = 1_500_000
"""What comfyctl may weigh: it is started for each call, and copied into every image."""

MACHINES = {"x86_64": 62, "aarch64": 183}
"""Processors by their number in ELF (`e_machine`, elf.h)."""


class Packages(unittest.TestCase):
    def test_each_file_is_the_one_that_the_sums_name(self) -> None:
        lines = (PACKAGES / "SHA256SUMS").read_text().splitlines()
        named = {name: digest for digest, name in (line.split("  ") for line in lines)}
        there = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in _files()}
        self.assertEqual(named, there)

    def test_every_package_is_of_this_version(self) -> None:
        self.assertTrue(_files())
        for file in _files():
            self.assertIn(VERSION, file.name)

    def test_the_wheel_brings_the_handler(self) -> None:
        (wheel,) = PACKAGES.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            names = archive.namelist()
            (metadata,) = (name for name in names if name.endswith("dist-info/METADATA"))
            self.assertIn(f"\nVersion: {VERSION}\n", archive.read(metadata).decode())
            (points,) = (name for name in names if name.endswith("entry_points.txt"))
            self.assertIn("comfyd-handler = comfyd_handler.main:main", archive.read(points).decode())
        ours = {file.name for file in (CHECKOUT / "client/handler/src/comfyd_handler").glob("*.py")}
        self.assertEqual(ours, {name.split("/")[1] for name in names if name.startswith("comfyd_handler/")})


class Static(unittest.TestCase):
    """The archives of programs that need nothing of the system."""

    def setUp(self) -> None:
        self.place = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.place)

    def test_the_programs_need_no_library_and_comfyctl_is_small(self) -> None:
        for arch, machine in MACHINES.items():
            programs = self.unpack(arch)
            for name in ("comfyd", "comfyctl"):
                header, interpreter = _elf(programs / name)
                self.assertEqual(header, machine, f"{name} of {arch}")
                self.assertFalse(interpreter, f"{name} of {arch} asks for a loader")
            self.assertLessEqual((programs / "comfyctl").stat().st_size, CLIENT_BYTES, arch)

    def test_pages_completions_and_licenses_lie_beside_them(self) -> None:
        for arch in MACHINES:
            programs = self.unpack(arch)
            for name in ("man/comfyctl.1", "man/comfyd.8", "completions/_comfyctl", "LICENSE-MIT", "LICENSE-APACHE"):
                self.assertTrue((programs / name).is_file(), f"{name} of {arch}")

    def test_they_run_and_find_each_other(self) -> None:
        for arch in MACHINES:
            emulator = _emulator(arch)
            if emulator is None:
                print(f"NOT TESTED: programs of {arch}, for lack of qemu-user-static", file=sys.stderr)
                continue
            programs, home = self.unpack(arch), str(self.place)
            environment = {"HOME": home, "XDG_RUNTIME_DIR": home, "COMFYD_PREFETCH": "off"}
            # The kernel does not know what to do with comfyd's file, so comfyctl cannot start it.
            daemon = _serve([*emulator, programs / "comfyd"], environment) if emulator else None
            for arguments in (["--version"], ["list"], ["status"], ["doctor", "--quick"], ["shutdown"]):
                command = [*emulator, programs / "comfyctl", *arguments]
                ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
                self.assertEqual(ended.returncode, 0, f"{arch} {arguments}: {ended.stderr}")
                if arguments == ["--version"]:
                    self.assertEqual(ended.stdout, f"comfyctl {VERSION}\n")
            if daemon:
                self.assertEqual(daemon.wait(30), 0)

    def unpack(self, arch: str) -> Path:
        name = f"comfyd-{VERSION}-linux-{arch}"
        with tarfile.open(PACKAGES / f"{name}.tar.gz") as archive:
            self.assertTrue(all(member.uid == member.gid == 0 for member in archive))
            archive.extractall(self.place, filter="data")
        return self.place / name


def _files() -> list[Path]:
    return [file for file in PACKAGES.iterdir() if file.name != "SHA256SUMS"]


def _emulator(arch: str) -> list[str] | None:
    if platform.machine() == arch:
        return []
    found = shutil.which(f"qemu-{arch}-static") or shutil.which(f"qemu-{arch}")
    return [found] if found else None


def _serve(command: list[str | Path], environment: dict[str, str]) -> subprocess.Popen[str]:
    """Starts comfyd and waits until it listens. `comfyctl shutdown` ends it."""
    daemon = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    assert daemon.stderr
    said = []
    for line in daemon.stderr:
        said.append(line)
        if "serving" in line:
            # It would end at a pipe that nobody reads.
            threading.Thread(target=daemon.stderr.read, daemon=True).start()
            return daemon
    raise AssertionError(f"comfyd ended: {''.join(said)}")


def _elf(program: Path) -> tuple[int, bool]:
    """Returns the processor, and whether a loader is asked for (`PT_INTERP`)."""
    data = program.read_bytes()
    assert data[:5] == b"\x7fELF\x02", program
    (machine,) = struct.unpack_from("<H", data, 18)
    (table,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    kinds = (struct.unpack_from("<I", data, table + number * size)[0] for number in range(count))
    return machine, 3 in kinds


if __name__ == "__main__":
    if not PACKAGES.is_dir():
        sys.exit(f"`{PACKAGES}` is not there: `make packages` makes it")
    os.chdir(CHECKOUT)
    unittest.main(module=__name__)
