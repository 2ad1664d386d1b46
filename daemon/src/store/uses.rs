//! Who uses a generation, on a volume that several daemons share: what is used is not removed.
//!
//! A use is a lease in the home; its name has the generation and the process that needs it. On that process's own
//! machine the process itself tells whether the use lasts: a ComfyUI whose daemon was killed still counts. Elsewhere
//! only the lease does, which the daemon keeps writing; one that has been silent for a week counts no more,
//! for a machine that was frozen may go on after days.
//!
//! Who uses says so first and looks for the generation after that; who removes takes the name away first and
//! looks for uses after that. So one of the two sees the other, without a lock.

use super::commit::StoreError;
use super::lease::Lease;
use super::owner::{self, Maker};
use super::places::Home;
use super::sweep;
use super::tree;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A use that cannot be seen from here, and was not written for so long, is over. Much longer than clocks jump.
const FORGOTTEN: Duration = Duration::from_secs(7 * 24 * 3600);

/// A use of a generation; it ends when this is dropped, which blocks shortly.
#[must_use = "the use ends when this is dropped"]
#[derive(Debug)]
pub struct Use {
    _lease: Lease,
}

impl Use {
    /// Says that a process of this machine uses a generation of a home. Nothing where the volume cannot be
    /// written: then others are not told, which is in the log. Blocks shortly.
    pub fn take(home: &Home, generation: &str, pid: u32) -> Option<Self> {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        let own = std::process::id();
        let path = home.uses().join(format!("{generation}-{}-{own}.{number}", owner::token_of(pid)));
        let lease = Lease::take(&path).inspect_err(|error| {
            tracing::warn!(%error, source = %error.source, "other daemons are not told of a use");
        });
        lease.ok().map(|lease| Self { _lease: lease })
    }
}

/// Whose a use is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum User {
    /// This very process's: it makes or starts the generation.
    Own,
    /// Some other process's.
    Other,
}

/// Returns the generations of a home that are used, and by whom. Removes what says of uses that are over.
/// Blocks shortly.
///
/// # Errors
/// When the directory is there and cannot be read.
pub fn uses(home: &Home) -> Result<Vec<(String, User)>, StoreError> {
    let dir = home.uses();
    let mut lasting = Vec::new();
    for name in tree::published(&dir)? {
        let mut parts = name.splitn(3, '-');
        let (Some(generation), Some(token)) = (parts.next(), parts.next()) else { continue };
        let lasts = match owner::maker(token) {
            Maker::Lives => true,
            Maker::Ended => false,
            Maker::Unseen => !is_forgotten(&dir.join(&name)),
        };
        if lasts {
            let user = if token == owner::token() { User::Own } else { User::Other };
            lasting.push((generation.to_owned(), user));
        } else {
            // Best effort: the next one who looks sees the same.
            std::fs::remove_file(dir.join(&name)).ok();
        }
    }
    Ok(lasting)
}

/// A file that is gone by now was not: its owner has just removed it, or writes it anew.
fn is_forgotten(path: &Path) -> bool {
    sweep::age(path).is_some_and(|age| age > FORGOTTEN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::process::{Command, Stdio};
    use std::time::SystemTime;

    #[test]
    fn a_use_lasts_as_long_as_its_process_whatever_became_of_the_daemon() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home { root: dir.path().to_owned(), models: dir.path().join("models") };
        assert_eq!(uses(&home).unwrap(), []);
        let mut child = Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap();
        let taken = Use::take(&home, "g1", child.id()).unwrap();
        assert_eq!(uses(&home).unwrap(), [("g1".to_owned(), User::Other)]);
        let own = Use::take(&home, "g2", std::process::id()).unwrap();
        assert!(uses(&home).unwrap().contains(&("g2".to_owned(), User::Own)));
        drop(own);
        // As after `kill -9` of the daemon: the file stays.
        let file = tree::published(&home.uses()).unwrap().remove(0);
        let text = std::fs::read(home.uses().join(&file)).unwrap();
        drop(taken);
        assert_eq!(uses(&home).unwrap(), []);
        std::fs::write(home.uses().join(&file), text).unwrap();
        assert_eq!(uses(&home).unwrap(), [("g1".to_owned(), User::Other)]);
        child.kill().unwrap();
        // Not reaped: in a container nobody may ever do that.
        let begun = std::time::Instant::now();
        while !uses(&home).unwrap().is_empty() && begun.elapsed() < Duration::from_secs(60) {
            std::thread::yield_now();
        }
        assert_eq!(uses(&home).unwrap(), []);
        child.wait().unwrap();
        assert!(tree::published(&home.uses()).unwrap().is_empty());
    }

    #[test]
    fn what_another_machine_uses_lasts_until_it_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home { root: dir.path().to_owned(), models: dir.path().join("models") };
        std::fs::create_dir_all(home.uses()).unwrap();
        let file = home.uses().join("g1-0123456789abcdef.7.8-7.0");
        std::fs::write(&file, "damaged").unwrap();
        assert_eq!(uses(&home).unwrap(), [("g1".to_owned(), User::Other)]);
        let aged = |age| {
            let file = File::options().write(true).open(&file).unwrap();
            file.set_modified(SystemTime::now() - age).unwrap();
        };
        aged(Duration::from_secs(25 * 3600));
        assert_eq!(uses(&home).unwrap().len(), 1, "clocks jump by hours");
        aged(FORGOTTEN + Duration::from_secs(60));
        assert_eq!(uses(&home).unwrap(), []);
    }
}
