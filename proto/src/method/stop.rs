//! `stop`: ends a version's ComfyUI.

use super::Method;
use super::target::Target;
use serde::{Deserialize, Serialize};

/// Stops a version's ComfyUI.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stop {
    /// Which version.
    #[serde(flatten)]
    pub target: Target,
}
method!(Stop, "stop", StopAnswer);

/// Answer to [`Stop`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StopAnswer {
    /// Whether something ran.
    pub stopped: bool,
}
