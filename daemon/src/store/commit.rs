//! Publication: a name appears only with its whole, synced content.
//!
//! Everything is written under a unique name in the directory it will live in (or beside it), then
//! synced, renamed, and the directory is synced. Unique names keep this right even where `flock`
//! lies; a crash leaves the old state or the new one, and at most a staging name that nobody reads.

use super::owner::{self, Maker};
use super::places::relative;
use crate::failpoint;
use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

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

/// Marks names that are not published: readers skip them, restarts remove them. The process that made one
/// follows, as [`owner::token`] writes it, and `-`.
pub const STAGING: &str = ".comfyd-staging-";

/// Bytes that a file name may have: `NAME_MAX`, limits.h.
const NAME_MAX: usize = 255;

/// Returns a fresh unpublished name beside `path`, unique across processes and hosts. Only this makes such
/// names; what a killed process left under one is known by it, see [`sweep`].
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

/// Creates a directory and its parents. Blocks.
pub fn create_dir_all(path: &Path) -> Result<(), StoreError> {
    std::fs::create_dir_all(path).map_err(StoreError::at("create the directory", path))
}

/// Replaces a small file of comfyd's own as a whole: old content or new, never a mixture. Creates parents, and
/// removes a directory that has its name. Blocks.
pub fn write_file(path: &Path, content: &[u8]) -> Result<(), StoreError> {
    if let Some(parent) = path.parent() {
        create_dir_all(parent)?;
    }
    if path.symlink_metadata().is_ok_and(|found| found.is_dir()) {
        tracing::warn!(path = %path.display(), "removing a directory in a file's place");
        remove_dir(path)?;
    }
    replace_file(path, content, true)
}

/// Replaces a small file as a whole, in a directory that must exist. Readers see the old content or the
/// new. Unless `durable`, nothing is synced: a crash of the machine, not of the process, may lose it.
/// For what is rewritten many times a second. Blocks.
pub fn replace_file(path: &Path, content: &[u8], durable: bool) -> Result<(), StoreError> {
    let staging = staging_path(path);
    let written = if durable { write_and_sync(&staging, content) } else { std::fs::write(&staging, content) };
    let written = written.map_err(StoreError::at("write", &staging));
    let renamed = written.and_then(|()| {
        if durable { publish(&staging, path) } else { rename("commit.replace", &staging, path) }
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

    /// Publishes the name, replacing an earlier file. Blocks.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn publish(self) -> Result<(), StoreError> {
        step("commit.second-name", "publish", &self.path)?;
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

/// An unfinished thing of someone who cannot be seen from here is nobody's after this.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

/// Removes what killed processes left unfinished in a directory: at once what a process of this machine
/// left, after a day what someone unseen did. What a living process of this machine makes stays. Best effort, for
/// it costs space only. Blocks.
pub fn sweep(dir: &Path) {
    let mut now = None;
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(STAGING)) else { continue };
        let path = entry.path();
        let is_left = match owner::maker(rest.split('-').next().unwrap_or_default()) {
            Maker::Ended => true,
            Maker::Lives => false,
            Maker::Unseen => {
                let modified = entry.metadata().and_then(|metadata| metadata.modified()).ok();
                let now = *now.get_or_insert_with(|| volume_time(dir));
                let age = now.zip(modified).and_then(|(now, modified)| now.duration_since(modified).ok());
                age.is_some_and(|age| age > ABANDONED)
            }
        };
        if is_left && let Err(error) = std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir_all(&path))
        {
            tracing::debug!(path = %path.display(), %error, "cannot remove what a killed process left");
        }
    }
}

/// Returns the time by the clock that stamps the files of a directory, which on a network volume is not this
/// machine's: ages of what others made are told by one clock.
fn volume_time(dir: &Path) -> Option<SystemTime> {
    let probe = staging_path(&dir.join("clock"));
    let made = File::create_new(&probe).and_then(|file| file.metadata()?.modified());
    std::fs::remove_file(&probe).ok();
    made.ok()
}

/// Syncs a whole tree: every file's data, then the directories. Blocks.
pub fn sync_tree(root: &Path) -> Result<(), StoreError> {
    // One syncfs is cheaper than tens of thousands of fsyncs and covers the same files.
    let dir = File::open(root).map_err(StoreError::at("open", root))?;
    nix::unistd::syncfs(&dir).map_err(|errno| StoreError::at("sync", root)(errno.into()))
}

fn sync_parent(path: &Path) -> Result<(), StoreError> {
    let Some(parent) = path.parent() else { return Ok(()) };
    step("commit.sync-dir", "sync", parent)?;
    let dir = File::open(parent).map_err(StoreError::at("open", parent))?;
    dir.sync_all().map_err(StoreError::at("sync", parent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_file_replaces_the_old_one_and_leaves_no_staging() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b.json");
        write_file(&path, b"one").unwrap();
        write_file(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(dir.path().join("a")).unwrap().count(), 1);
    }

    #[test]
    fn a_file_is_replaced_only_in_a_directory_that_stands() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        for (text, durable) in [("one", false), ("two", true), ("three", false)] {
            replace_file(&path, text.as_bytes(), durable).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        assert!(replace_file(&dir.path().join("gone/a.json"), b"x", false).is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn of_many_who_claim_a_directory_one_gets_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("claim");
        let claims = std::thread::scope(|scope| {
            let claim = |name: usize| {
                let staging = staging_path(&path);
                std::fs::create_dir(&staging).unwrap();
                std::fs::write(staging.join("owner"), name.to_string()).unwrap();
                claim_dir(&staging, &path).unwrap()
            };
            let threads: Vec<_> = (0..8).map(|name| scope.spawn(move || claim(name))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        assert_eq!(claims.iter().filter(|claimed| **claimed).count(), 1);
        let owner = std::fs::read_to_string(path.join("owner")).unwrap();
        assert!(claims[owner.parse::<usize>().unwrap()]);
        remove_dir(&path).unwrap();
        remove_dir(&path).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_link_is_replaced_in_one_step() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("current");
        symlink(Path::new("one"), &link).unwrap();
        symlink(Path::new("two"), &link).unwrap();
        assert_eq!(std::fs::read_link(&link).unwrap(), Path::new("two"));
    }

    #[test]
    fn a_second_name_is_a_hard_link_that_leaves_no_staging() {
        let dir = tempfile::tempdir().unwrap();
        let [from, to] = ["one", "sub/two"].map(|name| dir.path().join(name));
        std::fs::write(&from, "x").unwrap();
        // The second time both names belong to one file already.
        for _ in 0..2 {
            SecondName::of(&from, &to, None).unwrap().publish().unwrap();
        }
        assert_eq!(std::fs::metadata(&to).unwrap().ino(), std::fs::metadata(&from).unwrap().ino());
        assert_eq!(std::fs::read_dir(dir.path().join("sub")).unwrap().count(), 1);
        drop(SecondName::of(&from, &to, None).unwrap());
        assert_eq!(std::fs::read_dir(dir.path().join("sub")).unwrap().count(), 1);
        assert!(SecondName::of(&dir.path().join("none"), &to, None).is_err());
    }

    #[test]
    fn what_ended_processes_left_is_swept_and_what_living_ones_make_stays() {
        let dir = tempfile::tempdir().unwrap();
        let mut gone = std::process::Command::new("true").spawn().unwrap();
        let ended = owner::token().replace(&format!(".{}.", std::process::id()), &format!(".{}.", gone.id()));
        gone.wait().unwrap();
        let named = |token: &str| dir.path().join(format!("{STAGING}{token}-1-x"));
        let [killed, foreign, old] = [&*ended, "0123456789abcdef.1.2", "0f3b"].map(named);
        let [mine, published] = [staging_path(&dir.path().join("x")), dir.path().join("x")];
        for path in [&killed, &foreign, &old, &mine, &published] {
            std::fs::create_dir(path).unwrap();
            std::fs::write(path.join("y"), "y").unwrap();
        }
        let long_ago = SystemTime::now() - 2 * ABANDONED;
        for path in [&old, &mine, &published] {
            File::open(path).unwrap().set_modified(long_ago).unwrap();
        }
        sweep(dir.path());
        let left = [&killed, &foreign, &old, &mine, &published].map(|path| path.exists());
        assert_eq!(left, [false, true, false, true, true]);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3, "nothing was added");
    }

    #[test]
    fn staging_names_are_valid_for_the_longest_names() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["x".repeat(255), "é".repeat(127)] {
            let path = dir.path().join(name);
            assert!(create_file(&path, b"x").unwrap());
            assert!(!create_file(&path, b"y").unwrap(), "it is taken");
            assert_eq!(std::fs::read(&path).unwrap(), b"x");
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn an_error_names_the_thing_and_the_place() {
        let error = write_file(Path::new("/proc/nothing/x"), b"").unwrap_err();
        assert!(error.to_string().contains("/proc/nothing"), "{error}");
    }
}
