//! Whose a transfer is: of all processes on all machines that want one file, one fetches it.
//!
//! The directory `<parts>/<digest of the link>` stands for the transfer. It is made aside, with its
//! journal in it, and renamed to its name, which works for one of many. The journal says who owns it;
//! the owner rewrites it at least every second. Whoever finds an owner that ended takes over by writing
//! itself into the journal, and every owner reads the journal before it writes, so of two that took
//! over at once, the first sees the other's name, stops, and waits. Meanwhile both may have written to
//! one file: the same bytes of the same file of the host (whose validator both know) to the same
//! offsets, so that each is right whichever came last. Nothing here needs `flock`.

use super::journal::Journal;
use crate::ctx::{Ctx, Overdue, Stopwatch, Task, Waiting};
use crate::source::model::error::ModelError;
use crate::source::model::hosts;
use crate::source::model::place::blocking;
use crate::store::commit::{self, StoreError};
use crate::store::owner::{Life, Owner};
use crate::store::{places, sweep};
use proto::source::ModelSource;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// How often an owner writes its journal at least. What was written after that is fetched again by
/// whoever takes over from an owner that was killed.
const BEAT: Duration = Duration::from_millis(250);

/// A beat that stays the same for so long is none: the owner's machine is gone.
const SILENCE: Duration = Duration::from_secs(30);

/// How long to wait for an owner that lives but receives nothing.
const PATIENCE: Duration = Duration::from_secs(3600);

/// How often those who wait look.
const LOOK: Duration = Duration::from_millis(100);

/// Time for another one that takes over at the same moment to show.
const SETTLE: Duration = Duration::from_millis(20);

/// A transfer that nobody took up for so long is not wanted any more.
const ABANDONED: Duration = Duration::from_secs(7 * 24 * 3600);

/// An owned transfer. Dropping it leaves the parts and says so in the journal; without parts, or after
/// [`Claim::finish`], it removes the directory. Dropping it blocks for one small write.
#[derive(Debug)]
pub(in crate::source::model) struct Claim {
    inner: Arc<Inner>,
    /// Told when there is much to write into the journal.
    soon: Notify,
    /// Whether it is to outlive the machine.
    durable: AtomicBool,
}

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    owner: Owner,
    journal: Mutex<Journal>,
    /// Held while the journal's file is read or written.
    file: Mutex<State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Owned,
    /// The whole file was taken away: nothing in the directory is needed any more.
    Finished,
    /// Another one owns it, or the directory is gone: nothing in it may be touched.
    Lost,
    /// Dropped.
    Ended,
}

/// What stands where the claim would be.
enum Found {
    Taken(Claim),
    /// Took it over; whether nobody else did at the same moment shows in a moment.
    TakenOver(Claim),
    Busy(Box<Journal>),
    /// It changed under the eye.
    Again,
}

impl Claim {
    /// Claims the transfer of a link, waiting for another owner while that one lives. What it left is
    /// kept, where it can be trusted. Cancel-safe.
    pub(in crate::source::model) async fn take(
        ctx: &Ctx,
        hidden: &Path,
        link: &ModelSource,
        task: &Task,
    ) -> Result<Self, ModelError> {
        let dir = places::parts(hidden, link.without_secrets().as_str());
        let mut other: Option<Other> = None;
        loop {
            let silent = |other: &mut Other| other.is_silent().then(|| other.journal.owner.clone());
            let ended = other.as_mut().and_then(silent);
            let (place, text) = (dir.clone(), link.to_string());
            match blocking(move || Ok(look(&place, text, ended.as_ref())?)).await? {
                Found::Taken(claim) => return Ok(claim),
                Found::Again => continue,
                Found::TakenOver(claim) => {
                    tokio::time::sleep(SETTLE).await;
                    if claim.write(false).await? {
                        return Ok(claim);
                    }
                }
                Found::Busy(journal) => Other::see(&mut other, *journal, link, (ctx, task))?,
            }
            tokio::select! {
                () = ctx.cancel.cancelled() => return Err(ModelError::Cancelled),
                () = tokio::time::sleep(LOOK) => (),
            }
        }
    }

    /// Returns the journal. What changes in it is written by the next [`Claim::write`].
    pub(super) fn journal(&self) -> MutexGuard<'_, Journal> {
        lock(&self.inner.journal)
    }

    /// Returns the path of the file with the bytes.
    pub(in crate::source::model) fn data(&self) -> PathBuf {
        self.inner.dir.join(&self.journal().data)
    }

    /// Writes the journal, which is the beat, unless the claim is another's by now. Returns whether it
    /// is still this one's.
    pub(super) async fn write(&self, durable: bool) -> Result<bool, ModelError> {
        let inner = self.inner.clone();
        blocking(move || Ok(inner.write(durable)?)).await
    }

    /// Asks for the journal to be written soon; `durable` makes that outlive the machine.
    pub(super) fn write_soon(&self, durable: bool) {
        self.durable.fetch_or(durable, Ordering::Relaxed);
        self.soon.notify_one();
    }

    /// Writes the journal several times a second, which is the beat, until the claim is lost or the disk
    /// refuses. Cancel-safe.
    pub(super) async fn beat(&self) -> Result<(), ModelError> {
        loop {
            tokio::select! {
                () = tokio::time::sleep(BEAT) => (),
                () = self.soon.notified() => (),
            }
            if !self.write(self.durable.swap(false, Ordering::Relaxed)).await? {
                return Ok(());
            }
        }
    }

    /// Does the last work on the whole file, such as syncing it, while the claim beats. Cancel-safe if
    /// the work is.
    pub(in crate::source::model) async fn beating<T>(&self, work: impl Future<Output = T>) -> T {
        // The work cannot be taken back once it has begun, so nothing is done about a lost claim.
        let beat = async {
            self.beat().await.ok();
            std::future::pending::<Infallible>().await
        };
        tokio::select! {
            result = work => result,
            never = beat => match never {},
        }
    }

    /// Says that the bytes are of no use any more: taken away as a whole, or not what was asked for.
    pub(in crate::source::model) fn finish(&self) {
        let mut state = lock(&self.inner.file);
        if *state == State::Owned {
            *state = State::Finished;
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.inner.end();
    }
}

impl Inner {
    /// Returns whether the claim is still this one's, after having written the journal.
    fn write(&self, durable: bool) -> Result<bool, StoreError> {
        let mut state = lock(&self.file);
        // After `finish` there is nothing to tell but that the owner lives.
        if !matches!(*state, State::Owned | State::Finished) {
            return Ok(false);
        }
        let journal = {
            let mut journal = lock(&self.journal);
            journal.beat += 1;
            journal.clone()
        };
        let is_ours = Journal::read(&self.dir)?.is_some_and(|on_disk| on_disk.owner == self.owner);
        let written = if is_ours { journal.write(&self.dir, durable) } else { Ok(()) };
        match written {
            Ok(()) if is_ours => return Ok(true),
            Err(error) if error.source.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => *state = State::Lost,
        }
        Ok(false)
    }

    /// Best effort: an owner that could not say so is found out by its process or its silence.
    fn end(&self) {
        let finished = *lock(&self.file) == State::Finished;
        let useless = {
            let mut journal = lock(&self.journal);
            journal.given_up = !finished;
            finished || journal.written.len() == 0
        };
        let is_ours = self.write(false).unwrap_or(false);
        *lock(&self.file) = State::Ended;
        if is_ours && useless {
            commit::remove_dir(&self.dir).ok();
        }
        self.owner.end();
    }
}

/// Another owner, as one who waits sees it.
struct Other {
    journal: Journal,
    /// How long its beat was seen as it is.
    beat: Stopwatch,
    /// Ends when nothing arrives for long.
    waiting: Waiting,
}

impl Other {
    fn is_silent(&mut self) -> bool {
        self.beat.look() > SILENCE
    }

    /// Notes what its journal says now, and shows it to the people who wait.
    fn see(
        other: &mut Option<Self>,
        journal: Journal,
        link: &ModelSource,
        (ctx, task): (&Ctx, &Task),
    ) -> Result<(), ModelError> {
        task.set(journal.arrived, journal.identity.size);
        task.waiting(format!("downloaded by {}", journal.owner));
        let Some(seen) = other else {
            let waiting = ctx.progress.waiting(format!("the download of {}", hosts::link(link)), PATIENCE);
            *other = Some(Self { journal, beat: Stopwatch::start(), waiting });
            return Ok(());
        };
        if (seen.journal.beat, &seen.journal.owner) != (journal.beat, &journal.owner) {
            seen.beat = Stopwatch::start();
        }
        if seen.journal.arrived != journal.arrived {
            seen.waiting.extend(PATIENCE);
        }
        seen.journal = journal;
        let owner = seen.journal.owner.to_string();
        let looked = seen.waiting.look(&owner);
        looked.map_err(|Overdue(waited)| ModelError::Busy { link: hosts::link(link), owner, waited })
    }
}

/// Looks at what stands at `dir` and takes it if it may be taken. `silent` is an owner that is known to
/// have ended. Blocks.
fn look(dir: &Path, link: String, silent: Option<&Owner>) -> Result<Found, StoreError> {
    let journal = Journal::read(dir)?;
    match journal {
        Some(journal) if is_alive(&journal, silent) => Ok(Found::Busy(Box::new(journal))),
        None if !dir.exists() => claim_anew(dir, link),
        former => {
            let owner = Owner::mine();
            let journal = former
                .map_or_else(|| Journal::new(link, owner.clone()), |journal| journal.taken_by(owner.clone()));
            let claim = Claim::of(dir, owner, journal);
            let written = claim.journal().write(dir, false);
            match written {
                Ok(()) => Ok(Found::TakenOver(claim)),
                // It was removed at this moment.
                Err(error) if error.source.kind() == std::io::ErrorKind::NotFound => Ok(Found::Again),
                Err(error) => Err(error),
            }
        }
    }
}

fn is_alive(journal: &Journal, silent: Option<&Owner>) -> bool {
    !journal.given_up && silent != Some(&journal.owner) && journal.owner.life() == Life::Beats
}

fn claim_anew(dir: &Path, link: String) -> Result<Found, StoreError> {
    let staging = commit::StagingDir::beside(dir);
    commit::create_dir_all(staging.path())?;
    let owner = Owner::mine();
    let journal = Journal::new(link, owner.clone());
    journal.write(staging.path(), false)?;
    if let Some(parts) = dir.parent() {
        sweep_parts(parts);
    }
    let claim = Claim::of(dir, owner, journal);
    commit::step("transfer.claim", "claim", dir)?;
    if commit::claim_dir(staging.path(), dir)? {
        return Ok(Found::Taken(claim));
    }
    Ok(Journal::read(dir)?.map_or(Found::Again, |journal| Found::Busy(Box::new(journal))))
}

impl Claim {
    fn of(dir: &Path, owner: Owner, journal: Journal) -> Self {
        let (journal, file) = (Mutex::new(journal), Mutex::new(State::Owned));
        let inner = Arc::new(Inner { dir: dir.to_owned(), owner, journal, file });
        Self { inner, soon: Notify::new(), durable: AtomicBool::new(false) }
    }
}

/// Removes transfers that nobody wants any more, and what killed processes left of making theirs. Best
/// effort: it costs space only.
fn sweep_parts(parts: &Path) {
    sweep::sweep(parts);
    for entry in std::fs::read_dir(parts).into_iter().flatten().flatten() {
        let dir = entry.path();
        let journal = dir.join(super::journal::NAME);
        let age = sweep::age(&journal).or_else(|| sweep::age(&dir));
        // A clock that jumped makes nothing old that someone works on.
        let is_live =
            || Journal::read(&dir).is_ok_and(|found| found.is_some_and(|found| is_alive(&found, None)));
        if age.is_some_and(|age| age > ABANDONED) && !is_live() {
            commit::remove_dir(&dir).ok();
        }
    }
}

/// What the locks guard is replaced as a whole, so it is sound whatever panicked meanwhile.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
