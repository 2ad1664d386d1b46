//! The claims of one connection. They end with it: a client that died keeps nothing from others.

use crate::supervise::Held;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Claims of one connection at the same time; more are a client that forgets them.
const MAX: usize = 4096;

/// The claims of one connection.
#[derive(Debug, Default)]
pub(super) struct Leases {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    held: HashMap<u64, Held>,
    last: u64,
    /// The client has hung up.
    closed: bool,
}

impl Leases {
    /// Keeps a claim and names it; none, and it ends, when the client has left or holds too many.
    pub(super) fn take(&self, held: Held) -> Option<String> {
        let mut table = self.lock();
        if table.closed || table.held.len() >= MAX {
            return None;
        }
        table.last += 1;
        let number = table.last;
        table.held.insert(number, held);
        Some(number.to_string())
    }

    /// Ends the claim of that name; returns whether there was one.
    pub(super) fn release(&self, lease: &str) -> bool {
        // Dropped after the lock: whoever waits for the claim's end is woken by it.
        let held = lease.parse().ok().and_then(|number: u64| self.lock().held.remove(&number));
        held.is_some()
    }

    /// Ends all claims, and each that is still to come.
    pub(super) fn close(&self) {
        let held = {
            let mut table = self.lock();
            table.closed = true;
            std::mem::take(&mut table.held)
        };
        drop(held);
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Whole between any two statements.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
