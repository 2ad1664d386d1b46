"""A 2x upscale model of 47 KB whose effect on any image is known in advance.

The architecture is SRVGGNetCompact (16 features, 4 convolutions): `out = shuffle(body(in)) +
nearest(in)`. The weights of the body are random, but those of its last convolution are zero, so the
body's result is that convolution's bias. Each input pixel becomes a block of 2x2 pixels, brighter
by `BRIGHTER`: an image shows whether the model's numbers were used.
"""

from __future__ import annotations

import json
import random
import struct
from pathlib import Path

FILE_NAME = "x2-compact.safetensors"
FOLDER = "upscale_models"
"""The model's folder in ComfyUI's words."""
SCALE = 2
BRIGHTER = ((0.0, 0.05), (0.10, 0.15))
"""What is added to the pixel at row y, column x of each block, on a scale where white is 1."""

_FEATURES = 16
_CONVOLUTIONS = 4

Tensor = tuple[list[int], list[float]]


def write_model(file: Path) -> int:
    """Writes the model in safetensors format; returns its size in bytes."""
    header: dict[str, object] = {}
    data = b""
    for name, (shape, values) in _tensors().items():
        packed = struct.pack(f"<{len(values)}f", *values)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(packed)]}
        data += packed
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return file.write_bytes(struct.pack("<Q", len(text)) + text + data)


def _tensors() -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    rng = random.Random(75)

    def small(count: int) -> list[float]:
        return [(rng.random() - 0.5) / 10 for _ in range(count)]

    inputs = 3
    for layer in range(0, 2 * (_CONVOLUTIONS + 1), 2):
        tensors[f"body.{layer}.weight"] = ([_FEATURES, inputs, 3, 3], small(_FEATURES * inputs * 9))
        tensors[f"body.{layer}.bias"] = ([_FEATURES], small(_FEATURES))
        tensors[f"body.{layer + 1}.weight"] = ([_FEATURES], small(_FEATURES))
        inputs = _FEATURES
    last = 2 * (_CONVOLUTIONS + 1)
    block = [value for row in BRIGHTER for value in row]
    outputs = 3 * SCALE**2
    tensors[f"body.{last}.weight"] = ([outputs, _FEATURES, 3, 3], [0.0] * (outputs * _FEATURES * 9))
    tensors[f"body.{last}.bias"] = ([outputs], block * 3)
    return tensors
