//! Processes that a daemon before this one left behind when it was killed.

use super::Supervisor;
use super::log;
use super::record::{self, Record};
use super::running::{Running, home};
use super::state::Loaded;
use crate::comfy::Comfy;
use crate::ctx::blocking;
use crate::process::{Birth, GRACE, Process, marked};
use crate::store::commit::step;
use crate::store::uses::Use;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long the adopted may take to answer before the daemon serves without them; they are looked at on.
const ANSWER: Duration = Duration::from_secs(1);

/// Marks the processes of a daemon: its socket. A process is started before it can be recorded, and a record may
/// be lost.
pub(super) const MARK: &str = "COMFYD_STARTED_BY";

impl Supervisor {
    /// Takes over what a killed daemon of the same socket left running. To be called once, before anything
    /// is started: then a caller finds it and starts nothing beside it. Takes a second at most.
    pub async fn adopt(&self) {
        let (state_dir, socket) = (self.shared.places.state_dir.clone(), self.shared.places.socket.clone());
        let (found, strays) = blocking(move || {
            let found = records(&state_dir, &socket);
            let strays = strays(&socket, &found);
            (found, strays)
        })
        .await;
        for stray in strays {
            self.end(&stray);
        }
        let found = futures_util::future::join_all(found.into_iter().map(|(log, record)| async {
            let running = running(log, record).await?;
            let answers = tokio::time::timeout(ANSWER, running.comfy.is_ready()).await.unwrap_or(false);
            Some((running, answers))
        }));
        for (running, answers) in found.await.into_iter().flatten() {
            let home = running.record.home.clone();
            let path = running.log.clone();
            let start = blocking(move || Loaded::read(&path, 0)).await;
            let handle = self.own(|owner| owner.with(running, answers.then_some(start)));
            self.lock().insert(home, handle);
        }
    }

    /// Ends a process that nobody can use: where it listens is not known.
    fn end(&self, stray: &Birth) {
        match Process::adopt(stray) {
            Ok(Some(process)) => {
                tracing::warn!(pid = stray.pid, "ending a ComfyUI process that no record names");
                self.shared.tasks.spawn(process.stop(GRACE));
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(pid = stray.pid, %error, "a ComfyUI process is left alone"),
        }
    }
}

/// Returns the processes of a socket's daemons that no record names. What ComfyUI itself started has other
/// arguments, or is in its group. Blocks.
fn strays(socket: &Path, found: &[(PathBuf, Record)]) -> Vec<Birth> {
    let is_known = |birth: &Birth| found.iter().any(|(_, record)| record.birth == *birth);
    let marked = marked(MARK, &socket.display().to_string(), Some("ComfyUI/main.py"));
    marked.into_iter().filter(|birth| !is_known(birth)).collect()
}

/// Returns the records of a socket's daemons, with the logs they belong to. Blocks.
fn records(state_dir: &Path, socket: &Path) -> Vec<(PathBuf, Record)> {
    let dirs = std::fs::read_dir(log::root(state_dir)).into_iter().flatten().flatten();
    let read = |dir: std::fs::DirEntry| {
        let log = log::in_dir(&dir.path());
        let record = Record::read(&record::path(&log))?;
        (record.socket == socket).then_some((log, record))
    };
    dirs.filter_map(read).collect()
}

/// Takes over the process of a record; removes the record if there is none any more.
async fn running(log: PathBuf, record: Record) -> Option<Running> {
    let pid = record.birth.pid;
    step("instance.adopt", "adopt", &log).ok()?;
    // First, since a process that is owned and dropped is ended. A URL that a daemon wrote is one.
    let comfy = Comfy::new(&record.url).ok()?;
    let process = match Process::adopt(&record.birth) {
        Ok(Some(process)) => process,
        Ok(None) => {
            blocking(move || record::remove(&log)).await;
            return None;
        }
        Err(error) => {
            tracing::warn!(pid, %error, "a ComfyUI process of an earlier daemon is left alone");
            return None;
        }
    };
    tracing::info!(version = %record.version_id, pid, url = record.url, "adopted ComfyUI");
    let (root, generation) = (record.home.clone(), record.identity.generation.clone());
    let generation_use = blocking(move || Use::take(&home(&root), &generation, pid)).await;
    Some(Running {
        process,
        record,
        comfy,
        log,
        log_start: 0,
        adopted: true,
        restarts: 0,
        generation_use,
        patience: Duration::MAX,
        recording: None,
    })
}
