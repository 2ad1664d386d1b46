//! Whether a version may be forked. What was forked and dies before it answers is started plainly at once; if that
//! goes well, the fork was at fault, and the version is started plainly from then on. So is one that dies
//! again and again soon after it was forked, and is not killed.

use super::instance::Owner;
use super::state::Cause;
use crate::boot::{Distrust, StartRecord};
use crate::ctx::blocking;
use std::time::Duration;

/// A death within this time after it began to serve may be the fork's fault.
pub(super) const YOUNG: Duration = Duration::from_secs(60);

/// So many of those are.
const TOO_MANY: u32 = 2;

impl Owner {
    /// Takes note that a start failed; tells whether it is to be made once more, plainly: the zygote of one that
    /// was forked is ended. What was killed says nothing of forks.
    pub(super) fn doubts(&mut self, was_forked: bool, cause: Cause, status: &str) -> bool {
        let Some(launch) = self.launch.as_ref().filter(|_| was_forked) else {
            // A plain start fails too: the fork is not at fault.
            self.doubt = None;
            return false;
        };
        tracing::warn!(version = %launch.version_id, status, "what was forked died; starting plainly");
        self.others.zygotes.end(&launch.home);
        self.doubt = (cause == Cause::Itself).then(|| format!("the start from its zygote died ({status})"));
        true
    }

    /// Distrusts a version that was started plainly because it had died when it was forked; returns what people are
    /// told.
    pub(super) async fn doubt_is_over(&mut self) -> Option<String> {
        let reason = self.doubt.take()?;
        let told = format!("started plainly: {reason}");
        self.distrust(reason).await;
        Some(told)
    }

    /// Takes note that what was forked died young.
    pub(super) async fn died_young(&mut self, status: &str) {
        self.young_deaths += 1;
        if self.young_deaths >= TOO_MANY {
            let reason = format!("it died {TOO_MANY} times soon after it was forked ({status})");
            self.distrust(reason).await;
        }
    }

    /// Writes down that a generation is not to be forked, and ends its zygote. Holds for the present settings.
    async fn distrust(&mut self, reason: String) {
        let Some(launch) = self.launch.clone() else { return };
        self.others.zygotes.end(&launch.home);
        let written = blocking(move || {
            let Some(mut record) = StartRecord::read(&launch.generation_dir) else { return Ok(()) };
            record.distrust = Some(Distrust { reason });
            record.write(&launch.generation_dir)
        });
        if let Err(error) = written.await {
            tracing::warn!(error = %error, source = %error.source, "that a version is not to be forked is not kept");
        }
    }
}
