//! Test environment of comfyd and doubles of every outside thing.

pub mod file_server;
pub mod git_remote;
pub mod script_daemon;
mod serve;
