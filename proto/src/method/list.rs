//! `list`: the versions there are.

use super::Method;
use super::standing::Standing;
use crate::VersionId;
use serde::{Deserialize, Serialize};

/// Lists the versions there are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct List {
    /// The client's working directory, for `./versions`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// The client's `COMFY_HOME`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comfy_home: Option<String>,
}
method!(List, "list", ListAnswer);

/// Answer to [`List`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ListAnswer {
    /// The directories that were searched.
    pub searched: Vec<String>,
    /// What was found, by id.
    pub versions: Vec<ListedVersion>,
}

/// A version in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ListedVersion {
    /// The id: the file's name.
    pub version_id: VersionId,
    /// The spec file.
    pub path: String,
    /// How far it is: what older clients know of `standing`.
    pub state: VersionState,
    /// Where it stands on the warmth ladder; none where the spec has errors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standing: Option<Standing>,
    /// Number of errors in the spec.
    pub errors: usize,
}

/// How far a version is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VersionState {
    /// The spec has errors.
    Invalid,
    /// No lock, or the spec changed since.
    Unresolved,
    /// Pinned.
    Resolved,
    /// Its home is complete.
    Realized,
    /// ComfyUI answers.
    Running,
}
