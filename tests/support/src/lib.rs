//! Test environment of comfyd: real tools, and doubles of every outside thing.
#![allow(clippy::unwrap_used, reason = "a test environment that cannot be made is a failed test")]

pub mod bucket;
pub mod civitai;
pub mod clock;
pub mod comfyui;
pub mod container;
pub mod env;
pub mod file_server;
pub mod git_remote;
pub mod hub;
pub mod lfs;
pub mod mounts;
pub mod nvml;
pub mod pod;
#[cfg(target_arch = "x86_64")]
pub mod power;
pub mod process;
pub mod proxy;
pub mod raw;
pub mod raw_client;
pub mod script_daemon;
mod seen;
mod serve;
pub mod slow_volume;
pub mod tap;
pub mod tls;
pub mod tools;
pub mod wheels;

pub use env::TestEnv;
pub use seen::Seen;
pub use tools::{plain_path, python_path, unfolded, uv_path};
pub use wheels::{SimpleIndex, Wheel};
