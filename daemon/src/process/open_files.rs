//! How many files this process may have open.
//!
//! The soft limit is often 1024 for the sake of old programs that use select(2). The daemon, which does not,
//! raises its own to the hard limit; its children get the limit that it was started with.

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};
use std::sync::OnceLock;

/// The limit that the daemon was started with, where it was raised.
static BEFORE: OnceLock<Rlimit> = OnceLock::new();

/// Raises the soft limit of open files to the hard one, for this process and not for its children. Returns the
/// limit that holds now.
pub fn raise_open_files() -> u64 {
    let found = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: found.maximum, ..found };
    if raised != found && setrlimit(Resource::Nofile, raised).is_ok() {
        BEFORE.get_or_init(|| found);
    }
    // No limit reads as none.
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Gives a child the limit that the daemon was started with. To be called as soon as it runs: what it starts
/// itself inherits it.
pub(super) fn give_back(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if let (Some(before), Some(pid)) = (BEFORE.get(), pid) {
        // A child that has ended already needs no limit.
        prlimit(Some(pid), Resource::Nofile, *before).ok();
    }
}
