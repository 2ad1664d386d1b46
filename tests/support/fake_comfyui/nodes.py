"""Node classes of the fake ComfyUI, and the loading of custom nodes with ComfyUI's words."""
import importlib.util
import os
import random
import re
import struct
import sys
import time
import traceback
import zlib

import folder_paths


class Interrupted(Exception):
    """Stands for ComfyUI's InterruptProcessingException."""


class EmptyImage:
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"width": ("INT", {"min": 1, "max": 16384}), "height": ("INT", {"min": 1, "max": 16384}),
                             "batch_size": ("INT", {"min": 1, "max": 4096}), "color": ("INT", {"min": 0})}}

    def run(self, server, width, height, batch_size, color):
        return {"result": ([(width, height, color)] * batch_size,)}


class LoadImage:
    RETURN_TYPES = ("IMAGE", "MASK")

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": (sorted(os.listdir(folder_paths.directories["input"])), {})}}

    def run(self, server, image):
        content = open(os.path.join(folder_paths.directories["input"], image), "rb").read()
        return {"result": ([(len(content), 1, zlib.crc32(content) & 0xFFFFFF)], None)}


class UpscaleModelLoader:
    RETURN_TYPES = ("UPSCALE_MODEL",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model_name": (folder_paths.get_filename_list("upscale_models"),)}}

    def run(self, server, model_name):
        return {"result": (model_name,)}


class ImageUpscaleWithModel:
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"upscale_model": ("UPSCALE_MODEL",), "image": ("IMAGE",)}}

    def run(self, server, upscale_model, image):
        return {"result": ([(width * 4, height * 4, color) for width, height, color in image],)}


class SaveImage:
    OUTPUT_NODE = True
    RETURN_TYPES = ()
    PLACE = "output"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"images": ("IMAGE",), "filename_prefix": ("STRING", {"default": "ComfyUI"})}}

    def run(self, server, images, filename_prefix="ComfyUI"):
        subfolder, prefix = os.path.split(filename_prefix)
        directory = os.path.join(folder_paths.directories[self.PLACE], subfolder)
        os.makedirs(directory, exist_ok=True)
        saved = []
        for image in images:
            counter = 1 + max([int(match.group(1)) for name in os.listdir(directory)
                               if (match := re.match(re.escape(prefix) + r"_(\d+)_\.png", name))], default=0)
            name = f"{prefix}_{counter:05}_.png"
            with open(os.path.join(directory, name), "wb") as file:
                file.write(png(*image))
            saved.append({"filename": name, "subfolder": subfolder, "type": self.PLACE})
        return {"ui": {"images": saved}}


class PreviewImage(SaveImage):
    PLACE = "temp"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"images": ("IMAGE",)}}

    def run(self, server, images):
        return super().run(server, images, "ComfyUI_temp_" + "".join(random.choices("abcde", k=5)))


class FakeText:
    OUTPUT_NODE = True
    RETURN_TYPES = ()

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"text": ("STRING", {})}, "optional": {"number": ("FLOAT", {"max": float("inf")})}}

    def run(self, server, text, number=None):
        return {"ui": {"text": [text], "numbers": [{"number": number}], "animated": [False]}}


class FakeFail:
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    def run(self, server):
        raise ValueError("this node always fails")


class FakeSlow:
    """Counts `steps` of `ms` milliseconds each; can be interrupted between two."""
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",), "steps": ("INT", {"min": 1}), "ms": ("INT", {"min": 0})}}

    def run(self, server, image, steps, ms):
        for step in range(steps):
            server.progress(step, steps)
            time.sleep(ms / 1000)
            if server.interrupted:
                raise Interrupted()
        return {"result": (image,)}


CLASSES = (EmptyImage, LoadImage, UpscaleModelLoader, ImageUpscaleWithModel, SaveImage, PreviewImage, FakeText,
           FakeFail, FakeSlow)
NODE_CLASS_MAPPINGS = {cls.__name__: cls for cls in CLASSES}
for cls in CLASSES:
    cls.RELATIVE_PYTHON_MODULE = "nodes"


def png(width, height, color):
    """Returns a plain image in one colour."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    row = b"\0" + color.to_bytes(4, "big")[1:] * width
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row * height)) + chunk(b"IEND", b"")


def load_custom_nodes():
    times = []
    for root in folder_paths.folder_names_and_paths["custom_nodes"]:
        for name in os.listdir(root) if os.path.isdir(root) else []:
            path = os.path.join(root, name)
            if name == "__pycache__" or name.endswith(".disabled") or not os.path.isdir(path):
                continue
            times.append((0.0, path, load_custom_node(name, path)))
    if times:
        say("\nImport times for custom nodes:")
        for seconds, path, success in sorted(times):
            say("{:6.1f} seconds{}: {}".format(seconds, "" if success else " (IMPORT FAILED)", path))
        say("")


def load_custom_node(name, path):
    try:
        spec = importlib.util.spec_from_file_location(path, os.path.join(path, "__init__.py"))
        module = importlib.util.module_from_spec(spec)
        sys.modules[path] = module
        spec.loader.exec_module(module)
        mappings = getattr(module, "NODE_CLASS_MAPPINGS", None)
        if mappings is None:
            say(f"Skip {path} module for custom nodes due to the lack of NODE_CLASS_MAPPINGS or NODES_LIST (need one).")
            return False
        for key, cls in mappings.items():
            cls.RELATIVE_PYTHON_MODULE = f"custom_nodes.{name}"
            NODE_CLASS_MAPPINGS[key] = cls
        return True
    except Exception as error:
        say(traceback.format_exc())
        say(f"Cannot import {path} module for custom nodes: {error}")
        return False


def say(text):
    print(text, file=sys.stderr, flush=True)
