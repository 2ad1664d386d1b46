"""Proves the parts of the real test by themselves: `python3 -m unittest tests.real.test_parts`."""

from __future__ import annotations

import json
import struct
import tempfile
import unittest
import urllib.request
import zlib
from pathlib import Path

from . import comfyui, model, node
from .git import git
from .png import read_png
from .server import Server


class Parts(unittest.TestCase):
    """Each part against the outside thing that it stands for."""

    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.scratch = Path(scratch.name)

    def test_git_is_served_at_depth_one_by_commit_id(self) -> None:
        commit = node.publish_node(self.scratch / "git/tests/comfyd-invert.git")
        with Server(self.scratch) as server:
            url = server.url("git/tests/comfyd-invert")
            heads = git("ls-remote", url)
            self.assertIn(f"{commit}\trefs/heads/{node.BRANCH}", heads)
            clone = self.scratch / "clone"
            git("init", "--quiet", clone)
            git("-C", clone, "fetch", "--quiet", "--depth=1", url, commit)
            files = git("-C", clone, "ls-tree", "--name-only", "FETCH_HEAD").split()
        self.assertEqual(files, ["__init__.py", "install.py", "pyproject.toml", "requirements.txt"])

    def test_comfyui_has_the_known_commit_and_an_annotated_tag(self) -> None:
        repository = self.scratch / "ComfyUI.git"
        self.assertEqual(comfyui.publish_comfyui(repository), comfyui.COMMIT)
        self.assertEqual(git("-C", repository, "rev-parse", f"{comfyui.TAG}^{{commit}}"), comfyui.COMMIT)
        self.assertEqual(git("-C", repository, "cat-file", "-t", comfyui.TAG), "tag")
        version = git("-C", repository, "show", f"{comfyui.TAG}:comfyui_version.py")
        self.assertIn('"0.3.75"', version)

    def test_model_is_well_formed_and_served_with_its_length(self) -> None:
        size = model.write_model(self.scratch / model.FILE_NAME)
        with Server(self.scratch) as server:
            with urllib.request.urlopen(server.url(model.FILE_NAME)) as answer:
                self.assertEqual(int(answer.headers["Content-Length"]), size)
                data = answer.read()
        (length,) = struct.unpack_from("<Q", data)
        tensors = json.loads(data[8 : 8 + length])
        self.assertEqual(max(tensor["data_offsets"][1] for tensor in tensors.values()), size - 8 - length)
        self.assertEqual(tensors["body.10.weight"]["shape"], [12, 16, 3, 3])

    def test_png_with_every_filter_is_read(self) -> None:
        # Five rows of two pixels, each row with another filter; all rows say the same once decoded.
        rows = [
            bytes([0, 10, 20, 30, 40, 50, 60]),
            bytes([1, 10, 20, 30, 30, 30, 30]),
            bytes([2, 0, 0, 0, 0, 0, 0]),
            bytes([3, 5, 10, 15, 15, 15, 15]),
            bytes([4, 0, 0, 0, 0, 0, 0]),
        ]
        file = self.scratch / "image.png"
        file.write_bytes(_png(2, 5, b"".join(rows)))
        image = read_png(file)
        for y in range(5):
            self.assertEqual((image.pixel(0, y), image.pixel(1, y)), ((10, 20, 30), (40, 50, 60)))


def _png(width: int, height: int, scanlines: bytes) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(scanlines)) + chunk(b"IEND", b"")


if __name__ == "__main__":
    unittest.main()
