//! `shutdown`: ends the daemon.

use super::Method;
use serde::{Deserialize, Serialize};

/// Stops the daemon, its realizes and its ComfyUI processes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shutdown {}
method!(Shutdown, "shutdown", ShutdownAnswer);

/// Answer to [`Shutdown`], given when the stop begins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShutdownAnswer {
    /// The daemon's process id, for those who want to await its end.
    pub pid: u32,
}
