//! `status`: what the daemon is doing.

use super::Method;
use super::instance::InstanceInfo;
use crate::VersionId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Tells what the daemon is doing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {}
method!(Status, "status", StatusAnswer);

/// Answer to [`Status`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusAnswer {
    /// The daemon's version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime_s: u64,
    /// Its socket.
    pub socket: String,
    /// The places it uses, by name.
    pub places: BTreeMap<String, String>,
    /// Realizes under way.
    pub jobs: Vec<JobInfo>,
    /// ComfyUI processes.
    pub instances: Vec<InstanceInfo>,
}

/// A realize under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobInfo {
    /// The version.
    pub version_id: VersionId,
    /// Its home.
    pub home: String,
    /// What it does.
    pub phase: String,
    /// Number of clients that wait for it.
    pub waiting: usize,
}
