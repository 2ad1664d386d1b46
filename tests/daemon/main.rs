//! The daemon's rooms with real tools, one module each.

mod source_python;
