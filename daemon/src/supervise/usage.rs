//! Who works with an instance: counted, so that nobody ends a process that someone needs.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
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
    counts: Arc<Counts>,
}

#[derive(Debug)]
struct Counts {
    leases: AtomicUsize,
    workflows: AtomicUsize,
    last_used: Mutex<Instant>,
    /// Told when someone leaves.
    left: watch::Sender<()>,
}

/// A claim on an instance; it ends when this is dropped.
#[derive(Debug)]
pub struct Held {
    usage: Usage,
    purpose: Purpose,
}

impl Usage {
    pub(super) fn new() -> Self {
        let (leases, workflows) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let (last_used, left) = (Mutex::new(Instant::now()), watch::Sender::new(()));
        Self { counts: Arc::new(Counts { leases, workflows, last_used, left }) }
    }

    /// Counts one more, until what is returned is dropped.
    pub(super) fn hold(&self, purpose: Purpose) -> Held {
        self.count(purpose).fetch_add(1, Ordering::Relaxed);
        self.touch();
        Held { usage: self.clone(), purpose }
    }

    pub(super) fn leases(&self) -> usize {
        self.count(Purpose::Lease).load(Ordering::Relaxed)
    }

    pub(super) fn workflows(&self) -> usize {
        self.count(Purpose::Workflow).load(Ordering::Relaxed)
    }

    /// Tells whether anyone works with it.
    pub(super) fn is_held(&self) -> bool {
        self.leases() + self.workflows() > 0
    }

    /// Returns when someone came or left last.
    pub(super) fn last_used(&self) -> Instant {
        *self.counts.last_used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a watch that changes whenever someone leaves.
    pub(super) fn left(&self) -> watch::Receiver<()> {
        self.counts.left.subscribe()
    }

    fn count(&self, purpose: Purpose) -> &AtomicUsize {
        match purpose {
            Purpose::Lease => &self.counts.leases,
            Purpose::Workflow => &self.counts.workflows,
        }
    }

    fn touch(&self) {
        *self.counts.last_used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.usage.count(self.purpose).fetch_sub(1, Ordering::Relaxed);
        self.usage.touch();
        self.usage.counts.left.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_count_until_they_are_dropped() {
        let usage = Usage::new();
        let left = usage.left();
        let (lease, workflow) = (usage.hold(Purpose::Lease), usage.hold(Purpose::Workflow));
        assert_eq!((usage.leases(), usage.workflows()), (1, 1));
        assert!(!left.has_changed().unwrap());
        drop(lease);
        assert_eq!((usage.leases(), usage.workflows()), (0, 1));
        assert!(left.has_changed().unwrap());
        drop(workflow);
        assert_eq!((usage.leases(), usage.workflows()), (0, 0));
    }
}
