//! Who has something on a disk that others share, and whether it still lives.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
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
        // Without names of the boot and the namespace, another machine's process could pass for one of this.
        if here.is_nameless() || self.place() != here.place() {
            return Life::Beats;
        }
        let ended = if self.pid == here.pid && self.started == here.started {
            !live().contains(&self.nonce)
        } else {
            started(self.pid) != self.started
        };
        if ended { Life::Ended } else { Life::Beats }
    }

    /// What a process id means something in.
    fn place(&self) -> [&str; 3] {
        [&self.boot, &self.pid_space, &self.host]
    }

    fn is_nameless(&self) -> bool {
        self.boot.is_empty() || self.pid_space.is_empty()
    }

    /// Returns whether its page cache is this machine's: what it wrote can be read here even if it was
    /// never synced.
    pub fn shares_page_cache(&self) -> bool {
        let here = here();
        !here.boot.is_empty() && (&self.boot, &self.host) == (&here.boot, &here.host)
    }
}

/// Returns the kernel's name for the time since the machine booted; empty where it tells none. Blocks shortly.
pub fn boot() -> &'static str {
    &here().boot
}

/// The maker of something unfinished, as its name tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Maker {
    /// A process of this machine that ended.
    Ended,
    /// A process of this machine that lives; this one, too.
    Lives,
    /// Someone who cannot be seen from here.
    Unseen,
}

/// Returns this process in a few characters, for names of what it has not finished: see [`maker`]. No `-` is
/// among them.
pub fn token() -> &'static str {
    static TOKEN: OnceLock<String> = OnceLock::new();
    TOKEN.get_or_init(|| token_of(here().pid))
}

/// Returns the same of another process of this machine. Blocks shortly.
pub fn token_of(pid: u32) -> String {
    format!("{}.{pid}.{}", place_digest(), started(pid).unwrap_or_default())
}

/// Returns what is known at once of the process that [`token`] named. What is no token names someone unseen.
/// Blocks shortly.
pub fn maker(token: &str) -> Maker {
    let mut parts = token.split('.');
    let (Some(place), Some(pid), Some(start), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Maker::Unseen;
    };
    let (Ok(pid), Ok(start)) = (pid.parse::<u32>(), start.parse::<u64>()) else { return Maker::Unseen };
    if here().is_nameless() || start == 0 || place != place_digest() {
        return Maker::Unseen;
    }
    if started(pid) == Some(start) { Maker::Lives } else { Maker::Ended }
}

fn place_digest() -> &'static str {
    static DIGEST: OnceLock<String> = OnceLock::new();
    DIGEST.get_or_init(|| super::hex(&Sha256::digest(here().place().join("\n"))[..8]))
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
/// program's name in parentheses and may hold anything. One that is dead and not yet reaped is none: where
/// nobody reaps the orphans of a container, it stays that way.
fn started(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    if fields.starts_with(['Z', 'X']) {
        return None;
    }
    fields.split_whitespace().nth(19)?.parse().ok()
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

    #[test]
    fn a_token_tells_who_ended_here() {
        let mine = token();
        assert!(!mine.contains('-'), "{mine}");
        let (place, rest) = mine.split_once('.').unwrap();
        let (pid, start) = rest.split_once('.').unwrap();
        let later = start.parse::<u64>().unwrap() + 1;
        for (text, maker_of_it) in [
            (mine, Maker::Lives),
            (&*format!("{place}.{pid}.{later}"), Maker::Ended),
            (&*format!("0123456789abcdef.{pid}.{start}"), Maker::Unseen),
            (&*format!("{place}.{pid}.0"), Maker::Unseen),
            ("0f3b9a", Maker::Unseen),
        ] {
            assert_eq!(maker(text), maker_of_it, "{text}");
        }
    }
}
