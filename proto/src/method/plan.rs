//! `plan`: what `realize` would do.

use super::Method;
use super::target::Target;
use crate::plan::Plan;
use serde::{Deserialize, Serialize};

/// Tells what `realize` would do: `realize --dry-run`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GetPlan {
    /// Which version.
    #[serde(flatten)]
    pub target: Target,
    /// As in [`Realize`](super::Realize).
    #[serde(default)]
    pub offline: bool,
    /// As in [`Realize`](super::Realize).
    #[serde(default)]
    pub no_install_scripts: bool,
    /// As in [`Realize`](super::Realize).
    #[serde(default)]
    pub update: bool,
}
method!(GetPlan, "plan", Plan);
