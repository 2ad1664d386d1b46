//! Versions that were found running a moment ago, so that most calls look at nothing but three names.
//!
//! A full look compares a version with the whole disk. What it found is kept with the stamps of the files
//! that decide what runs: the spec, the lock, the link to the current generation. While the process lives
//! and the stamps are the same, the same answer is right. What they do not show, a model that vanished,
//! is found by a full look about once a second: whoever comes first after that time makes it, the others are
//! answered meanwhile.

use super::{Started, Wanted};
use crate::config::Config;
use crate::ctx::millis;
use crate::realize::Realization;
use crate::resolve::Mode;
use crate::store::inspect::Stamp;
use crate::store::places::{self, Home};
use crate::store::specs::{self, Loaded};
use crate::supervise::Ready;
use proto::VersionId;
use proto::method::{Target, WarmTimings, Warmth};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Time between two full looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Entries kept; beyond it all are forgotten. There are as many as versions are used, times the
/// directories that clients call from.
const KEPT: usize = 256;

/// Versions that were found running a moment ago.
#[derive(Debug, Default)]
pub(super) struct Recent {
    found: Mutex<HashMap<Key, Found>>,
}

type Key = (Target, Mode);

#[derive(Debug, Clone)]
struct Found {
    version_id: VersionId,
    realization: Arc<Realization>,
    ready: Ready,
    stamps: Arc<Stamps>,
    /// When someone made, or began, a full look.
    looked: Instant,
}

impl Recent {
    /// Returns a version's ComfyUI, claimed, or nothing where a full look is due. Blocks, for a look at
    /// three names.
    pub(super) fn find(&self, wanted: &Wanted) -> Option<Started> {
        let began = Instant::now();
        let key = (wanted.target.clone(), wanted.mode);
        let found = self.lock().get(&key).cloned()?;
        if !found.stamps.still_hold() || self.is_due(&key, began) {
            return None;
        }
        let mut ready = found.ready;
        let held = ready.hold(wanted.purpose)?;
        (ready.started, ready.room_ms, ready.start_ms) = (false, 0, 0);
        let total_ms = millis(began.elapsed());
        Some(Started {
            version_id: found.version_id,
            realization: found.realization,
            ready,
            held,
            how: Warmth::Running,
            timings: WarmTimings { total_ms, ..WarmTimings::default() },
        })
    }

    /// Keeps what a full look found.
    pub(super) fn keep(&self, wanted: &Wanted, stamps: Stamps, started: &Started) {
        let found = Found {
            version_id: started.version_id.clone(),
            realization: Arc::clone(&started.realization),
            ready: started.ready.clone(),
            stamps: Arc::new(stamps),
            looked: Instant::now(),
        };
        let mut all = self.lock();
        if all.len() >= KEPT {
            all.clear();
        }
        all.insert((wanted.target.clone(), wanted.mode), found);
    }

    /// Tells whether a full look is due, and leaves it to the one who was told so.
    fn is_due(&self, key: &Key, now: Instant) -> bool {
        let mut all = self.lock();
        let Some(found) = all.get_mut(key) else { return true };
        let due = now.saturating_duration_since(found.looked) >= LOOK_EVERY;
        if due {
            found.looked = now;
        }
        due
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Found>> {
        // Whole between any two statements.
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How the files that decide what runs looked.
#[derive(Debug)]
pub(super) struct Stamps(Vec<(PathBuf, Option<Stamp>)>);

impl Stamps {
    /// Looks at the spec and where another one would come before it, the lock, and the current generation.
    /// Blocks.
    pub(super) fn take(config: &Config, target: &Target, loaded: &Loaded, home: &Home) -> Self {
        let name = loaded.path.file_name().unwrap_or_default();
        let dirs = specs::search_dirs(config, target.cwd.as_deref());
        let before = dirs.into_iter().map(|dir| dir.join(name)).take_while(|path| *path != loaded.path);
        let mut names: Vec<PathBuf> = before.collect();
        names.push(loaded.path.clone());
        names.push(places::lock_file(config, &loaded.spec.version_id));
        names.push(home.current());
        let look = |path: PathBuf| {
            let stamp = stamp(&path);
            (path, stamp)
        };
        Self(names.into_iter().map(look).collect())
    }

    /// Tells whether all look the same. Blocks.
    fn still_hold(&self) -> bool {
        self.0.iter().all(|(path, before)| stamp(path) == *before)
    }
}

/// Looks at a name, and through it where it is a link: a spec may be one.
fn stamp(path: &Path) -> Option<Stamp> {
    std::fs::metadata(path).ok().map(|found| Stamp::of(&found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_content_or_of_the_file_shows() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link, other) = (dir.path().join("a"), dir.path().join("link"), dir.path().join("other"));
        let stamps = |path: &PathBuf| Stamps(vec![(path.clone(), stamp(path))]);
        let absent = stamps(&path);
        assert!(absent.still_hold());
        std::fs::write(&path, "one").unwrap();
        assert!(!absent.still_hold());
        let first = stamps(&path);
        assert!(first.still_hold());
        std::fs::write(&path, "longer").unwrap();
        assert!(!first.still_hold());
        std::fs::write(&other, "other!").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let linked = stamps(&link);
        std::fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(&other, &link).unwrap();
        assert!(!linked.still_hold(), "it names another file");
    }
}
