"""The figures that comfyd promises, measured from outside: `make bench`.

    binaries.py      sizes of the shipped programs, start of comfyctl, memory of an idle comfyd
    fetch/           models and repositories against curl, aria2c and git
    first_image.py   from an empty disk to an image, against the recipe a person would type
    ready.py         `comfyctl realize` of a version that is ready
    plain.py         that recipe
    stand_in.py      what a Python program would do in place of `comfyctl realize`
    figures.py       medians, clocks, the table

What is compared is measured in one run, in turns, and told as a ratio of medians: absolute times on
a shared machine differ from hour to hour.
"""
