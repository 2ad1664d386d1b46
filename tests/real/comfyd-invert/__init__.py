"""A custom node to test with: inverts an image against a colour given by its name.

Importing it fails unless the Python environment is complete: `webcolors` comes from
requirements.txt, `comfyd_invert_mark` is left there by install.py.
"""

import comfyd_invert_mark  # noqa: F401
import webcolors


class ComfydInvert:
    """Subtracts the image from a colour."""

    CATEGORY = "comfyd"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "invert"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",), "against": ("STRING", {"default": "white"})}}

    def invert(self, image, against):
        colour = [channel / 255 for channel in webcolors.name_to_rgb(against)]
        return ((image.new_tensor(colour) - image).clamp(0, 1),)


NODE_CLASS_MAPPINGS = {"ComfydInvert": ComfydInvert}
