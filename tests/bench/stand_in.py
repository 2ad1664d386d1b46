"""A stand-in for the program that comfyd replaces: `stand_in.py SPEC LOCK HOME`.

It imports what such a program needs at least, reads the same two files and looks at the same places.
It checks less than comfyd does and is started without site-packages (`-S`), so it is a lower bound
for any such program.
"""

import argparse
import json
import os
import pathlib

parser = argparse.ArgumentParser()
parser.add_argument("spec", type=pathlib.Path)
parser.add_argument("lock", type=pathlib.Path)
parser.add_argument("home", type=pathlib.Path)
options = parser.parse_args()
spec = json.loads(options.spec.read_text())
lock = json.loads(options.lock.read_text())
assert spec["comfy"]["repo"] == lock["comfy"]["repo"]
os.stat(options.home / "ComfyUI/main.py")
os.stat(options.home / ".venv/bin/python")
for node in lock["custom_nodes"]:
    os.stat(options.home / "ComfyUI/custom_nodes" / node["dir"])
for model in lock["models"]:
    os.stat(options.home.parent / "models" / model["target"])
print(json.dumps({"ready": True}))
