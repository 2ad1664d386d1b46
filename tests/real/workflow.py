"""The workflow that uses the custom node and the model, and what its images must hold."""

from __future__ import annotations

from pathlib import Path

from . import model, node
from .png import Image, read_png

WIDTH, HEIGHT = 64, 48
COLOUR = (51, 102, 204)

ALMOST = "x2-compakt.safetensors"
"""A misspelt name of the model."""

INVERTED, UPSCALED = "5", "6"
"""Ids of the nodes that save images."""


def workflow() -> dict[str, object]:
    """Returns the workflow in API format: a flat image, inverted, then upscaled."""
    red, green, blue = COLOUR
    size = {"width": WIDTH, "height": HEIGHT, "batch_size": 1}
    return {
        "1": _node("EmptyImage", **size, color=red << 16 | green << 8 | blue),
        "2": _node(node.CLASS_TYPE, image=["1", 0], against="white"),
        "3": _node("UpscaleModelLoader", model_name=model.FILE_NAME),
        "4": _node("ImageUpscaleWithModel", upscale_model=["3", 0], image=["2", 0]),
        INVERTED: _node("SaveImage", images=["2", 0], filename_prefix="inverted"),
        UPSCALED: _node("SaveImage", images=["4", 0], filename_prefix="upscaled"),
    }


def slow() -> dict[str, object]:
    """Returns a workflow that takes some seconds without a GPU."""
    size = {"width": 2048, "height": 2048, "batch_size": 1}
    return {
        "1": _node("EmptyImage", **size, color=0),
        "2": _node("UpscaleModelLoader", model_name=model.FILE_NAME),
        "3": _node("ImageUpscaleWithModel", upscale_model=["2", 0], image=["1", 0]),
        "4": _node("ImageScale", image=["3", 0], upscale_method="area", width=64, height=64, crop="disabled"),
        "5": _node("SaveImage", images=["4", 0], filename_prefix="slow"),
    }


def refused() -> dict[str, object]:
    """Returns a workflow that names a model that is not there, by a name that is nearly right.

    The loader is one of the new kind: ComfyUI 0.3.75 itself would accept any name, and fail when it runs.
    """
    return {
        "1": _node("EmptyImage", width=WIDTH, height=HEIGHT, batch_size=1, color=0),
        "2": _node("UpscaleModelLoader", model_name=ALMOST),
        "3": _node("ImageUpscaleWithModel", upscale_model=["2", 0], image=["1", 0]),
        "4": _node("SaveImage", images=["3", 0], filename_prefix="refused"),
    }


def check_images(files: dict[str, Path]) -> None:
    """Raises `AssertionError` unless the two files, by node id, show what the workflow makes."""
    inverted, upscaled = (read_png(files[saver]) for saver in (INVERTED, UPSCALED))
    expected = tuple(255 - channel for channel in COLOUR)
    _check_size(inverted, 1)
    _check_size(upscaled, model.SCALE)
    for y in range(upscaled.height):
        for x in range(upscaled.width):
            brighter = 255 * model.BRIGHTER[y % model.SCALE][x % model.SCALE]
            _check_pixel(upscaled, x, y, tuple(min(255, channel + brighter) for channel in expected))
    for y in range(inverted.height):
        for x in range(inverted.width):
            _check_pixel(inverted, x, y, expected)


def _node(class_type: str, **inputs: object) -> dict[str, object]:
    return {"class_type": class_type, "inputs": inputs}


def _check_size(image: Image, scale: int) -> None:
    size = (image.width, image.height)
    assert size == (WIDTH * scale, HEIGHT * scale), f"the image is {size}"


def _check_pixel(image: Image, x: int, y: int, expected: tuple[float, ...]) -> None:
    found = image.pixel(x, y)
    # ComfyUI cuts off what is behind the point, so 203.99 may be saved as 203.
    close = all(abs(have - want) <= 1.5 for have, want in zip(found, expected))
    assert close, f"pixel {x},{y} is {found}, not {expected}"
