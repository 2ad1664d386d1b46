"""The images of `containers/`, run as containers without a container engine: `make test-containers`."""
