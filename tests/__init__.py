"""Tests that drive the built programs from outside; the Rust tests lie beside them."""
