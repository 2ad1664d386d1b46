//! `realize`: makes a version's home complete.

use super::Method;
use super::target::Target;
use crate::{NodeDir, VersionId};
use serde::{Deserialize, Serialize};

/// Makes a version's home complete.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Realize {
    /// Which version.
    #[serde(flatten)]
    pub target: Target,
    /// Use only what is cached.
    #[serde(default)]
    pub offline: bool,
    /// Run no custom node's `install.py`.
    #[serde(default)]
    pub no_install_scripts: bool,
    /// Pin everything anew first.
    #[serde(default)]
    pub update: bool,
    /// Answer at once and go on when the client leaves.
    #[serde(default)]
    pub detach: bool,
    /// Let all other work go first.
    #[serde(default)]
    pub background: bool,
}
method!(Realize, "realize", RealizeAnswer);

/// Answer to [`Realize`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RealizeAnswer {
    /// The version.
    pub version_id: VersionId,
    /// How it ended.
    pub outcome: RealizeOutcome,
    /// The version's home.
    pub home: String,
    /// The generation that is current.
    pub generation: String,
    /// What offline mode could not find.
    pub missing: Vec<String>,
    /// Custom nodes whose `install.py` was not run, as was asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped_install_scripts: Vec<NodeDir>,
    /// Warnings of the spec, the resolution and the plan.
    pub warnings: Vec<String>,
    /// Time it took, in milliseconds.
    pub elapsed_ms: u64,
}

/// How a realize ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RealizeOutcome {
    /// It was ready before: nothing was touched.
    Ready,
    /// A new generation is current.
    Realized,
    /// The current generation was completed in place (a model or a link was missing).
    Repaired,
    /// It goes on in the background (`detach`).
    Detached,
}
