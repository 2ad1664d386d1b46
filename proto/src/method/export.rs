//! `export`: a version for other programs.

use super::Method;
use super::target::Target;
use crate::VersionId;
use serde::{Deserialize, Serialize};

/// Writes what a version's lock says in another program's format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Export {
    /// Which version.
    #[serde(flatten)]
    pub target: Target,
    /// The format.
    pub format: ExportFormat,
}
method!(Export, "export", ExportAnswer);

/// A format of other programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExportFormat {
    /// A snapshot of ComfyUI-Manager, as JSON.
    Snapshot,
}

/// Answer to [`Export`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportAnswer {
    /// The version.
    pub version_id: VersionId,
    /// The file's text.
    pub text: String,
    /// What the format has no place for, a line each.
    pub left_out: Vec<String>,
}
