//! Where a version stands on the warmth ladder, as several verbs tell of it.

use crate::{Rung, VersionId};
use serde::{Deserialize, Serialize};

/// Where a version stands on the warmth ladder, and why not higher.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Standing {
    /// The rung.
    pub rung: Rung,
    /// Why it is not higher, for people: "2 of 5 models are missing (3.10 GiB)". Empty when it runs.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// The rung that it is pinned to: idle time lifts it there before all others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned: Option<Rung>,
    /// Its zygote, which also waits while an instance runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zygote: Option<Zygote>,
}

/// A Python that has imported what a version's ComfyUI needs, and waits to be forked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zygote {
    /// Process id.
    pub pid: u32,
    /// Its share of memory in bytes: pages that several processes map are divided among them (PSS).
    pub pss_bytes: u64,
    /// Milliseconds since it waits.
    pub for_ms: u64,
}

/// Where one of several versions stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionStanding {
    /// The version.
    pub version_id: VersionId,
    /// Its home.
    pub home: String,
    /// Where it stands.
    #[serde(flatten)]
    pub standing: Standing,
}
