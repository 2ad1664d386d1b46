//! A ComfyUI process, as several verbs tell of it.

use crate::VersionId;
use serde::{Deserialize, Serialize};

/// A ComfyUI process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceInfo {
    /// The version.
    pub version_id: VersionId,
    /// Its home.
    pub home: String,
    /// The generation it runs.
    pub generation: String,
    /// The generation that a rollback left for the one it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolled_back_from: Option<String>,
    /// How it stands.
    pub state: InstanceState,
    /// Base URL of its API.
    pub url: String,
    /// Its log file.
    pub log: String,
    /// What it computes on, once that is decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<Device>,
    /// Claims on it that last (`warm`).
    #[serde(default)]
    pub leases: usize,
    /// Workflows on it, waiting ones included: it is busy while there are any.
    #[serde(default)]
    pub workflows: usize,
    /// How often it was started again since it last ended well.
    #[serde(default)]
    pub restarts: u32,
    /// Whether an earlier daemon started it.
    #[serde(default)]
    pub adopted: bool,
    /// Whether it was forked from the version's zygote.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forked: bool,
}

/// What a ComfyUI computes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Device {
    /// The processor.
    Cpu,
    /// One GPU.
    Gpu {
        /// Its number, as the driver counts.
        index: u32,
    },
    /// All GPUs there are, as the spec's own arguments say.
    Any,
}

/// How a ComfyUI process stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum InstanceState {
    /// Loading.
    Starting {
        /// Process id.
        pid: u32,
        /// Milliseconds since its start.
        for_ms: u64,
    },
    /// Answering.
    Ready {
        /// Process id.
        pid: u32,
        /// Milliseconds it took to become ready.
        start_ms: u64,
    },
    /// Asked to end.
    Stopping {
        /// Process id.
        pid: u32,
    },
    /// Ended after it was asked to.
    Exited,
    /// Ended by itself.
    Failed {
        /// Why, with its exit status.
        reason: String,
    },
}
