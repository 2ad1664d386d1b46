//! What is written down of a process, so that the next daemon finds it if this one is killed.
//!
//! The record lies beside the process's log from its start to its end. It names the daemon's socket: a
//! daemon adopts only what one before it on the same socket left. The environment is not in it, for it may
//! hold secrets; a digest of it is.

use super::Launch;
use super::policy::Identity;
use crate::process::Birth;
use crate::store::commit::{StoreError, replace_file, step};
use crate::store::read_json;
use proto::VersionId;
use proto::method::Device;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The form that this daemon writes and reads.
const SCHEMA_VERSION: u32 = 1;

const NAME: &str = "instance.json";

/// A process of this daemon or of one before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    schema_version: u32,
    /// Socket of the daemon that it belongs to.
    pub(super) socket: PathBuf,
    /// Which process.
    #[serde(flatten)]
    pub(super) birth: Birth,
    pub(super) version_id: VersionId,
    pub(super) home: PathBuf,
    /// What it runs and where it listens.
    #[serde(flatten)]
    pub(super) identity: Identity,
    /// The generation that a rollback left for this one.
    #[serde(default)]
    pub(super) rolled_back_from: Option<String>,
    /// Base URL of its API.
    pub(super) url: String,
    /// What it computes on, where that was decided.
    #[serde(default)]
    pub(super) device: Option<Device>,
    /// Whether it was forked from a zygote.
    #[serde(default)]
    pub(super) forked: bool,
    /// Milliseconds it took to become ready; absent while it starts.
    #[serde(default)]
    pub(super) start_ms: Option<u64>,
}

impl Record {
    pub(super) fn new(socket: &Path, birth: Birth, launch: &Launch, identity: Identity, url: String) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            socket: socket.to_owned(),
            birth,
            version_id: launch.version_id.clone(),
            home: launch.home.clone(),
            identity,
            rolled_back_from: launch.rolled_back_from.clone(),
            url,
            device: launch.device.clone(),
            forked: false,
            start_ms: None,
        }
    }

    /// Writes it beside the process's log. Blocks. Not synced: after a crash of the machine there is no
    /// process to be found.
    pub(super) fn write(&self, log: &Path) -> Result<(), StoreError> {
        let path = path(log);
        step("instance.record", "write", &path)?;
        let text = serde_json::to_vec_pretty(self)
            .map_err(|error| StoreError::at("write", &path)(std::io::Error::other(error)))?;
        replace_file(&path, &text, false)
    }

    /// Reads a record; none when it is not there, or of another form, which is named in the log. Blocks.
    pub(super) fn read(path: &Path) -> Option<Self> {
        let record =
            read_json::<Self>(path).inspect_err(|error| tracing::warn!(%error, "a record is ignored"));
        record.ok().flatten().filter(|record| record.schema_version == SCHEMA_VERSION)
    }
}

/// Returns the place of the record of the process that writes this log.
pub(super) fn path(log: &Path) -> PathBuf {
    log.with_file_name(NAME)
}

/// Removes the record of a process that has ended. Blocks.
pub(super) fn remove(log: &Path) {
    // A record that stays is found to be of a dead process.
    std::fs::remove_file(path(log)).ok();
}
