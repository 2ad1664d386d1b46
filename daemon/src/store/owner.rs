//! Who has something on a disk that others share, and whether it still lives.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// Nonces of the claims that live in this process. A process knows its own claims exactly, where others
/// can only see that the process lives. It is one for the process, as the process id is.
static LIVE: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// One claim of one process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Unique for each claim.
    pub nonce: String,
    pid: u32,
    /// When the process started, in ticks since boot: tells a reused pid.
    started: Option<u64>,
    /// `boot_id` of the kernel.
    boot: String,
    /// Namespace that the pid belongs to: containers count anew.
    pid_space: String,
    host: String,
}

/// Whether an owner lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// It ended.
    Ended,
    /// It cannot be seen from here, or its process lives: only its beat tells.
    Beats,
}

impl Owner {
    /// Returns a new owner: this process. It counts as living until [`Owner::end`]. Blocks shortly.
    pub fn mine() -> Self {
        let nonce = uuid::Uuid::new_v4().simple().to_string();
        live().insert(nonce.clone());
        let here = here();
        Self { nonce, ..here.clone() }
    }

    /// Says that this claim ended.
    pub fn end(&self) {
        live().remove(&self.nonce);
    }

    /// Returns whether it lives, as far as one can tell from here at once. Blocks shortly.
    pub fn life(&self) -> Life {
        let here = here();
        if (&self.boot, &self.pid_space, &self.host) != (&here.boot, &here.pid_space, &here.host) {
            return Life::Beats;
        }
        let ended = if self.pid == here.pid && self.started == here.started {
            !live().contains(&self.nonce)
        } else {
            started(self.pid) != self.started
        };
        if ended { Life::Ended } else { Life::Beats }
    }

    /// Returns whether its page cache is this machine's: what it wrote can be read here even if it was
    /// never synced.
    pub fn shares_page_cache(&self) -> bool {
        let here = here();
        !here.boot.is_empty() && (&self.boot, &self.host) == (&here.boot, &here.host)
    }
}

/// For people who wait for it.
impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "pid {} on {}", self.pid, self.host)
    }
}

fn live() -> MutexGuard<'static, BTreeSet<String>> {
    // A set of names stays whole whatever panicked meanwhile.
    LIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn here() -> &'static Owner {
    static HERE: OnceLock<Owner> = OnceLock::new();
    HERE.get_or_init(|| {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let pid_space = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        let host = nix::unistd::gethostname().unwrap_or_default();
        let pid = std::process::id();
        Owner {
            nonce: String::new(),
            pid,
            started: started(pid),
            boot: boot.trim().to_owned(),
            pid_space: pid_space.display().to_string(),
            host: host.to_string_lossy().into_owned(),
        }
    })
}

/// Returns when a process started: field 22 of `/proc/<pid>/stat`, proc(5). The second field is the
/// program's name in parentheses and may hold anything.
fn started(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_certainly_ended_counts_as_ended() {
        let mine = Owner::mine();
        assert_eq!(mine.life(), Life::Beats);
        assert!(mine.shares_page_cache());
        // Process 1 lives, and did not start when this one did.
        let reused = Owner { pid: 1, ..mine.clone() };
        assert_eq!(reused.life(), Life::Ended);
        let init = Owner { pid: 1, started: started(1), ..mine.clone() };
        assert_eq!(init.life(), Life::Beats);
        let elsewhere = Owner { host: "elsewhere".to_owned(), ..reused.clone() };
        assert_eq!((elsewhere.life(), elsewhere.shares_page_cache()), (Life::Beats, false));
        let rebooted = Owner { boot: "earlier".to_owned(), ..reused };
        assert_eq!((rebooted.life(), rebooted.shares_page_cache()), (Life::Beats, false));
        mine.end();
        assert_eq!(mine.life(), Life::Ended);
    }
}
