//! gix's tree of progress, boiled down to three counters that an async task may look at.

use gix::progress::{Count, Id, MessageLevel, NestedProgress, Progress, Step, StepShared, Unit};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a blocking git operation has done so far. Cheap to clone; clones share the counts.
#[derive(Debug, Clone, Default)]
pub(super) struct Counters {
    /// Bytes of packs received.
    pub(super) bytes: StepShared,
    /// Objects indexed, or files written.
    pub(super) objects: StepShared,
    /// Objects or files in all; 0 while unknown.
    pub(super) objects_total: Arc<AtomicUsize>,
}

impl Counters {
    /// Returns the root of a progress tree that counts here.
    pub(super) fn tree(&self) -> Node {
        Node {
            counter: StepShared::default(),
            total: None,
            id: gix::progress::UNKNOWN,
            counters: self.clone(),
        }
    }
}

/// One node of the tree.
pub(super) struct Node {
    counter: StepShared,
    total: Option<Arc<AtomicUsize>>,
    id: Id,
    counters: Counters,
}

/// gix's stable ids, from gix-pack `bundle/write/mod.rs` and `index/write/mod.rs`.
const PACK_BYTES: Id = *b"BWRB";
const INDEX_OBJECTS: Id = *b"IWIO";

impl NestedProgress for Node {
    type SubProgress = Self;

    fn add_child(&mut self, name: impl Into<String>) -> Self {
        self.add_child_with_id(name, gix::progress::UNKNOWN)
    }

    fn add_child_with_id(&mut self, _name: impl Into<String>, id: Id) -> Self {
        let counters = self.counters.clone();
        let (counter, total) = match id {
            PACK_BYTES => (counters.bytes.clone(), None),
            INDEX_OBJECTS => (counters.objects.clone(), Some(counters.objects_total.clone())),
            _ => (StepShared::default(), None),
        };
        Self { counter, total, id, counters }
    }
}

impl Count for Node {
    fn set(&self, step: Step) {
        self.counter.store(step, Ordering::Relaxed);
    }

    fn step(&self) -> Step {
        self.counter.load(Ordering::Relaxed)
    }

    fn inc_by(&self, step: Step) {
        self.counter.fetch_add(step, Ordering::Relaxed);
    }

    fn counter(&self) -> StepShared {
        self.counter.clone()
    }
}

impl Progress for Node {
    fn init(&mut self, max: Option<Step>, _unit: Option<Unit>) {
        if let (Some(total), Some(max)) = (&self.total, max) {
            total.store(max, Ordering::Relaxed);
        }
    }

    fn set_name(&mut self, _name: String) {}

    fn name(&self) -> Option<String> {
        None
    }

    fn id(&self) -> Id {
        self.id
    }

    fn message(&self, _level: MessageLevel, _message: String) {}
}
