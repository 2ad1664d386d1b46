//! comfyd: owns the caches of ComfyUI versions, makes versions real and runs them.
//!
//! ARCHITECTURE.md has the map and the invariants. Entry points: [`daemon::run`] is the daemon's life,
//! [`realize::realize`] the way from a spec to a working home.

pub mod boot;
pub mod cli;
pub mod comfy;
pub mod config;
pub mod ctx;
pub mod daemon;
pub mod doctor;
pub mod error;
pub mod failpoint;
pub mod import;
pub mod mounts;
pub mod prefetch;
pub mod process;
pub mod realize;
pub mod resolve;
pub mod rpc;
pub mod run;
pub mod service;
pub mod signals;
pub mod source;
pub mod start;
pub mod store;
pub mod supervise;
