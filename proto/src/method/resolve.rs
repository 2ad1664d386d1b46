//! `resolve`: pins a version.

use super::Method;
use super::target::Target;
use crate::lock::Lock;
use serde::{Deserialize, Serialize};

/// Pins a version: writes its lock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Resolve {
    /// Which version.
    #[serde(flatten)]
    pub target: Target,
    /// Pin everything anew instead of keeping what did not change in the spec.
    #[serde(default)]
    pub update: bool,
    /// Use only what is cached.
    #[serde(default)]
    pub offline: bool,
}
method!(Resolve, "resolve", ResolveAnswer);

/// Answer to [`Resolve`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResolveAnswer {
    /// The lock.
    pub lock: Lock,
    /// Where it was written.
    pub path: String,
    /// What differs from the lock that stood there before, a line each; empty when nothing does.
    pub changes: Vec<String>,
    /// Warnings of the spec and of the resolution.
    pub warnings: Vec<String>,
}
