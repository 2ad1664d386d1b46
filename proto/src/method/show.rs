//! `show`: spec, lock and state side by side.

use super::Method;
use super::instance::InstanceInfo;
use super::list::VersionState;
use super::standing::Standing;
use super::target::Target;
use crate::NodeDir;
use crate::lock::Lock;
use crate::spec::Diagnostic;
use crate::spec::Spec;
use serde::{Deserialize, Serialize};

/// Shows spec, lock and state side by side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Show {
    /// Which version.
    #[serde(flatten)]
    pub target: Target,
}
method!(Show, "show", ShowAnswer);

/// Answer to [`Show`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShowAnswer {
    /// The spec file.
    pub spec_path: String,
    /// The spec, with the values of `env` hidden.
    pub spec: Spec,
    /// Its warnings.
    pub diagnostics: Vec<Diagnostic>,
    /// The lock's place.
    pub lock_path: String,
    /// The lock, if there is one for this spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<Lock>,
    /// The version's home.
    pub home: String,
    /// The current generation, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<String>,
    /// The generation that was current before: what `rollback` goes to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// How far it is: what older clients know of `standing`.
    pub state: VersionState,
    /// Where it stands on the warmth ladder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standing: Option<Standing>,
    /// What keeps it from being realized, a line each.
    pub lacks: Vec<String>,
    /// Custom nodes whose directory is linked.
    pub linked_nodes: Vec<NodeDir>,
    /// Its ComfyUI process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceInfo>,
}
