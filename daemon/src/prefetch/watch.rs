//! Notices new and edited specs in the versions directory.
//!
//! The directory is looked at when the kernel tells of a change (inotify), a moment after the last of a burst, and
//! every half a minute in any case: of what other machines do on a network volume the kernel tells nothing. An edit
//! is another content, whatever its times are. What was seen is kept in the state directory, by version: the
//! first daemon ever takes all specs that it finds as seen, later ones tell what came while none ran. A spec that went
//! away stays seen, so that a volume that comes late, or is away for a while, is no news.

use crate::config::Config;
use crate::ctx::blocking;
use crate::store::inspect::Stamp;
use crate::store::{digest, read_json, specs, write_json};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use proto::VersionId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Time between two looks where the kernel tells nothing.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// A burst of changes is over when nothing changes for this long: editors and `git` take several steps.
const QUIET: Duration = Duration::from_millis(300);

/// A burst that does not end is looked at after this.
const LONGEST_BURST: Duration = Duration::from_secs(3);

/// Larger files are no specs.
const LARGEST: u64 = 4 << 20;

/// Versions that are remembered as seen; beyond it those whose specs went away are forgotten.
const MOST: usize = 4096;

/// The form of what is kept.
const SCHEMA_VERSION: u32 = 1;

/// A spec that is new, or says something else than before, and has no errors.
#[derive(Debug)]
pub struct News {
    /// Its version.
    pub version_id: VersionId,
    /// Its file.
    pub path: PathBuf,
    content: String,
    settled: mpsc::UnboundedSender<(VersionId, String)>,
}

impl News {
    /// Says that what had to be done about it is done. One that is dropped instead is told again by the next
    /// daemon. Never waits.
    pub fn settle(self) {
        // Gone only when the daemon stops: then the next one tells it again, which does no harm.
        self.settled.send((self.version_id, self.content)).ok();
    }
}

/// Watches the versions directory until `stop` is cancelled, by a task of `tasks`, and returns where its news
/// come. What was seen is kept in the file `seen`. Must be called within a runtime.
pub fn start(
    config: &Config,
    seen: PathBuf,
    tasks: &TaskTracker,
    stop: CancellationToken,
) -> mpsc::Receiver<News> {
    let (sender, news) = mpsc::channel(16);
    let specs = Specs::new(config.versions_dir.clone(), seen);
    tasks.spawn(async move { stop.run_until_cancelled(watch(specs, sender)).await });
    news
}

/// Looks, tells, waits; ends when nobody listens any more.
async fn watch(mut specs: Specs, news: mpsc::Sender<News>) {
    let (settled, mut settlements) = mpsc::unbounded_channel();
    let kernel = Kernel::new();
    loop {
        let (mut looking, inotify) = (specs, kernel.as_ref().map(|kernel| Arc::clone(&kernel.inotify)));
        let found;
        (specs, found) = blocking(move || {
            // Before the look: what comes after it is heard.
            looking.hear_of(inotify.as_deref());
            let found = looking.look();
            (looking, found)
        })
        .await;
        for (version_id, path, content) in found {
            let told = News { version_id, path, content, settled: settled.clone() };
            if news.send(told).await.is_err() {
                return;
            }
        }
        tokio::select! {
            () = burst(kernel.as_ref()) => specs.stamps.clear(),
            () = sleep(LOOK_EVERY) => {}
            Some((version_id, content)) = settlements.recv() => {
                specs = blocking(move || specs.settle(version_id, content)).await;
            }
        }
    }
}

/// Ends a moment after the last change of a burst; never where the kernel tells nothing.
async fn burst(kernel: Option<&Kernel>) {
    let Some(kernel) = kernel else { return std::future::pending().await };
    kernel.change().await;
    let latest = Instant::now() + LONGEST_BURST;
    while timeout_at(latest.min(Instant::now() + QUIET), kernel.change()).await.is_ok() {}
}

/// What the kernel tells of changes.
struct Kernel {
    inotify: Arc<Inotify>,
    readable: AsyncFd<OwnedFd>,
}

impl Kernel {
    /// Returns none where the kernel refuses, as it does when this user has too many of these.
    fn new() -> Option<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).map_err(Into::into);
        let made = inotify.and_then(|inotify| {
            let readable = inotify.as_fd().try_clone_to_owned()?;
            #[allow(deprecated, reason = "nothing here is unsafe")]
            let readable = AsyncFd::with_interest(readable, Interest::READABLE)?;
            Ok(Self { inotify: Arc::new(inotify), readable })
        });
        made.inspect_err(|error: &std::io::Error| tracing::debug!(%error, "specs are polled only")).ok()
    }

    /// Waits until a spec, or the directory itself, changes. Cancel-safe.
    async fn change(&self) {
        loop {
            let Ok(mut ready) = self.readable.readable().await else { return std::future::pending().await };
            match self.inotify.read_events() {
                Ok(events) if events.iter().any(|event| event.name.as_deref().is_none_or(is_spec)) => return,
                Ok(_) => {}
                Err(_) => ready.clear_ready(),
            }
        }
    }
}

fn is_spec(name: &OsStr) -> bool {
    specs::is_spec(Path::new(name))
}

/// What is kept on the disk.
#[derive(Debug, Serialize, Deserialize)]
struct Seen {
    schema_version: u32,
    /// Where the specs lie: those of another directory are others.
    dir: PathBuf,
    /// Digests of the contents.
    specs: BTreeMap<VersionId, String>,
}

/// The versions directory, and what was seen of it.
struct Specs {
    dir: PathBuf,
    file: PathBuf,
    /// None until the directory was there once.
    seen: Option<Seen>,
    /// What this daemon told and nobody settled.
    told: BTreeMap<VersionId, String>,
    /// How files looked whose content is known.
    stamps: BTreeMap<PathBuf, Stamp>,
    watched: Option<WatchDescriptor>,
}

impl Specs {
    fn new(dir: PathBuf, file: PathBuf) -> Self {
        Self { dir, file, seen: None, told: BTreeMap::new(), stamps: BTreeMap::new(), watched: None }
    }

    /// Has the kernel tell of changes of the directory that has the name now. Blocks.
    fn hear_of(&mut self, inotify: Option<&Inotify>) {
        let Some(inotify) = inotify else { return };
        let what = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_ONLYDIR;
        let added = inotify.add_watch(&self.dir, what).ok();
        if let Some(before) = self.watched.filter(|before| Some(*before) != added) {
            // Gone by itself where the directory is.
            inotify.rm_watch(before).ok();
        }
        self.watched = added;
    }

    /// Returns what is new since the last look: version, file, digest of the content. Blocks.
    fn look(&mut self) -> Vec<(VersionId, PathBuf, String)> {
        // Absent, or a volume that does not answer: nothing is known, and nothing forgotten.
        let Ok(files) = specs::in_dir(&self.dir) else { return Vec::new() };
        let mut contents = Vec::new();
        for (version_id, path) in files {
            let Some(stamp) = stamp(&path) else { continue };
            if self.stamps.insert(path.clone(), stamp) == Some(stamp) {
                continue;
            }
            if let Ok(bytes) = std::fs::read(&path) {
                contents.push((version_id, path, String::from_utf8_lossy(&bytes).into_owned()));
            }
        }
        if self.seen.is_none() && !self.recall() {
            let seen = contents.iter().map(|(id, _, text)| (id.clone(), digest(text))).collect();
            self.seen = Some(Seen { schema_version: SCHEMA_VERSION, dir: self.dir.clone(), specs: seen });
            self.keep();
            return Vec::new();
        }
        contents.into_iter().filter_map(|(id, path, text)| self.news(id, path, &text)).collect()
    }

    /// Returns a spec if it says something that was neither seen nor told.
    fn news(&mut self, id: VersionId, path: PathBuf, text: &str) -> Option<(VersionId, PathBuf, String)> {
        let content = digest(&text);
        if self.seen.as_ref().and_then(|seen| seen.specs.get(&id)) == Some(&content) {
            self.told.remove(&id);
            return None;
        }
        if self.told.get(&id) == Some(&content) {
            return None;
        }
        // One that is being written has errors for a moment; with the last of them gone it is another content.
        proto::spec::parse(text, &path.display().to_string(), id.as_str()).spec?;
        self.told.insert(id.clone(), content.clone());
        Some((id, path, content))
    }

    /// Takes what a daemon kept; returns whether there was something of this directory. Blocks.
    fn recall(&mut self) -> bool {
        let kept = read_json::<Seen>(&self.file);
        let kept = kept.inspect_err(|error| tracing::warn!(%error, "which specs were seen is not known"));
        let kept = kept.ok().flatten();
        self.seen = kept.filter(|seen| seen.schema_version == SCHEMA_VERSION && seen.dir == self.dir);
        self.seen.is_some()
    }

    /// Takes a content as seen. Blocks.
    fn settle(mut self, version_id: VersionId, content: String) -> Self {
        let Some(seen) = &mut self.seen else { return self };
        seen.specs.insert(version_id, content);
        if seen.specs.len() > MOST
            && let Ok(present) = specs::in_dir(&self.dir)
        {
            seen.specs.retain(|id, _| present.contains_key(id));
        }
        self.keep();
        self
    }

    fn keep(&self) {
        if let Err(error) = write_json(&self.file, &self.seen) {
            tracing::warn!(%error, "which specs were seen is not kept: the next daemon may tell them again");
        }
    }
}

/// Looks at a file, and through the name where it is a link; none for what cannot be a spec. Blocks.
fn stamp(path: &Path) -> Option<Stamp> {
    let found = std::fs::metadata(path).ok().filter(|found| found.is_file() && found.len() <= LARGEST)?;
    Some(Stamp::of(&found))
}

#[cfg(test)]
mod tests;
