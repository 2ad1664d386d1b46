//! Locks between processes on shared volumes: a `flock`, and a lease beside it.
//!
//! The `flock` is the quick and exact part on one host. Between hosts, and wherever `flock` lies, the lease decides:
//! a lock is held by whose lease it is, while that one lives. A granted `flock` beside a living lease is worth
//! nothing; a refused one beside a lease whose owner ended is passed over. Of two who take a lease over at once,
//! the last to write has it: both look again after a moment.
//!
//! A lock saves work; publication keeps things right (see `commit`). Who was frozen may have lost it:
//! [`FileLock::is_mine`] is asked before what others would notice. Locks are polled, never waited for in the kernel:
//! a blocking `flock` cannot be cancelled, and on network volumes it may never return.

use super::commit::StoreError;
use super::flock::{Asked, Flock};
use super::lease::{Held, Lease, SILENCE, Watcher};
use crate::ctx::{Ctx, Overdue};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::Notify;

/// A held lock. Dropping it lets go; that blocks shortly.
#[must_use = "the lock is let go when this is dropped"]
#[derive(Debug)]
pub struct FileLock {
    lease: Lease,
    /// Let go after the lease: whoever is granted it finds none.
    _flock: Option<Flock>,
    _wake: Wake,
}

/// Comes last: those it wakes look at once.
#[derive(Debug)]
struct Wake;

impl Drop for Wake {
    fn drop(&mut self) {
        LET_GO.notify_waiters();
    }
}

/// Why a lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The lock file cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Someone else held it all the time.
    #[error("waited {} s for `{what}`, held by {holder}", waited.as_secs())]
    Timeout {
        /// What is locked.
        what: String,
        /// Who holds it, as far as it is known.
        holder: String,
        /// How long it took to give up.
        waited: Duration,
    },
    /// The wait was cancelled.
    #[error("cancelled while waiting for `{0}`")]
    Cancelled(String),
}

/// Time for another one that takes a lease over at the same moment to show.
const SETTLE: Duration = Duration::from_millis(20);

/// How long the `flock` of someone who is seen to have ended is respected all the same: the next one may have it by
/// now, and be about to write its lease.
const SUCCESSION: Duration = Duration::from_secs(1);

/// The longest pause between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// Told when this process lets go of a lock: those who wait in it need no look at the disk to know.
static LET_GO: Notify = Notify::const_new();

/// What a look at a lock found.
enum Found {
    Taken(FileLock),
    /// Written over another one's lease; whether nobody else did at the same moment shows in a moment.
    TakenOver(FileLock),
    Held(Option<Held>),
}

impl FileLock {
    /// Takes the lock at `path`, waiting at most `deadline` and telling `ctx` whom it waits for.
    /// Cancel-safe.
    ///
    /// # Errors
    /// [`LockError::Timeout`] names the holder.
    pub async fn take(ctx: &Ctx, path: PathBuf, what: &str, deadline: Duration) -> Result<Self, LockError> {
        let mut waiting = ctx.progress.waiting(what, deadline);
        let (mut watcher, mut pause) = (Watcher::default(), Duration::from_millis(1));
        loop {
            let mut let_go = std::pin::pin!(LET_GO.notified());
            let_go.as_mut().enable();
            let place = path.clone();
            let looked = blocking(&path, move || (look(&place, &mut watcher), watcher)).await?;
            watcher = looked.1;
            let holder = match looked.0? {
                Found::Taken(lock) => return Ok(lock),
                Found::TakenOver(lock) => {
                    tokio::time::sleep(SETTLE).await;
                    let (is_mine, lock) = blocking(&path, move || (lock.is_mine(), lock)).await?;
                    if is_mine? {
                        return Ok(lock);
                    }
                    None
                }
                Found::Held(held) => held,
            };
            let holder = holder.map_or_else(|| "someone unknown".to_owned(), |held| held.owner.to_string());
            if let Err(Overdue(waited)) = waiting.look(&holder) {
                return Err(LockError::Timeout { what: what.to_owned(), holder, waited });
            }
            tokio::select! {
                () = ctx.cancel.cancelled() => return Err(LockError::Cancelled(what.to_owned())),
                () = let_go => {}
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(LOOK),
            }
        }
    }

    /// Takes the lock at `path` if nobody who lives holds it. Does not wait for one who does. Blocks shortly.
    ///
    /// # Errors
    /// When the lock cannot be written.
    pub fn try_take(path: &Path) -> Result<Option<Self>, StoreError> {
        match look(path, &mut Watcher::default())? {
            Found::Taken(lock) => Ok(Some(lock)),
            Found::TakenOver(lock) => {
                std::thread::sleep(SETTLE);
                Ok(lock.is_mine()?.then_some(lock))
            }
            Found::Held(_) => Ok(None),
        }
    }

    /// Returns whether nobody took the lock over, as others may from one that says nothing for [`SILENCE`]. Blocks
    /// shortly.
    ///
    /// # Errors
    /// When the lease cannot be read.
    pub fn is_mine(&self) -> Result<bool, StoreError> {
        self.lease.is_mine()
    }
}

impl FileLock {
    fn of(lease: Lease, flock: Option<Flock>) -> Self {
        Self { lease, _flock: flock, _wake: Wake }
    }
}

/// Returns where the lease of a lock lies.
fn lease_path(path: &Path) -> PathBuf {
    path.with_extension("lease")
}

/// Looks at a lock and takes it if it may be taken. Blocks.
fn look(path: &Path, watcher: &mut Watcher) -> Result<Found, StoreError> {
    let asked = Flock::ask(path)?;
    let lease = lease_path(path);
    let held = Lease::holder(&lease)?;
    let is_refused = matches!(asked, Asked::Refused);
    let flock = if let Asked::Granted(flock) = asked { Some(flock) } else { None };
    let may_take_over = match &held {
        Some(held) if !watcher.has_ended(held) => return Ok(Found::Held(Some(held.clone()))),
        Some(held) => !is_refused || watcher.quiet(Some(held)) >= SUCCESSION,
        None if !is_refused => {
            return match Lease::claim(&lease) {
                Ok(Some(lease)) => Ok(Found::Taken(FileLock::of(lease, flock))),
                Ok(None) => match Lease::holder(&lease)? {
                    None if lease.exists() => take_over(&lease, flock),
                    held => Ok(Found::Held(held)),
                },
                // No hard links here, or no right to write: then this fails, too.
                Err(_) => take_over(&lease, flock),
            };
        }
        None => watcher.quiet(None) >= SILENCE,
    };
    if may_take_over { take_over(&lease, flock) } else { Ok(Found::Held(held)) }
}

fn take_over(lease: &Path, flock: Option<Flock>) -> Result<Found, StoreError> {
    tracing::debug!(lease = %lease.display(), "taking a lease over");
    Ok(Found::TakenOver(FileLock::of(Lease::take(lease)?, flock)))
}

/// Runs disk work where it may block.
async fn blocking<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StoreError> {
    let joined = tokio::task::spawn_blocking(work).await;
    joined.map_err(|error| StoreError::at("lock", path)(std::io::Error::other(error)))
}

#[cfg(test)]
mod tests;
