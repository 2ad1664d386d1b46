//! `status`: what the daemon is doing.

use super::Method;
use super::instance::InstanceInfo;
use super::standing::VersionStanding;
use crate::VersionId;
use crate::event::{Wait, Work};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Tells what the daemon is doing: at once, or as soon as that is something else than the caller knows.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Status {
    /// The [mark](StatusAnswer::mark) of the answer that the caller has: the next one comes when there is something
    /// new to tell, or a second later, since times go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}
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
    /// What idle time does right now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<IdleStep>,
    /// Tells answers apart: two with one mark differ in nothing but times, and in a few MiB of memory.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mark: String,
}

/// What idle time does: one thing at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdleStep {
    /// The version that it is done for; absent where only its home is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_id: Option<VersionId>,
    /// Its home.
    pub home: String,
    /// What is done, for people: "lifts it from resolved to fetched".
    pub what: String,
    /// Milliseconds since it began.
    pub for_ms: u64,
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
    /// How far it is.
    #[serde(default, skip_serializing_if = "Work::is_empty")]
    pub work: Work,
}

/// A workflow that waits or runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// How far it is: the node that runs, and its steps.
    #[serde(default, skip_serializing_if = "Work::is_empty")]
    pub work: Work,
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
    /// What ComfyUI processes use of it, where the driver tells: inside a container it often does not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub used_by: Vec<GpuUse>,
}

/// What a ComfyUI process uses of a GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuUse {
    /// Home of the instance.
    pub home: String,
    /// Process id.
    pub pid: u32,
    /// Memory, in bytes.
    pub bytes: u64,
}
