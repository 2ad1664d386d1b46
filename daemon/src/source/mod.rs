//! The outside world that versions are made of. With `comfy`, the only rooms that open connections.

pub mod git;
pub mod http;
pub mod model;
