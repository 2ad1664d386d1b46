//! The daemon's rooms with real tools, one module each.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod source_python;
