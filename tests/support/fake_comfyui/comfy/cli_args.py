"""The flags of the fake ComfyUI: those of 0.3.75 that a supervisor may use."""
import argparse
import os

parser = argparse.ArgumentParser()
parser.add_argument("--listen", type=str, default="127.0.0.1")
parser.add_argument("--port", type=int, default=8188)
parser.add_argument("--max-upload-size", type=float, default=100)
parser.add_argument("--extra-model-paths-config", nargs="+", action="append", default=[])
parser.add_argument("--output-directory", type=str)
parser.add_argument("--temp-directory", type=str)
parser.add_argument("--input-directory", type=str)
parser.add_argument("--user-directory", type=str)
parser.add_argument("--disable-auto-launch", action="store_true")
parser.add_argument("--database-url", type=str)
parser.add_argument("--cpu", action="store_true")

args = parser.parse_args()
if args.user_directory and not os.path.isdir(args.user_directory):
    parser.error(f"{args.user_directory} is not a directory")
