//! Idle time lifts likely versions up the warmth ladder (`proto::Rung`), as far as the budgets allow.

pub mod history;
pub mod ladder;
pub mod pins;
pub mod plan;
pub mod predict;
pub mod rungs;
pub mod watch;

use proto::VersionId;
use std::sync::Arc;
use tokio::sync::Notify;

/// What idle time does, and what it learns from. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Prefetch {
    wake: Arc<Notify>,
}

impl Prefetch {
    /// Says that something has changed that a plan goes by. Never blocks.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Takes note that a version was asked for. Never blocks.
    pub fn note(&self, version: &VersionId) {
        tracing::debug!(%version, "asked for");
        self.wake.notify_one();
    }
}
