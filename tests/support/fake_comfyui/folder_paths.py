"""Where the fake ComfyUI looks for models and keeps files."""
import os
import shutil

from comfy.cli_args import args

base_path = os.path.dirname(os.path.realpath(__file__))
directories = {
    "input": args.input_directory or os.path.join(base_path, "input"),
    "output": args.output_directory or os.path.join(base_path, "output"),
    # As in ComfyUI, the directory that is given is the parent of the one that is used.
    "temp": os.path.join(args.temp_directory or base_path, "temp"),
}
EXTENSIONS = (".ckpt", ".pt", ".pt2", ".bin", ".pth", ".safetensors", ".pkl", ".sft")
LEGACY = {"unet": "diffusion_models", "clip": "text_encoders"}
FOLDERS = ("checkpoints", "loras", "vae", "text_encoders", "diffusion_models", "controlnet",
           "clip_vision", "embeddings", "upscale_models")
folder_names_and_paths = {name: [os.path.join(base_path, "models", name)] for name in FOLDERS}
folder_names_and_paths["custom_nodes"] = [os.path.join(base_path, "custom_nodes")]


def load_extra_paths(path):
    """Reads as much YAML as such files hold: sections of `key: path` and `key: |` blocks."""
    base, key = "", None
    for line in open(path, encoding="utf-8").read().splitlines():
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if not line.startswith(" "):
            base, key = "", None
        elif ":" in text and not text.startswith("/"):
            key, value = (part.strip() for part in text.split(":", 1))
            value = value.strip("\"'")
            if key == "base_path":
                base = os.path.join(os.path.dirname(os.path.abspath(path)), value)
            elif key != "is_default" and value not in ("|", ""):
                add(key, os.path.join(base, value))
        elif key:
            add(key, os.path.join(base, text))


def add(folder, path):
    folder_names_and_paths.setdefault(LEGACY.get(folder, folder), []).append(path)


def get_filename_list(folder):
    found = set()
    for root in folder_names_and_paths[folder]:
        for where, _, names in os.walk(root, followlinks=True):
            found |= {os.path.relpath(os.path.join(where, name), root) for name in names
                      if folder not in FOLDERS or name.endswith(EXTENSIONS)}
    return sorted(found)


for paths in args.extra_model_paths_config:
    for one in paths:
        load_extra_paths(one)
shutil.rmtree(directories["temp"], ignore_errors=True)
for directory in directories.values():
    os.makedirs(directory, exist_ok=True)
