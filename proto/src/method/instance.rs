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
    /// How it stands.
    pub state: InstanceState,
    /// Base URL of its API.
    pub url: String,
    /// Its log file.
    pub log: String,
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
