//! What tests need: real tools, and doubles of every outside thing.

pub mod tools;
pub mod wheels;

pub use tools::{plain_path, python_path, uv_path};
pub use wheels::{SimpleIndex, Wheel};
