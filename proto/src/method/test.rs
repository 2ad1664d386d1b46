//! `test`: proves that a version works.

use super::Method;
use super::target::Target;
use crate::VersionId;
use serde::{Deserialize, Serialize};

/// Proves that a version works.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Test {
    /// Which version.
    #[serde(flatten)]
    pub target: Target,
    /// As in [`Realize`](super::Realize).
    #[serde(default)]
    pub offline: bool,
    /// As in [`Realize`](super::Realize).
    #[serde(default)]
    pub no_install_scripts: bool,
}
method!(Test, "test", TestAnswer);

/// Answer to [`Test`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TestAnswer {
    /// The version.
    pub version_id: VersionId,
    /// Whether every check passed.
    pub passed: bool,
    /// The checks, in the order they were made.
    pub checks: Vec<Check>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// What was looked at, such as `custom node ComfyUI-KJNodes`.
    pub name: String,
    /// How it went.
    pub outcome: CheckOutcome,
    /// Why, or a figure; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckOutcome {
    /// As it should be.
    Passed,
    /// Not as it should be.
    Failed,
    /// Could not be looked at, and need not be.
    Skipped,
}
