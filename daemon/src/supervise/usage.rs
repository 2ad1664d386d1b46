//! Who works with an instance: counted, so that nobody ends a process that someone needs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::watch;

/// What someone does with an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// It is kept ready for someone.
    Lease,
    /// A workflow waits or runs on it.
    Workflow,
}

/// Counts those who work with one home's instance, over all processes that it had. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Usage {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    counts: Mutex<Counts>,
    /// Told when someone leaves this one or another.
    left: watch::Sender<()>,
}

#[derive(Debug, Clone, Copy)]
struct Counts {
    leases: usize,
    workflows: usize,
    last_used: Instant,
    /// Its process is being ended to make room for others: nobody may claim it before that is over.
    evicted: bool,
}

/// A claim on an instance; it ends when this is dropped.
#[derive(Debug)]
pub struct Held {
    usage: Usage,
    purpose: Purpose,
}

/// The right to end the process of an instance that nobody works with; nobody begins to until this is
/// dropped.
#[derive(Debug)]
pub(super) struct Eviction {
    usage: Usage,
}

impl Usage {
    /// Returns a count of nobody. `left` is told when someone leaves.
    pub(super) fn new(left: watch::Sender<()>) -> Self {
        let counts = Counts { leases: 0, workflows: 0, last_used: Instant::now(), evicted: false };
        Self { shared: Arc::new(Shared { counts: Mutex::new(counts), left }) }
    }

    /// Counts one more, until what is returned is dropped; none while the process is being evicted.
    pub(super) fn try_hold(&self, purpose: Purpose) -> Option<Held> {
        let mut counts = self.counts();
        if counts.evicted {
            return None;
        }
        *counts.of(purpose) += 1;
        counts.last_used = Instant::now();
        Some(Held { usage: self.clone(), purpose })
    }

    /// As [`Self::try_hold`], after an eviction that is under way. Cancel-safe.
    pub(super) async fn hold(&self, purpose: Purpose) -> Held {
        let mut left = self.shared.left.subscribe();
        loop {
            if let Some(held) = self.try_hold(purpose) {
                return held;
            }
            // The sender lives as long as `self`.
            left.changed().await.ok();
        }
    }

    /// Begins an eviction, if nobody works with it and nobody else evicts it.
    pub(super) fn evict(&self) -> Option<Eviction> {
        let mut counts = self.counts();
        if counts.evicted || counts.leases + counts.workflows > 0 {
            return None;
        }
        counts.evicted = true;
        Some(Eviction { usage: self.clone() })
    }

    pub(super) fn leases(&self) -> usize {
        self.counts().leases
    }

    pub(super) fn workflows(&self) -> usize {
        self.counts().workflows
    }

    /// Tells whether anyone works with it.
    pub(super) fn is_held(&self) -> bool {
        self.leases() + self.workflows() > 0
    }

    /// Returns when someone came or left last.
    pub(super) fn last_used(&self) -> Instant {
        self.counts().last_used
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Whole between any two statements.
        self.shared.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn of(&mut self, purpose: Purpose) -> &mut usize {
        match purpose {
            Purpose::Lease => &mut self.leases,
            Purpose::Workflow => &mut self.workflows,
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut counts = self.usage.counts();
        *counts.of(self.purpose) -= 1;
        counts.last_used = Instant::now();
        drop(counts);
        self.usage.shared.left.send_replace(());
    }
}

impl Drop for Eviction {
    fn drop(&mut self) {
        self.usage.counts().evicted = false;
        self.usage.shared.left.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn claims_count_until_they_are_dropped() {
        let (sender, left) = watch::channel(());
        let usage = Usage::new(sender);
        let (lease, workflow) = (usage.hold(Purpose::Lease).await, usage.hold(Purpose::Workflow).await);
        assert_eq!((usage.leases(), usage.workflows()), (1, 1));
        assert!(!left.has_changed().unwrap());
        drop(lease);
        assert_eq!((usage.leases(), usage.workflows()), (0, 1));
        assert!(left.has_changed().unwrap());
        drop(workflow);
        assert_eq!((usage.leases(), usage.workflows()), (0, 0));
    }

    #[tokio::test]
    async fn what_is_claimed_is_not_evicted_and_the_other_way_round() {
        let usage = Usage::new(watch::Sender::new(()));
        let lease = usage.hold(Purpose::Lease).await;
        assert!(usage.evict().is_none());
        drop(lease);
        let eviction = usage.evict().unwrap();
        assert!(usage.evict().is_none() && usage.try_hold(Purpose::Lease).is_none());
        let (held, ()) = tokio::join!(usage.hold(Purpose::Lease), async { drop(eviction) });
        assert_eq!(usage.leases(), 1);
        drop(held);
    }
}
