//! Test environment of comfyd and doubles of every outside thing.
#![allow(clippy::unwrap_used, reason = "a test environment that cannot be made is a failed test")]

pub mod comfyui;
