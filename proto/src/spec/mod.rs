//! The spec: what `versions/<id>.json` asks for, validated.
//!
//! [`mod@file`] describes the JSON as people write it, and generates its JSON Schema. [`parse()`] turns text
//! into a [`Spec`] or into all its errors at once, each with line, column, field and remedy:
//! `json` gives a tree with places, `reader` walks it, `report` collects what is found, and `parse`, `repo`, `nodes`, `models` and
//! `options` each read their part.

use crate::{CommitId, ModelSource, NodeDir, RelPath, VersionId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

mod diagnostic;
#[cfg(feature = "parse")]
pub mod file;
#[cfg(feature = "parse")]
mod json;
#[cfg(feature = "parse")]
mod models;
#[cfg(feature = "parse")]
mod nodes;
#[cfg(feature = "parse")]
mod options;
#[cfg(feature = "parse")]
mod parse;
#[cfg(feature = "parse")]
mod reader;
#[cfg(feature = "parse")]
mod repo;
#[cfg(feature = "parse")]
mod report;

pub use diagnostic::{Diagnostic, Severity};
#[cfg(feature = "parse")]
pub use parse::{Parsed, parse};

/// The one spec format there is.
pub const SCHEMA_VERSION: u64 = 2;

/// Name of the file beside the shipped specs that holds their JSON Schema, and is no spec.
pub const SCHEMA_FILE: &str = "spec.schema.json";

/// A validated version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// The version's id.
    pub version_id: VersionId,
    /// ComfyUI.
    pub comfy: RepoSpec,
    /// Custom nodes, each with a directory of its own.
    pub custom_nodes: Vec<NodeSpec>,
    /// Models, each with a target of its own.
    pub models: Vec<ModelSpec>,
    /// Additional pip requirement lines.
    pub python_packages: Vec<String>,
    /// Environment variables of the ComfyUI process.
    pub env: BTreeMap<String, String>,
    /// Switches.
    pub options: Options,
}

/// A repository and what to take from it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RepoSpec {
    /// URL as git takes it (https, ssh, file, or `git@host:path`).
    pub repo: String,
    /// Branch, tag or full ref name; `HEAD` when absent.
    #[serde(rename = "ref", default, skip_serializing_if = "Option::is_none")]
    pub git_ref: Option<String>,
    /// Exact commit; wins over the ref.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<CommitId>,
}

/// A custom node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeSpec {
    /// Directory under `custom_nodes`. No two nodes of a spec share one, in any case of letters.
    pub dir: NodeDir,
    /// Its repository.
    #[serde(flatten)]
    pub repo: RepoSpec,
    /// Whether its `requirements.txt` and `pyproject.toml` join the install plan, and its
    /// `install.py` is run.
    pub install_requirements: bool,
}

/// A model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelSpec {
    /// Place under the models directory, `folder/…/file`. No two models of a spec share one, and none
    /// lies inside another.
    pub target: RelPath,
    /// Where it comes from.
    pub source: ModelSource,
    /// Checksum, recorded and never verified (the link is the key).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
}

/// Switches of a version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct Options {
    /// Use only what is cached; what is missing is listed, not fetched.
    pub offline: bool,
    /// Leave the models alone.
    pub skip_models: bool,
    /// Run no custom node's `install.py`.
    #[serde(default)]
    pub no_install_scripts: bool,
    /// As of when packages are resolved.
    pub exclude_newer: ExcludeNewer,
    /// What to do when requirements contradict each other.
    pub conflicts: Conflicts,
    /// Additional arguments of ComfyUI's `main.py`.
    pub extra_args: Vec<String>,
}

/// As of when packages are resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum ExcludeNewer {
    /// The newest commit of the version plus a few days of slack; without a limit, and saying so,
    /// when the index knows no dates.
    #[default]
    Auto,
    /// Today's packages.
    Off,
    /// The given moment. A date in the spec is the end of that day, UTC.
    At(crate::Moment),
}

/// What to do when requirements contradict each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[cfg_attr(feature = "parse", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Conflicts {
    /// Refuse, naming both sides.
    #[default]
    Error,
    /// Leave out the later requirement and warn.
    Warn,
}

impl Options {
    /// Days added to the newest commit's date, so that a package released for the commit is in.
    pub const SLACK_DAYS: i64 = 7;
}
