//! Process groups: what a child started goes down with it.

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use rustix::process::setpriority_pgrp;
use std::time::Duration;
use tokio::process::Child;

/// How long a process may take to vanish after SIGKILL: one in an uninterruptible sleep ignores even
/// that, and shutdown must not hang on it.
pub(super) const VANISH: Duration = Duration::from_secs(5);

/// Niceness of those who give way, from -20 to 19 (nice(1)).
const NICE: i32 = 10;

/// Ends a child and its group: SIGTERM, `grace`, SIGKILL.
pub(super) async fn stop(child: &mut Child, group: &Group, grace: Duration) {
    group.signal(Signal::SIGTERM);
    // One that is stopped hears of it only when it goes on.
    group.signal(Signal::SIGCONT);
    let ended = tokio::time::timeout(grace, child.wait()).await;
    // Also after an orderly end: what the child left behind in its group goes too.
    group.signal(Signal::SIGKILL);
    if ended.is_err() {
        tokio::time::timeout(VANISH, child.wait()).await.ok();
    }
}

/// The process group that a process leads. Whatever is left of it dies with this value.
#[derive(Debug)]
pub(super) struct Group {
    pid: Pid,
}

impl Group {
    pub(super) fn of(child: &Child) -> Self {
        // A child that was just spawned has an id until it is awaited.
        Self::led_by(child.id().unwrap_or(u32::MAX))
    }

    pub(super) fn led_by(pid: u32) -> Self {
        // No number of a process is that large: such a group has nobody in it.
        Self { pid: Pid::from_raw(i32::try_from(pid).unwrap_or(i32::MAX)) }
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw().unsigned_abs()
    }

    /// Lets other processes go first, and what it starts from now on too.
    pub(super) fn give_way(&self) {
        // Refused for a process that has ended already.
        setpriority_pgrp(rustix::process::Pid::from_raw(self.pid.as_raw()), NICE).ok();
    }

    /// Signals all in the group. Its number is not given to others while anyone is in it, and after that
    /// not before all other numbers were used.
    pub(super) fn signal(&self, signal: Signal) {
        // ESRCH means that nobody is left, which is what is wanted.
        killpg(self.pid, signal).ok();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
    }
}
