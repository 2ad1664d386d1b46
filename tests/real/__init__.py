"""The product against the real ComfyUI, driven by comfyctl alone: `make test-real`.

    comfyui.py   ComfyUI as a git repository, its commit id the same everywhere
    node.py      a custom node's repository, from the files in comfyd-invert/
    model.py     a small upscale model whose effect on an image is known
    server.py    the three of them over HTTP, as a git host and a model host would serve them
    product.py   comfyctl with an environment of its own
    png.py       reads the images that come out
    scenario.py  what is tried, in order
    test_parts.py  proves the parts above; needs no binaries and no ComfyUI process

Needs Python 3.10, git with `http-backend`, pip that reaches a package index, and 15 GB of disk.
"""
