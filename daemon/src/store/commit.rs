//! Publication: a name appears only with its whole, synced content.
//!
//! Everything is written under a unique name in the directory it will live in (or beside it), then
//! synced, renamed, and the directory is synced. Unique names keep this right even where `flock`
//! lies; a crash leaves the old state or the new one, and at most a staging name that nobody reads.

use super::owner;
use super::places::relative;
use crate::failpoint;
use std::error::Error;
use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// A publication that failed, with the place.
#[derive(Debug, thiserror::Error)]
#[error("failed to {attempt} `{path}`")]
pub struct StoreError {
    /// What was attempted.
    pub attempt: &'static str,
    /// On what.
    pub path: PathBuf,
    /// Why it failed.
    pub source: std::io::Error,
}

impl StoreError {
    /// Wraps an I/O error with what was attempted on what.
    pub fn at(attempt: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self { attempt, path, source }
    }
}

/// A named place within a change of the disk: see [`failpoint`].
///
/// # Errors
/// The refusal that a test asked for, as a failure to `attempt` on `path`.
pub fn step(name: &'static str, attempt: &'static str, path: &Path) -> Result<(), StoreError> {
    failpoint::hit(name).map_err(|source| StoreError { attempt, path: path.to_owned(), source })
}

/// What disks refuse with, in the words of errno(3), which uv and git say too, and what helps.
const REMEDIES: [(&str, &str); 6] = [
    (
        "No space left on device",
        "free some space there, or name a place on another disk; what is done already is kept",
    ),
    ("Disk quota exceeded", "free some space there, or have the quota raised; what is done already is kept"),
    ("Read-only file system", "mount it writable, or name a place on another disk"),
    ("Permission denied", "let the user that comfyd runs as write there, or name another place"),
    ("Operation not permitted", "let the user that comfyd runs as write there, or name another place"),
    (
        "Input/output error",
        "the disk or its network fails, and the kernel's log says more; try again when it works",
    ),
];

/// Returns what helps where a disk refused, as the error or one of its causes says.
pub fn disk_remedy(error: &dyn Error) -> Option<&'static str> {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        text.push_str(&error.to_string());
        cause = error.source();
    }
    REMEDIES.iter().find(|(words, _)| text.contains(words)).map(|(_, remedy)| *remedy)
}

/// Marks names that are not published: readers skip them, restarts remove them. The process that made one
/// follows, as [`owner::token`] writes it, and `-`.
pub const STAGING: &str = ".comfyd-staging-";

/// Bytes that a file name may have: `NAME_MAX`, limits.h.
const NAME_MAX: usize = 255;

/// Returns a fresh unpublished name beside `path`, unique across processes and hosts. Only this makes such
/// names; what a killed process left under one is known by it: see [`super::sweep`].
pub fn staging_path(path: &Path) -> PathBuf {
    static NONCE: OnceLock<u32> = OnceLock::new();
    static LAST: AtomicU64 = AtomicU64::new(0);
    // Tells processes apart where nothing tells when they started.
    let nonce = NONCE.get_or_init(|| uuid::Uuid::new_v4().as_fields().0);
    let number = LAST.fetch_add(1, Ordering::Relaxed);
    let mut staging = format!("{STAGING}{}-{nonce:08x}{number}-", owner::token());
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // The end is what people know a model by.
    let mut from = name.len().saturating_sub(NAME_MAX - staging.len());
    while !name.is_char_boundary(from) {
        from += 1;
    }
    staging.push_str(&name[from..]);
    path.with_file_name(staging)
}

/// Creates a directory and its parents, each durably: what is published in it is not lost with its name.
/// Blocks.
pub fn create_dir_all(path: &Path) -> Result<(), StoreError> {
    let missing = path.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && !dir.is_dir()).count();
    std::fs::create_dir_all(path).map_err(StoreError::at("create the directory", path))?;
    path.ancestors().take(missing).try_for_each(sync_parent)
}

/// Replaces a small file of comfyd's own as a whole: old content or new, never a mixture. Creates parents. Blocks.
pub fn write_file(path: &Path, content: &[u8]) -> Result<(), StoreError> {
    if let Some(parent) = path.parent() {
        create_dir_all(parent)?;
    }
    replace_file(path, content, true)
}

/// Replaces a small file as a whole, in a directory that must exist. Readers see the old content or the
/// new; a directory that has its name is removed. Unless `durable`, nothing is synced: a crash of the machine, not of the process, may lose it.
/// For what is rewritten many times a second. Blocks.
pub fn replace_file(path: &Path, content: &[u8], durable: bool) -> Result<(), StoreError> {
    let staging = staging_path(path);
    let written = if durable { write_and_sync(&staging, content) } else { std::fs::write(&staging, content) };
    let written = written.map_err(StoreError::at("write", &staging));
    let put = || if durable { publish(&staging, path) } else { rename("commit.replace", &staging, path) };
    let renamed = written.and_then(|()| match put() {
        Err(error) if error.source.kind() == ErrorKind::IsADirectory => {
            tracing::warn!(path = %path.display(), "removing a directory in a file's place");
            remove_dir(path)?;
            put()
        }
        put => put,
    });
    if renamed.is_err() {
        // Best effort: the error that matters is the one above.
        std::fs::remove_file(&staging).ok();
    }
    renamed
}

/// Gives a small file its name, whole, unless that name is taken. Returns whether it did: of many who try,
/// one does, on network volumes too. Nothing is synced. Blocks.
///
/// # Errors
/// Also where the filesystem has no hard links.
pub fn create_file(path: &Path, content: &[u8]) -> Result<bool, StoreError> {
    let staging = staging_path(path);
    let written = std::fs::write(&staging, content).map_err(StoreError::at("write", &staging));
    let created = written.and_then(|()| match std::fs::hard_link(&staging, path) {
        // A server that got the request twice refuses the second, and the file has both names all the same.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            Ok(std::fs::metadata(&staging).is_ok_and(|metadata| metadata.nlink() == 2))
        }
        linked => linked.map(|()| true).map_err(StoreError::at("create", path)),
    });
    std::fs::remove_file(&staging).ok();
    created
}

/// Gives a finished file a name that nothing has; returns whether it has it now. The content must have been
/// synced. Where the filesystem knows no hard links, the name is held by an empty file for a moment. Blocks.
///
/// # Errors
/// When the disk refuses.
pub fn publish_new(staging: &Path, path: &Path) -> Result<bool, StoreError> {
    step("commit.rename", "publish", path)?;
    match std::fs::hard_link(staging, path) {
        Ok(()) => {
            // Both names are one file: what stays is swept.
            std::fs::remove_file(staging).ok();
            sync_parent(path).map(|()| true)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(_) => match File::create_new(path) {
            Ok(_) => publish(staging, path).map(|()| true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(StoreError::at("create", path)(error)),
        },
    }
}

/// Gives a directory that holds something its name, if no other one that holds something has it.
/// Returns whether this one got it: of many who try, one does, on network volumes too, for `rename(2)`
/// refuses to replace a directory that is not empty. Blocks.
pub fn claim_dir(staging: &Path, path: &Path) -> Result<bool, StoreError> {
    match rename("commit.rename", staging, path) {
        Ok(()) => Ok(true),
        Err(error) if error.source.kind() == ErrorKind::DirectoryNotEmpty => Ok(false),
        // The other of the two codes that POSIX allows here.
        Err(error) if error.source.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// Publishes a finished directory, unless its name is taken; returns whether it has it now. The content must
/// have been synced. Of many who try, one gets it. Blocks.
pub fn publish_dir(staging: &Path, path: &Path) -> Result<bool, StoreError> {
    match claim_dir(staging, path) {
        Ok(true) => sync_parent(path).map(|()| true),
        // A file, or a link, has the name.
        Err(error) if error.source.kind() == ErrorKind::NotADirectory => Ok(false),
        other => other,
    }
}

/// Removes a directory that others may be looking at: its name is free at once, its content goes after
/// that. One that is gone already is fine. Blocks.
pub fn remove_dir(path: &Path) -> Result<(), StoreError> {
    let staging = StagingDir::beside(path);
    match rename("commit.rename", path, staging.path()) {
        Err(error) if error.source.kind() != ErrorKind::NotFound => Err(error),
        _ => step("commit.remove", "remove", path),
    }
}

fn write_and_sync(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut file = File::create_new(path)?;
    failpoint::hit("commit.write")?;
    file.write_all(content)?;
    failpoint::hit("commit.sync")?;
    file.sync_all()
}

/// Gives a finished file or directory its final name. The content must have been synced. Blocks.
pub fn publish(staging: &Path, path: &Path) -> Result<(), StoreError> {
    rename("commit.rename", staging, path)?;
    sync_parent(path)
}

#[allow(clippy::disallowed_methods, reason = "this is the one place that renames")]
fn rename(place: &'static str, from: &Path, to: &Path) -> Result<(), StoreError> {
    step(place, "publish", to)?;
    std::fs::rename(from, to).map_err(StoreError::at("publish", to))
}

/// Makes `link` a symbolic link to `target`, replacing an earlier link in one step. Blocks.
pub fn symlink(target: &Path, link: &Path) -> Result<(), StoreError> {
    if let Some(parent) = link.parent() {
        create_dir_all(parent)?;
    }
    let staging = staging_path(link);
    std::os::unix::fs::symlink(target, &staging).map_err(StoreError::at("link", link))?;
    publish(&staging, link)
}

/// A second name of a file, made but not yet published. Dropping it gives it up.
#[derive(Debug)]
pub struct SecondName {
    staging: PathBuf,
    path: PathBuf,
}

impl SecondName {
    /// Makes a second name for the file that `from` leads to: a hard link, or a symbolic one where the
    /// filesystem is another or knows no hard links. Within `volume` a symbolic link is relative, since
    /// a volume has two mount points. Blocks.
    ///
    /// # Errors
    /// When there is no such file, or the disk refuses.
    pub fn of(from: &Path, to: &Path, volume: Option<&Path>) -> Result<Self, StoreError> {
        if let Some(parent) = to.parent() {
            create_dir_all(parent)?;
        }
        let staging = staging_path(to);
        let real = from.canonicalize().map_err(StoreError::at("read", from))?;
        if std::fs::hard_link(&real, &staging).is_err() {
            let parent = to.parent().unwrap_or(Path::new("/"));
            let parent = parent.canonicalize().map_err(StoreError::at("read", parent))?;
            let volume = volume.and_then(|volume| volume.canonicalize().ok());
            let is_inside = volume.is_some_and(|dir| real.starts_with(&dir) && parent.starts_with(&dir));
            let target = if is_inside { relative(&parent, &real) } else { real };
            std::os::unix::fs::symlink(&target, &staging).map_err(StoreError::at("link", to))?;
        }
        Ok(Self { staging, path: to.to_owned() })
    }

    /// Publishes the name, replacing an earlier file. Blocks, for long where whoever wrote the file did so just
    /// now and synced nothing.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn publish(self) -> Result<(), StoreError> {
        step("commit.second-name", "publish", &self.path)?;
        // What a symbolic one leads to is not ours.
        if self.staging.symlink_metadata().is_ok_and(|found| found.is_file()) {
            sync_file(&self.staging)?;
        }
        publish(&self.staging, &self.path)
    }
}

impl Drop for SecondName {
    fn drop(&mut self) {
        // `rename` leaves both names where they are links of one file: then this one goes, too.
        std::fs::remove_file(&self.staging).ok();
    }
}

/// A directory that is removed unless it was published. Dropping it blocks.
#[derive(Debug)]
pub struct StagingDir(PathBuf);

impl StagingDir {
    /// Takes a fresh unpublished name beside `path`; nothing is created.
    pub fn beside(path: &Path) -> Self {
        Self(staging_path(path))
    }

    /// Returns the name.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for StagingDir {
    fn drop(&mut self) {
        // Gone after a publication; what resists now is swept later.
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// Syncs a whole tree: every file's data, then the directories. Blocks.
pub fn sync_tree(root: &Path) -> Result<(), StoreError> {
    // One syncfs is cheaper than tens of thousands of fsyncs and covers the same files.
    let dir = File::open(root).map_err(StoreError::at("open", root))?;
    nix::unistd::syncfs(&dir).map_err(|errno| StoreError::at("sync", root)(errno.into()))
}

/// Syncs a small tree file by file, so that nobody waits for what others are writing. Blocks.
pub fn sync_small_tree(root: &Path) -> Result<(), StoreError> {
    for entry in std::fs::read_dir(root).map_err(StoreError::at("read the directory", root))? {
        let entry = entry.map_err(StoreError::at("read the directory", root))?;
        let path = entry.path();
        match entry.file_type().map_err(StoreError::at("read", &path))? {
            kind if kind.is_dir() => sync_small_tree(&path)?,
            kind if kind.is_file() => sync_file(&path)?,
            _ => {}
        }
    }
    sync_file(root)
}

/// Syncs one file's content, or a directory's names. Blocks.
pub fn sync_file(path: &Path) -> Result<(), StoreError> {
    let file = File::open(path).map_err(StoreError::at("open", path))?;
    file.sync_all().map_err(StoreError::at("sync", path))
}

/// Removes a file for good, if it is there: no power loss brings it back. Blocks.
pub fn remove_file(path: &Path) -> Result<(), StoreError> {
    match std::fs::remove_file(path) {
        Ok(()) => sync_parent(path),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(StoreError::at("remove", path)(error)),
    }
}

fn sync_parent(path: &Path) -> Result<(), StoreError> {
    let Some(parent) = path.parent() else { return Ok(()) };
    // A relative name of one step lies in the working directory.
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    step("commit.sync-dir", "sync", parent)?;
    sync_file(parent)
}

#[cfg(test)]
mod tests;
