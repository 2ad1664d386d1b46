//! Leases: small files that say who has something on a volume, and that their owner lives.
//!
//! A lease names its [`Owner`] and holds a number that the owner counts up every second; one thread does that for
//! all leases of this process. Others watch that number: an owner whose process is seen to have ended, or whose
//! number did not change for [`SILENCE`] while they looked, holds nothing any more, and whoever comes next writes
//! itself in its place. Clocks are never compared. An owner that was frozen for so long finds another's name, or
//! none, in its file, and from then on the lease is not its own: [`Lease::is_mine`].

use super::commit::{self, StoreError};
use super::owner::{Life, Owner};
use super::read_json;
use crate::ctx::Stopwatch;
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

/// How often an owner says that it lives.
pub const BEAT: Duration = Duration::from_secs(1);

/// An owner that says nothing for so long has ended, or is frozen.
pub const SILENCE: Duration = Duration::from_secs(15);

/// A lease of this process. Dropping it removes the file; that blocks shortly.
#[must_use = "the lease ends when this is dropped"]
#[derive(Debug)]
pub struct Lease {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    content: Mutex<Content>,
    state: Mutex<State>,
}

/// Whose the file is; held while it is read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Mine,
    /// Another one's, or nobody's: it may not be touched.
    Lost,
}

/// What a lease file says.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Content {
    owner: Owner,
    beat: u64,
    since: jiff::Timestamp,
}

/// A lease as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Whose it is.
    pub owner: Owner,
    /// Since when, by the owner's clock: for people.
    pub since: jiff::Timestamp,
    /// Changes with every beat.
    beat: (u64, Option<SystemTime>),
}

impl Lease {
    /// Writes a lease, whoever had it before. Blocks shortly.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn take(path: &Path) -> Result<Self, StoreError> {
        Self::new(path, |content| commit::replace_file(path, content, false).map(|()| true))?
            .ok_or_else(|| StoreError::at("write", path)(ErrorKind::AlreadyExists.into()))
    }

    /// Writes a lease where there is none; of many who do at once, one gets it. Blocks shortly.
    ///
    /// # Errors
    /// When the file cannot be written, also because the filesystem has no hard links.
    pub fn claim(path: &Path) -> Result<Option<Self>, StoreError> {
        Self::new(path, |content| commit::create_file(path, content))
    }

    /// Returns who holds the lease at `path`. A file that cannot be read as one counts as absent and is named in
    /// the log. Blocks shortly.
    ///
    /// # Errors
    /// When the file is there and cannot be read at all.
    pub fn holder(path: &Path) -> Result<Option<Held>, StoreError> {
        let Some(Content { owner, beat, since }) = read_json(path)? else { return Ok(None) };
        // Read second: where it belongs to a later beat, that one counts as seen and the next one shows.
        let modified = std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
        Ok(Some(Held { owner, since, beat: (beat, modified) }))
    }

    /// Returns whether nobody took the lease over. Blocks shortly.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn is_mine(&self) -> Result<bool, StoreError> {
        let mut state = lock(&self.inner.state);
        self.inner.look(&mut state)
    }

    fn new(
        path: &Path,
        write: impl FnOnce(&[u8]) -> Result<bool, StoreError>,
    ) -> Result<Option<Self>, StoreError> {
        if let Some(parent) = path.parent() {
            commit::create_dir_all(parent)?;
        }
        let content = Content { owner: Owner::mine(), beat: 0, since: jiff::Timestamp::now() };
        let owner = content.owner.clone();
        let written = content.encode(path).and_then(|text| write(&text));
        let (state, content) = (Mutex::new(State::Mine), Mutex::new(content));
        let lease = Self { inner: Arc::new(Inner { path: path.to_owned(), content, state }) };
        let registered =
            written.and_then(|written| if written { beat(&lease.inner).map(|()| true) } else { Ok(false) });
        match registered {
            Ok(true) => Ok(Some(lease)),
            other => {
                if other.is_ok() {
                    // Never written: nothing at that name is this one's.
                    *lock(&lease.inner.state) = State::Lost;
                }
                owner.end();
                other.map(|_| None)
            }
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut state = lock(&self.inner.state);
        // Best effort: who looks at it learns that its owner ended.
        if self.inner.look(&mut state).unwrap_or(false) {
            std::fs::remove_file(&self.inner.path).ok();
        }
        *state = State::Lost;
        lock(&self.inner.content).owner.end();
    }
}

impl Inner {
    /// Reads whose the file is by now.
    fn look(&self, state: &mut State) -> Result<bool, StoreError> {
        if *state == State::Lost {
            return Ok(false);
        }
        let is_mine = match Lease::holder(&self.path)? {
            Some(held) => held.owner == lock(&self.content).owner,
            // Removed: whoever took it over is done by now. Damaged: nobody's name stands there.
            None => self.path.exists(),
        };
        if !is_mine {
            *state = State::Lost;
            tracing::warn!(path = %self.path.display(), "a lease of this process was taken over or removed");
        }
        Ok(is_mine)
    }

    /// Says that the owner lives. What the disk refuses now it may take the next time.
    fn beat(&self) {
        let mut state = lock(&self.state);
        if !self.look(&mut state).unwrap_or(*state == State::Mine) {
            return;
        }
        let content = {
            let mut content = lock(&self.content);
            content.beat += 1;
            content.clone()
        };
        let written =
            content.encode(&self.path).and_then(|text| commit::replace_file(&self.path, &text, false));
        if let Err(error) = written {
            tracing::debug!(path = %self.path.display(), %error, "a lease cannot be written");
            // A full disk still takes a time.
            let file = std::fs::File::open(&self.path);
            file.and_then(|file| file.set_modified(SystemTime::now())).ok();
        }
    }
}

impl Content {
    fn encode(&self, path: &Path) -> Result<Vec<u8>, StoreError> {
        serde_json::to_vec(self).map_err(|error| StoreError::at("encode", path)(error.into()))
    }
}

/// The leases that are to beat, and what wakes the thread that does.
static BEATING: (Mutex<Beating>, Condvar) =
    (Mutex::new(Beating { leases: Vec::new(), has_thread: false }), Condvar::new());

struct Beating {
    leases: Vec<Weak<Inner>>,
    has_thread: bool,
}

fn beat(lease: &Arc<Inner>) -> Result<(), StoreError> {
    let mut beating = lock(&BEATING.0);
    if !beating.has_thread {
        let thread = std::thread::Builder::new().name("leases".to_owned()).spawn(beat_for_life);
        thread.map_err(StoreError::at("keep the lease", &lease.path))?;
        beating.has_thread = true;
    }
    beating.leases.push(Arc::downgrade(lease));
    BEATING.1.notify_one();
    Ok(())
}

/// One thread of its own for all: a runtime whose threads are all busy must not cost a lease.
fn beat_for_life() {
    loop {
        let leases: Vec<Weak<Inner>> = {
            let beating = lock(&BEATING.0);
            let there_are = |beating: &mut Beating| {
                beating.leases.retain(|lease| lease.strong_count() > 0);
                beating.leases.is_empty()
            };
            let beating = BEATING.1.wait_while(beating, there_are).unwrap_or_else(PoisonError::into_inner);
            beating.leases.clone()
        };
        std::thread::sleep(BEAT);
        for lease in leases {
            if let Some(lease) = lease.upgrade() {
                lease.beat();
            }
        }
    }
}

/// Whether a lease of someone else has ended, judged by looking at it again and again.
#[derive(Debug, Default)]
pub struct Watcher {
    seen: Option<Held>,
    quiet: Option<Stopwatch>,
}

impl Watcher {
    /// Returns whether the owner of what stands there ended: its process did, or it said nothing for [`SILENCE`]
    /// while this was called again and again, once a second at least. Blocks shortly.
    pub fn has_ended(&mut self, held: &Held) -> bool {
        let quiet = self.quiet(Some(held));
        held.owner.life() == Life::Ended || quiet >= SILENCE
    }

    /// Notes what stands there, and returns for how long nothing else did while one looked.
    pub fn quiet(&mut self, held: Option<&Held>) -> Duration {
        if self.seen.as_ref() != held {
            self.seen = held.cloned();
            self.quiet = None;
        }
        self.quiet.get_or_insert_with(Stopwatch::start).look()
    }
}

/// What the locks guard is replaced as a whole, so it is sound whatever panicked meanwhile.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
