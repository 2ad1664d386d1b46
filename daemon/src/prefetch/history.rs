//! Which versions were asked for, and when: the last few thousand uses, in memory and in a file.
//!
//! A use is one entry, whichever calls it takes: what is asked of a version within a minute of its last entry
//! belongs to that entry. So a crowd of workflows of one version does not push all others out.
//!
//! Memory is the truth while the daemon runs; the file is for the next one. A task writes what it lacks, a line of
//! JSON for each entry, and whoever notes never waits for a disk. The order of the entries is that in which they were
//! noted, and their times are only what the clock said: a clock that jumps puts no entry elsewhere. Lines that
//! cannot be read, as a crash leaves them, are passed over, and the file is written anew without them.
//! It is not synced: it survives the end of this process, and what a power loss takes is a few uses.

use crate::store::commit::{StoreError, create_dir_all, replace_file};
use proto::VersionId;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The most entries that are kept: with one a minute, three days without a pause.
const MOST: usize = 4096;

/// The file may have this many times as many lines before it is written anew.
const SLACK: usize = 2;

/// Seconds within which requests of one version are one use.
const ONE_USE_S: u64 = 60;

/// One use of a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// When it began, in seconds since 1970, by this machine's clock.
    pub at: i64,
    /// Which version.
    pub version: VersionId,
}

/// The uses that are remembered. Cheap to clone.
#[derive(Debug, Clone)]
pub struct History {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    kept: Mutex<Kept>,
    noted: Notify,
}

#[derive(Debug, Default)]
struct Kept {
    /// Oldest first.
    requests: VecDeque<Request>,
    /// How many were ever noted, and how many of those are in the file or need not be.
    noted: u64,
    written: u64,
    /// Lines in the file; none where it must be written anew before anything is added.
    lines: Option<usize>,
}

impl History {
    /// Reads what earlier daemons noted into the file at `path`, and has `tasks` write what is noted from now
    /// on, until `stop` is cancelled and the last entry is written. A file that cannot be read is named in the
    /// log and counts as empty. Blocks for the reading; must be called within a runtime.
    pub fn open(path: PathBuf, tasks: &TaskTracker, stop: CancellationToken) -> Self {
        let kept = Mutex::new(read(&path));
        let shared = Arc::new(Shared { path, kept, noted: Notify::new() });
        tasks.spawn(keep(Arc::clone(&shared), stop));
        Self { shared }
    }

    /// Notes that a version was asked for, at `at` seconds since 1970. Returns whether that begins a new use.
    /// Never waits.
    pub fn note(&self, version: VersionId, at: i64) -> bool {
        let mut kept = self.shared.lock();
        let recent = kept.requests.iter().rev().take_while(|request| request.at.abs_diff(at) < ONE_USE_S);
        if recent.into_iter().any(|request| request.version == version) {
            return false;
        }
        kept.push(Request { at, version });
        drop(kept);
        self.shared.noted.notify_one();
        true
    }

    /// Returns all uses, oldest first.
    pub fn snapshot(&self) -> Vec<Request> {
        self.shared.lock().requests.iter().cloned().collect()
    }
}

impl Kept {
    fn push(&mut self, request: Request) {
        self.requests.push_back(request);
        self.noted += 1;
        if self.requests.len() > MOST {
            self.requests.pop_front();
        }
    }

    /// How many of the newest are not in the file.
    fn unwritten(&self) -> usize {
        usize::try_from(self.noted - self.written).unwrap_or(MOST).min(self.requests.len())
    }
}

impl Shared {
    /// Writes what the file lacks. Only one at a time may. Blocks.
    fn write(&self) -> Result<(), StoreError> {
        let mut kept = self.lock();
        // Until the file is known to be whole again.
        let lines = kept.lines.take().filter(|lines| lines + kept.unwritten() <= MOST * SLACK);
        let count = lines.map_or(kept.requests.len(), |_| kept.unwritten());
        let from = kept.requests.len() - count;
        let text: Vec<u8> = kept.requests.range(from..).flat_map(line).collect();
        let noted = kept.noted;
        drop(kept);
        if lines.is_some() {
            append(&self.path, &text)?;
        } else {
            self.path.parent().map_or(Ok(()), create_dir_all)?;
            replace_file(&self.path, &text, false)?;
        }
        let mut kept = self.lock();
        kept.lines = Some(lines.unwrap_or(0) + count);
        kept.written = noted;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // Whole between any two statements.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes what is noted, until `stop` is cancelled and the last entry is written.
async fn keep(shared: Arc<Shared>, stop: CancellationToken) {
    let (mut failed, mut ends) = (false, false);
    while !ends {
        ends = tokio::select! {
            () = stop.cancelled() => true,
            () = shared.noted.notified() => false,
        };
        let writer = Arc::clone(&shared);
        let Ok(written) = tokio::task::spawn_blocking(move || writer.write()).await else { continue };
        match &written {
            // Once: a full disk is told by those who need it.
            Err(error) if !failed => tracing::warn!(%error, "requests are not remembered beyond this daemon"),
            _ => {}
        }
        failed = written.is_err();
    }
}

fn append(path: &Path, text: &[u8]) -> Result<(), StoreError> {
    let opened = OpenOptions::new().append(true).create(true).open(path);
    opened.and_then(|mut file| file.write_all(text)).map_err(StoreError::at("write", path))
}

fn line(request: &Request) -> Vec<u8> {
    // Our own struct always has a JSON form.
    let mut line = serde_json::to_vec(request).unwrap_or_default();
    line.push(b'\n');
    line
}

fn read(path: &Path) -> Kept {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            if error.kind() != ErrorKind::NotFound {
                tracing::warn!(path = %path.display(), %error, "the history of requests is not read");
            }
            return Kept::default();
        }
    };
    let mut kept = Kept::default();
    let (mut lines, mut damaged) = (0, 0_usize);
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        match serde_json::from_slice(line) {
            Ok(request) if line.ends_with(b"\n") => kept.push(request),
            _ => damaged += 1,
        }
        lines += 1;
    }
    if damaged > 0 {
        tracing::warn!(path = %path.display(), damaged, "passing over damaged lines of the history of requests");
    }
    kept.written = kept.noted;
    kept.lines = Some(lines).filter(|_| damaged == 0);
    kept
}

#[cfg(test)]
mod tests;
