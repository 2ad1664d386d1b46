//! What idle time does right now, for those who ask.

use crate::ctx::millis;
use proto::VersionId;
use proto::method::IdleStep;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The present step, if there is one.
#[derive(Debug, Default)]
pub(super) struct Present {
    step: Mutex<Option<(IdleStep, Instant)>>,
}

/// A step under way; it is over when this is dropped.
#[must_use = "the step is over when this is dropped"]
pub(super) struct Doing<'a>(&'a Present);

impl Present {
    /// Tells of a step, until what is returned is dropped. There is one at a time.
    pub(super) fn begin(&self, version_id: Option<&VersionId>, home: &Path, what: String) -> Doing<'_> {
        let (version_id, home) = (version_id.cloned(), home.display().to_string());
        *self.lock() = Some((IdleStep { version_id, home, what, for_ms: 0 }, Instant::now()));
        Doing(self)
    }

    /// Returns the present step.
    pub(super) fn told(&self) -> Option<IdleStep> {
        let told = |(step, since): &(IdleStep, Instant)| IdleStep {
            for_ms: millis(since.elapsed()),
            ..step.clone()
        };
        self.lock().as_ref().map(told)
    }

    fn lock(&self) -> MutexGuard<'_, Option<(IdleStep, Instant)>> {
        // Whole between any two statements.
        self.step.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Doing<'_> {
    fn drop(&mut self) {
        *self.0.lock() = None;
    }
}
