//! Writing the files of a commit, and of its submodules, into an empty directory. Blocks.

use super::blocking::Control;
use super::cache::{Cache, Cached};
use super::error::GitError;
use super::submodules::{self, MAX_DEPTH};
use super::url::RepoUrl;
use crate::store::commit::{StoreError, create_dir_all};
use gix::bstr::ByteSlice as _;
use gix::index::entry::Mode;
use proto::CommitId;
use std::path::Path;
use std::sync::atomic::Ordering;

/// What was written.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Checkout {
    /// Number of files, those of submodules included.
    pub files: usize,
    /// Files that hold only a pointer to Git LFS, which comfyd does not follow; sorted.
    pub lfs_pointers: Vec<String>,
}

/// A pointer file is smaller than this: Git LFS specification, "The Pointer".
const LFS_POINTER_LIMIT: u64 = 1024;
const LFS_POINTER_START: &[u8] = b"version https://git-lfs.github.com/spec/v1\n";

/// Threads that write files: measured, two are a third faster than one, more are not.
const WRITERS: usize = 2;

pub(super) fn write(
    cache: &Cache,
    (url, commit): (RepoUrl, &CommitId),
    dest: &Path,
    control: &Control,
) -> Result<Checkout, GitError> {
    create_dir_all(dest)?;
    let mut entries = std::fs::read_dir(dest).map_err(StoreError::at("read the directory", dest))?;
    if entries.next().is_some() {
        let not_empty = std::io::ErrorKind::DirectoryNotEmpty.into();
        return Err(StoreError::at("check out into", dest)(not_empty).into());
    }
    let mut checkout = Checkout::default();
    write_nested(cache, (url, commit), (dest, "", 0), control, &mut checkout)?;
    checkout.lfs_pointers.sort();
    Ok(checkout)
}

fn write_nested(
    cache: &Cache,
    (url, commit): (RepoUrl, &CommitId),
    (dest, prefix, depth): (&Path, &str, usize),
    control: &Control,
    checkout: &mut Checkout,
) -> Result<(), GitError> {
    let cached = Cached::get(cache, url, commit)?;
    if depth > MAX_DEPTH {
        return Err(cached.content("its submodules nest too deeply".to_owned()));
    }
    let written = write_one(&cached, dest, control);
    if matches!(written, Err(GitError::Cache { .. })) {
        // Objects that cannot be read never heal; the next fetch gets them anew.
        cache.discard(&cached.url)?;
    }
    checkout.files += written?;
    checkout.lfs_pointers.extend(lfs_pointers(&cached, prefix)?);
    for submodule in submodules::of(&cached)? {
        let path = gix::path::from_bstr(submodule.path.as_bstr());
        let path = path.map_err(|error| cached.content(error.to_string()))?;
        let inner = (dest.join(&path), format!("{prefix}{}/", submodule.path));
        let place = (inner.0.as_path(), inner.1.as_str(), depth + 1);
        write_nested(cache, (submodule.url, &submodule.commit), place, control, checkout)?;
    }
    Ok(())
}

fn write_one(cached: &Cached, dest: &Path, control: &Control) -> Result<usize, GitError> {
    let failed = || GitError::cache("check out", cached.url.shown());
    let tree = cached.tree()?.id;
    // This refuses `.git`, `..` and their disguises as path components.
    let index = cached.repo.index_from_tree(&tree);
    let mut index = index.map_err(|error| cached.content(format!("it has an unsafe file name: {error}")))?;
    let source = gix::worktree::stack::state::attributes::Source::IdMapping;
    let mut options = cached.repo.checkout_options(source).map_err(failed())?;
    options.destination_is_initially_empty = true;
    options.thread_limit = Some(WRITERS);
    // gix's own count leaves symbolic links out and submodules in.
    let count = index.entries().iter().filter(|entry| entry.mode != Mode::COMMIT).count();
    let counters = &control.counters;
    counters.objects_total.fetch_add(count, Ordering::Relaxed);
    let files = Files(counters.objects.clone());
    let objects = cached.repo.objects.clone().into_arc();
    let objects = objects.map_err(|source| StoreError::at("read", cached.repo.path())(source))?;
    let outcome = gix::worktree::state::checkout(
        &mut index,
        dest,
        objects,
        &files,
        &gix::progress::Discard,
        &control.interrupt,
        options,
    );
    // gix calls an interrupted checkout a success.
    if control.interrupted() {
        return Err(GitError::Cancelled(cached.url.shown().to_owned()));
    }
    let outcome = outcome.map_err(failed())?;
    if let Some(record) = outcome.errors.into_iter().next() {
        return Err(failed()(record.error));
    }
    if let Some(collision) = outcome.collisions.first() {
        let reason = format!("two of its files have one name on this filesystem: `{}`", collision.path);
        return Err(cached.content(reason));
    }
    Ok(count)
}

/// Adds gix's count of files to ours.
struct Files(gix::progress::StepShared);

impl gix::Count for Files {
    fn set(&self, step: usize) {
        self.0.store(step, Ordering::Relaxed);
    }
    fn step(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
    fn inc_by(&self, step: usize) {
        self.0.fetch_add(step, Ordering::Relaxed);
    }
    fn counter(&self) -> gix::progress::StepShared {
        self.0.clone()
    }
}

fn lfs_pointers(cached: &Cached, prefix: &str) -> Result<Vec<String>, GitError> {
    let failed = || GitError::cache("read", cached.url.shown());
    let index = cached.repo.index_from_tree(&cached.tree()?.id).map_err(failed())?;
    let mut found = Vec::new();
    for entry in
        index.entries().iter().filter(|entry| matches!(entry.mode, Mode::FILE | Mode::FILE_EXECUTABLE))
    {
        let header = cached.repo.find_header(entry.id).map_err(failed())?;
        if header.size() >= LFS_POINTER_LIMIT {
            continue;
        }
        let blob = cached.repo.find_object(entry.id).map_err(failed())?;
        if blob.data.starts_with(LFS_POINTER_START) {
            found.push(format!("{prefix}{}", entry.path(&index)));
        }
    }
    Ok(found)
}
