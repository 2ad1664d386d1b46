//! Zygotes: processes of versions' own Pythons that have imported what their ComfyUIs import (`zygote.py`), and fork
//! an instance on demand. What to import was recorded when the version was started plainly (`boot`).
//!
//! A zygote belongs to a home, and to one generation and one set of settings; one that no longer fits is ended.
//! While it imports it may be told that it must not import something before a fork: then it begins anew without
//! that. Nothing depends on a zygote: where there is none, or it fails, ComfyUI is started plainly. One whose
//! daemon is gone ends; what it forked lives on.

mod priming;
mod waiting;
mod wire;

pub use priming::Primed;

use super::{Launch, SuperviseError, Supervisor};
use crate::boot::StartRecord;
use crate::ctx::Ctx;
use crate::process::Process;
use jiff::Timestamp;
use proto::VersionId;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// How long a fork may take. Of a large process on a busy machine it takes tenths of a second.
const ANSWER: Duration = Duration::from_secs(10);

/// A zygote that waits, for those who look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZygoteInfo {
    /// The home whose ComfyUI it forks.
    pub home: PathBuf,
    /// The version.
    pub version_id: VersionId,
    /// The generation that it has imported.
    pub generation: String,
    /// Its process.
    pub pid: u32,
    /// Its memory in bytes, with its share of what it shares with others; as it was five minutes ago at most.
    pub pss_bytes: u64,
    /// Since when it waits.
    pub since: Timestamp,
}

/// The zygotes of a daemon, by home.
#[derive(Debug, Default)]
pub(super) struct Zygotes {
    waiting: Mutex<BTreeMap<PathBuf, Arc<Zygote>>>,
    /// What must not be imported before a fork, by generation.
    unfit: Mutex<BTreeMap<PathBuf, BTreeSet<String>>>,
    /// Held by the one that is being primed.
    priming: tokio::sync::Mutex<()>,
}

/// A zygote that waits.
#[derive(Debug)]
struct Zygote {
    version_id: VersionId,
    generation: String,
    settings: String,
    tree: PathBuf,
    pid: u32,
    since: Timestamp,
    pss_bytes: AtomicU64,
    requests: mpsc::Sender<(Child, oneshot::Sender<Process>)>,
    /// Cancelled to end it, and when it has ended.
    end: CancellationToken,
    ended: CancellationToken,
}

/// What a child is to be.
#[derive(Debug)]
pub(super) struct Child {
    /// Program and arguments.
    pub(super) argv: Vec<String>,
    /// Its whole environment.
    pub(super) env: BTreeMap<String, String>,
    /// Where it writes.
    pub(super) log: File,
}

impl Supervisor {
    /// Makes a zygote of a launch and waits until it waits; at once where it does. While `ctx` stands aside for
    /// other work it stands still. Cancel-safe: one that is half done is ended.
    ///
    /// # Errors
    /// When its process cannot be started, or `ctx` is cancelled.
    pub async fn prime(&self, ctx: &Ctx, launch: Launch) -> Result<Primed, SuperviseError> {
        priming::prime(self, ctx, launch).await
    }

    /// Returns the zygotes that wait.
    pub fn zygotes(&self) -> Vec<ZygoteInfo> {
        let waiting = self.zygote_table().waiting();
        waiting.iter().map(|(home, zygote)| zygote.info(home)).collect()
    }

    /// Ends the zygote of a home, if there is one, and waits until it is gone. Bounded by seconds.
    pub async fn unprime(&self, home: &Path) {
        let zygote = self.zygote_table().waiting().remove(home);
        if let Some(zygote) = zygote {
            zygote.end.cancel();
            zygote.ended.cancelled().await;
        }
    }

    fn zygote_table(&self) -> &Arc<Zygotes> {
        &self.shared.zygotes
    }
}

impl Zygotes {
    /// Returns the tree that the zygote of a launch was started from.
    pub(super) fn tree(&self, launch: &Launch) -> Option<PathBuf> {
        let waiting = self.waiting();
        waiting.get(&launch.home).filter(|zygote| zygote.fits(launch)).map(|zygote| zygote.tree.clone())
    }

    /// Has the zygote of a launch fork, if there is one that fits; one that does not fit is ended. None where
    /// there is none, or it failed. Bounded by seconds.
    pub(super) async fn fork(&self, launch: &Launch, child: Option<Child>) -> Option<Process> {
        let zygote = self.waiting().get(&launch.home).cloned()?;
        let forked = match child {
            Some(child) if zygote.fits(launch) => zygote.fork(child).await,
            _ => None,
        };
        if forked.is_none() {
            self.end(&launch.home);
        }
        forked
    }

    /// Ends the zygote of a home, if there is one. Does not wait.
    pub(super) fn end(&self, home: &Path) {
        if let Some(zygote) = self.waiting().remove(home) {
            zygote.end.cancel();
        }
    }

    /// Forgets a zygote that has ended.
    fn forget(&self, home: &Path, zygote: &Arc<Zygote>) {
        let mut waiting = self.waiting();
        if waiting.get(home).is_some_and(|other| Arc::ptr_eq(other, zygote)) {
            waiting.remove(home);
        }
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Arc<Zygote>>> {
        // Whole between any two statements.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unfit(&self) -> MutexGuard<'_, BTreeMap<PathBuf, BTreeSet<String>>> {
        self.unfit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Zygote {
    async fn fork(&self, child: Child) -> Option<Process> {
        let (reply, forked) = oneshot::channel();
        self.requests.send((child, reply)).await.ok()?;
        tokio::time::timeout(ANSWER, forked).await.ok()?.ok()
    }

    fn fits(&self, launch: &Launch) -> bool {
        let own = (self.generation.as_str(), self.settings.as_str());
        own == (launch.generation.as_str(), launch.settings().as_str()) && !self.end.is_cancelled()
    }

    fn info(&self, home: &Path) -> ZygoteInfo {
        ZygoteInfo {
            home: home.to_owned(),
            version_id: self.version_id.clone(),
            generation: self.generation.clone(),
            pid: self.pid,
            pss_bytes: self.pss_bytes.load(Ordering::Relaxed),
            since: self.since,
        }
    }
}

/// Returns the record by which a launch may be forked, or why there is none. Blocks.
fn record(launch: &Launch) -> Result<StartRecord, String> {
    let record = launch.start_record().ok_or("no start of it with these settings was recorded yet")?;
    match record.distrust {
        Some(distrust) => Err(distrust.reason),
        None => Ok(record),
    }
}
