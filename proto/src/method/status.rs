//! `status`: what the daemon is doing.

use super::Method;
use super::instance::InstanceInfo;
use super::standing::VersionStanding;
use crate::VersionId;
use crate::event::Wait;
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
    /// Workflows that wait or run.
    #[serde(default)]
    pub workflows: Vec<WorkflowInfo>,
    /// The GPUs of this machine.
    #[serde(default)]
    pub gpus: Vec<GpuInfo>,
    /// Where the versions stand that the daemon knows, as it last looked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<VersionStanding>,
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
    /// Whether all other work goes first.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub background: bool,
    /// What it waits for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits: Vec<Wait>,
}

/// A workflow that waits or runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowInfo {
    /// The job.
    pub job_id: String,
    /// The version.
    pub version_id: VersionId,
    /// How far it is.
    pub state: WorkflowState,
    /// Milliseconds since it was asked for.
    pub for_ms: u64,
    /// What it waits for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits: Vec<Wait>,
}

/// How far a workflow is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkflowState {
    /// Its ComfyUI is being made ready.
    Preparing,
    /// It waits behind others.
    Queued,
    /// ComfyUI has it.
    Running,
    /// Its outputs are brought where they belong.
    Delivering,
}

/// A GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuInfo {
    /// Its number, as the driver counts.
    pub index: u32,
    /// What it is called.
    pub name: String,
    /// Its memory, in bytes.
    pub total_bytes: u64,
    /// What of it nobody uses, in bytes.
    pub free_bytes: u64,
}
