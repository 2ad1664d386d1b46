"""From nothing to an image, for a person to watch: `make demo`."""
