//! Test environment of comfyd: real tools, and doubles of every outside thing.
#![allow(clippy::unwrap_used, reason = "a test environment that cannot be made is a failed test")]

pub mod comfyui;
pub mod env;
pub mod file_server;
pub mod git_remote;
pub mod lfs;
pub mod process;
pub mod proxy;
pub mod script_daemon;
mod serve;
pub mod tls;
pub mod tools;
pub mod wheels;

pub use env::TestEnv;
pub use tools::{plain_path, python_path, uv_path};
pub use wheels::{SimpleIndex, Wheel};
