"""Reads PNG files: 8 bits a channel, RGB or RGBA, not interlaced, as ComfyUI writes them."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {2: 3, 6: 4}  # by the header's colour type


@dataclass
class Image:
    """A decoded image."""

    width: int
    height: int
    channels: int
    rows: list[bytes]

    def pixel(self, x: int, y: int) -> tuple[int, int, int]:
        """Returns red, green and blue."""
        at = x * self.channels
        red, green, blue = self.rows[y][at : at + 3]
        return red, green, blue


def read_png(file: Path) -> Image:
    """Decodes a file; raises `ValueError` when it is not such a PNG."""
    chunks = _chunks(file.read_bytes())
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    if depth != 8 or colour not in _CHANNELS or interlaced:
        raise ValueError(f"`{file}`: depth {depth}, colour type {colour}, interlaced {interlaced}")
    channels = _CHANNELS[colour]
    return Image(width, height, channels, _unfilter(zlib.decompress(chunks[b"IDAT"]), width * channels, channels))


def _chunks(data: bytes) -> dict[bytes, bytes]:
    """Returns the chunks by type; those of one type are joined, their checksums are verified."""
    if not data.startswith(_SIGNATURE):
        raise ValueError("not a PNG")
    chunks: dict[bytes, bytes] = {}
    at = len(_SIGNATURE)
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 8 : at + 8 + length]
        (checksum,) = struct.unpack_from(">I", data, at + 8 + length)
        if zlib.crc32(kind + body) != checksum:
            raise ValueError(f"wrong checksum of {kind!r}")
        chunks[kind] = chunks.get(kind, b"") + body
        at += 12 + length
    return chunks


def _unfilter(data: bytes, stride: int, step: int) -> list[bytes]:
    rows: list[bytes] = []
    above = bytearray(stride)
    for start in range(0, len(data), stride + 1):
        row = bytearray(data[start + 1 : start + 1 + stride])
        for i in range(stride):
            left = row[i - step] if i >= step else 0
            corner = above[i - step] if i >= step else 0
            row[i] = (row[i] + _predict(data[start], left, above[i], corner)) & 0xFF
        rows.append(bytes(row))
        above = row
    return rows


def _predict(kind: int, left: int, above: int, corner: int) -> int:
    """The five filters of the PNG specification, section 9.2."""
    if kind == 4:
        estimate = left + above - corner
        return min((left, above, corner), key=lambda value: abs(estimate - value))
    return (0, left, above, (left + above) // 2)[kind]
