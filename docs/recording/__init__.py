"""The recording in the README; see `__main__`."""
