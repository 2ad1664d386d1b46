//! `rollback`: makes the generation before current again.

use super::Method;
use super::instance::InstanceInfo;
use super::target::Target;
use crate::VersionId;
use serde::{Deserialize, Serialize};

/// Makes the generation before current again, and its lock the version's. Once more goes forward again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rollback {
    /// Which version.
    #[serde(flatten)]
    pub target: Target,
}
method!(Rollback, "rollback", RollbackAnswer);

/// Answer to [`Rollback`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RollbackAnswer {
    /// The version.
    pub version_id: VersionId,
    /// The version's home.
    pub home: String,
    /// The generation that is current now.
    pub generation: String,
    /// The generation that was current: what another rollback goes to.
    pub previous: String,
    /// Whether this took an earlier rollback back.
    pub forward: bool,
    /// The lock's place.
    pub lock_path: String,
    /// How the lock differs from the one before, a line each.
    pub changes: Vec<String>,
    /// What people should know.
    pub warnings: Vec<String>,
    /// Its ComfyUI process, which keeps the generation that it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceInfo>,
}
