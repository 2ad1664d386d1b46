//! `hello`: who is there.

use super::Method;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// First call on a connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// [`crate::PROTOCOL`] of the client.
    pub protocol: u32,
    /// [`crate::FEATURES`] of the client.
    pub features: Vec<String>,
    /// Name and version of the client program.
    pub client: String,
    /// Variables that are the daemon's to decide (`MODELS_DIR`, …), as set for the client: a
    /// difference is told. Values of tokens are never sent, only `""` for "set".
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
}
method!(Hello, "hello", HelloAnswer);

/// Answer to [`Hello`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HelloAnswer {
    /// [`crate::PROTOCOL`] of the daemon.
    pub protocol: u32,
    /// [`crate::FEATURES`] of the daemon.
    pub features: Vec<String>,
    /// The daemon's version.
    pub version: String,
    /// The daemon's process id.
    pub pid: u32,
    /// Where the client's environment differs from the daemon's.
    pub warnings: Vec<String>,
}
