//! `logs`: an instance's log.

use super::Method;
use super::target::Target;
use serde::{Deserialize, Serialize};

/// Reads an instance's log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Logs {
    /// Which version.
    #[serde(flatten)]
    pub target: Target,
    /// Read on from this byte; the last `lines` lines when absent.
    #[serde(default)]
    pub from: Option<u64>,
    /// Number of lines from the end.
    #[serde(default)]
    pub lines: usize,
}
method!(Logs, "logs", LogsAnswer);

/// Answer to [`Logs`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogsAnswer {
    /// The log file.
    pub path: String,
    /// What was read; bytes that are no UTF-8 are replaced.
    pub text: String,
    /// Where to read on.
    pub next: u64,
    /// Whether more may come.
    pub running: bool,
}
