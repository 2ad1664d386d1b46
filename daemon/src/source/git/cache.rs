//! One bare repository per link, holding the pinned commits at depth 1. It is only a cache: what does
//! not work in it is thrown away.
//!
//! A commit counts as cached when `refs/comfyd/pin/<id>` names it; that ref is written after its pack.
//! Refs are also what gix tells servers that it has, so a second commit costs only its difference.

use super::error::GitError;
use super::settings::Settings;
use super::url::RepoUrl;
use super::weight::{self, Unweighed};
use crate::store::commit::{StagingDir, StoreError, create_dir_all, publish, staging_path, step};
use crate::store::file_lock::FileLock;
use crate::store::sweep::sweep;
use gix::ObjectId;
use proto::CommitId;
use std::path::{Path, PathBuf};

/// The directory of all object caches.
#[derive(Debug)]
pub(super) struct Cache {
    dir: PathBuf,
    settings: Settings,
}

impl Cache {
    pub(super) fn new(dir: PathBuf, settings: Settings) -> Self {
        Self { dir, settings }
    }

    /// Returns the lock file of a repository: gix fails where two fetch into one.
    pub(super) fn lock_path(&self, url: &RepoUrl) -> PathBuf {
        self.lock_of(&url.cache_name())
    }

    /// Removes what killed fetches left in the caches that nobody fetches into now. Best effort. Blocks.
    pub(super) fn sweep_all(&self) {
        for entry in std::fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let path = entry.path();
            // A bare repository, and nothing else in here, has one.
            if !path.join("HEAD").is_file() {
                continue;
            }
            if let Ok(Some(_lock)) = FileLock::try_take(&self.lock_of(&entry.file_name().to_string_lossy())) {
                sweep_repository(&path);
            }
        }
    }

    /// Returns the lock file of a repository's Git LFS files while they are fetched.
    pub(super) fn lfs_lock_path(&self, url: &RepoUrl) -> PathBuf {
        self.lock_of(&format!("{}.lfs", url.cache_name()))
    }

    fn lock_of(&self, name: &str) -> PathBuf {
        self.dir.join("locks").join(format!("{name}.lock"))
    }

    /// Returns the directory of Git LFS objects, which all repositories share.
    pub(super) fn lfs_dir(&self) -> PathBuf {
        self.dir.join("lfs")
    }

    /// Opens the cache of a repository; `None` when there is none. Blocks.
    pub(super) fn open(&self, url: &RepoUrl) -> Result<Option<gix::Repository>, GitError> {
        let path = self.path(url);
        if !path.exists() {
            return Ok(None);
        }
        let options = gix::open::Options::isolated()
            .open_path_as_is(true)
            // Several users may share a volume; what is in here is checked by its hash.
            .with(gix::sec::Trust::Full);
        let opened = options.open(path).map_err(GitError::cache("open", url.shown()))?;
        Ok(Some(opened.to_thread_local()))
    }

    /// Opens the cache of a repository, made anew where it is absent or broken, ready to
    /// connect. Blocks.
    pub(super) fn open_or_create(&self, url: &RepoUrl) -> Result<gix::Repository, GitError> {
        let mut repo = match self.open(url) {
            Ok(Some(repo)) => repo,
            Ok(None) => self.create(url)?,
            Err(_) => {
                self.discard(url)?;
                self.create(url)?
            }
        };
        self.settings.apply(&mut repo)?;
        Ok(repo)
    }

    /// Opens the cache of a repository for fetching into it. Call it with the lock held. Blocks.
    pub(super) fn open_for_fetch(&self, url: &RepoUrl) -> Result<gix::Repository, GitError> {
        sweep_repository(&self.path(url));
        sweep(&self.dir);
        let repo = self.open_or_create(url)?;
        if is_sound(&repo) {
            return Ok(repo);
        }
        tracing::warn!(path = %repo.path().display(), "a git cache is damaged: it is thrown away");
        self.discard(url)?;
        self.open_or_create(url)
    }

    /// Makes an empty repository that reaches its host as the caches do, and that goes with the directory that is
    /// returned. Blocks.
    pub(super) fn scratch(&self, url: &RepoUrl) -> Result<(StagingDir, gix::Repository), GitError> {
        create_dir_all(&self.dir)?;
        let dir = StagingDir::beside(&self.path(url));
        let (kind, options) = (gix::create::Kind::Bare, gix::create::Options::default());
        let made =
            gix::ThreadSafeRepository::init_opts(dir.path(), kind, options, gix::open::Options::isolated());
        let made = made.map_err(GitError::cache_at("create", url.shown(), dir.path()))?;
        let mut repo = made.to_thread_local();
        self.settings.apply(&mut repo)?;
        Ok((dir, repo))
    }

    fn create(&self, url: &RepoUrl) -> Result<gix::Repository, GitError> {
        create_dir_all(&self.dir)?;
        let path = self.path(url);
        let staging = staging_path(&path);
        let (kind, options) = (gix::create::Kind::Bare, gix::create::Options::default());
        gix::ThreadSafeRepository::init_opts(&staging, kind, options, gix::open::Options::isolated())
            .map_err(GitError::cache_at("create", url.shown(), &path))?;
        // Not synced: without a pin it holds nothing, and one in pieces is thrown away.
        let published = step("git.create", "create", &path).and_then(|()| publish(&staging, &path));
        if published.is_err() {
            std::fs::remove_dir_all(&staging).ok();
        }
        match self.open(url)? {
            // Also where someone else has made it meanwhile, which is as good.
            Some(repo) => Ok(repo),
            None => Err(published.err().unwrap_or_else(|| vanished(&path)).into()),
        }
    }

    /// Throws the cache of a repository away. Readers that have it open are not disturbed. Blocks.
    pub(super) fn discard(&self, url: &RepoUrl) -> Result<(), GitError> {
        let path = self.path(url);
        let doomed = staging_path(&path);
        match publish(&path, &doomed).and_then(|()| step("git.discard", "remove", &doomed)) {
            Err(error) if error.source.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            // What cannot be deleted costs space only: nobody looks at that name again.
            _ => std::fs::remove_dir_all(doomed).ok(),
        };
        Ok(())
    }

    fn path(&self, url: &RepoUrl) -> PathBuf {
        self.dir.join(url.cache_name())
    }
}

/// Removes what a killed fetch left behind and gix would trip over. Call it with the lock held.
fn sweep_repository(root: &Path) {
    let dirs = [root.to_owned(), root.join("objects/pack"), root.join("refs/comfyd/pin")];
    for entry in dirs.iter().filter_map(|dir| std::fs::read_dir(dir).ok()).flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.ends_with(".lock") || name.starts_with(".tmp") {
            // Best effort: a fetch that trips over it says so.
            std::fs::remove_file(entry.path()).ok();
        }
    }
}

fn vanished(path: &Path) -> StoreError {
    StoreError::at("open", path)(std::io::ErrorKind::NotFound.into())
}

/// Returns whether a fetch can build on a cache: a pin without its commit, or a file that cannot be read, would
/// fail this and every later one.
fn is_sound(repo: &gix::Repository) -> bool {
    let Ok(references) = repo.references() else { return false };
    let Ok(mut pins) = references.all() else { return false };
    let head = std::fs::read_to_string(repo.path().join("HEAD"));
    head.is_ok_and(|head| head.starts_with("ref: refs/heads/"))
        && repo.path().join("config").is_file()
        && repo.shallow_commits().is_ok()
        && pins.all(|pin| {
            pin.is_ok_and(|pin| pin.target().try_id().is_none_or(|id| repo.find_header(id).is_ok()))
        })
}

/// Returns the name of the ref that pins a commit.
pub(super) fn pin(commit: &CommitId) -> String {
    format!("refs/comfyd/pin/{commit}")
}

/// Returns the id in gix's form.
pub(super) fn object_id(url: &RepoUrl, commit: &CommitId) -> Result<ObjectId, GitError> {
    ObjectId::from_hex(commit.as_str().as_bytes()).map_err(|_| GitError::Content {
        url: url.shown().to_owned(),
        commit: commit.clone(),
        reason: "repositories with SHA-256 ids are not supported".to_owned(),
    })
}

/// A commit in an opened cache.
pub(super) struct Cached {
    pub(super) repo: gix::Repository,
    pub(super) url: RepoUrl,
    pub(super) commit: CommitId,
}

impl Cached {
    /// Finds a pinned commit. Blocks.
    pub(super) fn find(cache: &Cache, url: RepoUrl, commit: &CommitId) -> Result<Option<Self>, GitError> {
        let id = object_id(&url, commit)?;
        let Some(repo) = cache.open(&url)? else { return Ok(None) };
        let pinned = repo.try_find_reference(pin(commit).as_str()).ok().flatten().is_some();
        if !pinned || !repo.has_object(id) {
            return Ok(None);
        }
        Ok(Some(Self { repo, url, commit: commit.clone() }))
    }

    /// Finds a pinned commit that is known to have been fetched. Blocks.
    pub(super) fn get(cache: &Cache, url: RepoUrl, commit: &CommitId) -> Result<Self, GitError> {
        let shown = url.shown().to_owned();
        Self::find(cache, url, commit)?.ok_or(GitError::NotCached { url: shown, commit: commit.clone() })
    }

    pub(super) fn object(&self) -> Result<gix::Commit<'_>, GitError> {
        let id = object_id(&self.url, &self.commit)?;
        self.repo.find_commit(id).map_err(GitError::cache("read", self.url.shown()))
    }

    pub(super) fn tree(&self) -> Result<gix::Tree<'_>, GitError> {
        self.object()?.tree().map_err(GitError::cache("read", self.url.shown()))
    }

    /// Returns whether every file of the commit is there and whole enough to be found. Blocks; reads
    /// directories of objects, not the files' content.
    pub(super) fn is_complete(&self) -> bool {
        let Ok(tree) = self.tree() else { return false };
        // What nests too deeply is there; a checkout of it is refused.
        !matches!(weight::of(&self.repo, tree.id), Err(Unweighed::Absent))
    }

    /// Returns the content of a file, `None` when there is no such file. Blocks.
    pub(super) fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, GitError> {
        let failed = || GitError::cache("read", self.url.shown());
        let entry = self.tree()?.lookup_entry_by_path(Path::new(path)).map_err(failed())?;
        let Some(entry) = entry.filter(|entry| entry.mode().is_blob()) else { return Ok(None) };
        let size = self.repo.find_header(entry.object_id()).map_err(failed())?.size();
        if size > limit {
            return Err(self.content(format!("`{path}` has {size} bytes, which is too large to read")));
        }
        let mut blob = entry.object().map_err(failed())?;
        Ok(Some(std::mem::take(&mut blob.data)))
    }

    /// Returns the error of a commit whose content cannot be used.
    pub(super) fn content(&self, reason: String) -> GitError {
        GitError::Content { url: self.url.shown().to_owned(), commit: self.commit.clone(), reason }
    }
}
