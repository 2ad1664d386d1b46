//! comfyd: owns the caches of ComfyUI versions, makes versions real and runs them.
//!
//! Read ARCHITECTURE.md first; it has the map and the invariants.

pub mod config;
pub mod ctx;
pub mod process;
pub mod source;
pub mod store;
