//! Writing the files of a commit, and of its submodules, into an empty directory. Blocks.

use super::blocking::Control;
use super::cache::{Cache, Cached};
use super::error::{GitError, disk_refusal};
use super::lfs::{self, Pointer, Unfetched};
use super::submodules::{self, MAX_COUNT, MAX_DEPTH};
use super::tracked::Tracked;
use super::url::RepoUrl;
use super::weight::{self, Weight};
use crate::store::commit::{StoreError, create_dir_all};
use gix::bstr::{BStr, BString, ByteSlice as _};
use gix::index::State;
use gix::index::entry::{Flags, Mode};
use proto::CommitId;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

/// What was written.
#[derive(Debug, Default, Clone)]
pub struct Checkout {
    /// Number of files, those of submodules included.
    pub files: usize,
    /// Pointers to Git LFS files that stay pointers; [`Git::fetch_lfs`](super::Git::fetch_lfs) tells them.
    pub unfetched: Vec<Unfetched>,
    /// Symbolic links that lead out of the checkout and were not written; sorted.
    pub left_out: Vec<String>,
    /// What was written, for keeping it clean.
    pub tracked: Tracked,
    /// Every pointer to a Git LFS file.
    pub(super) pointers: Vec<Pointer>,
}

/// Threads that write files: measured, two are a third faster than one, more are not.
const WRITERS: usize = 2;

/// Writes the files of a commit and of its submodules that are `wanted`. The others are in
/// [`Checkout::tracked`] too, marked as skipped.
pub(super) fn write(
    cache: &Cache,
    (url, commit): (RepoUrl, &CommitId),
    dest: &Path,
    wanted: &dyn Fn(&BStr) -> bool,
    control: &Control,
) -> Result<Checkout, GitError> {
    create_dir_all(dest)?;
    let mut entries = std::fs::read_dir(dest).map_err(StoreError::at("read the directory", dest))?;
    if entries.next().is_some() {
        let not_empty = std::io::ErrorKind::DirectoryNotEmpty.into();
        return Err(StoreError::at("check out into", dest)(not_empty).into());
    }
    let mut writing = Writing {
        cache,
        wanted,
        control,
        checkout: Checkout::default(),
        weight: Weight::default(),
        count: 0,
    };
    writing.nested((url, commit), (dest, "", 0))?;
    let mut checkout = writing.checkout;
    checkout.left_out.sort();
    Ok(checkout)
}

/// Returns what a failed checkout is: a disk that takes no files says nothing about the objects.
fn failed(cached: &Cached, dest: &Path) -> impl Fn(gix::Error) -> GitError {
    let (url, dest) = (cached.url.shown().to_owned(), dest.to_owned());
    move |error| match disk_refusal(&error) {
        Some(refusal) => StoreError::at("check out into", &dest)(refusal).into(),
        None => GitError::cache("check out", &url)(error),
    }
}

struct Writing<'a> {
    cache: &'a Cache,
    wanted: &'a dyn Fn(&BStr) -> bool,
    control: &'a Control,
    checkout: Checkout,
    weight: Weight,
    /// Submodules begun so far.
    count: usize,
}

impl Writing<'_> {
    fn nested(
        &mut self,
        (url, commit): (RepoUrl, &CommitId),
        (dest, prefix, depth): (&Path, &str, usize),
    ) -> Result<(), GitError> {
        let cached = Cached::get(self.cache, url, commit)?;
        if depth > MAX_DEPTH {
            return Err(cached.content("its submodules nest too deeply".to_owned()));
        }
        self.count += 1;
        if self.count > MAX_COUNT + 1 {
            return Err(cached.content("its submodules are too many".to_owned()));
        }
        let written = self.one(&cached, dest, prefix);
        if matches!(written, Err(GitError::Cache { .. })) {
            // Objects that cannot be read never heal; the next fetch gets them anew.
            self.cache.discard(&cached.url)?;
        }
        written?;
        for submodule in submodules::of(&cached)? {
            let path = gix::path::from_bstr(submodule.path.as_bstr());
            let path = path.map_err(|error| cached.content(error.to_string()))?;
            let (inner, prefix) = (dest.join(&path), format!("{prefix}{}/", submodule.path));
            self.nested((submodule.url, &submodule.commit), (&inner, &prefix, depth + 1))?;
        }
        Ok(())
    }

    fn one(&mut self, cached: &Cached, dest: &Path, prefix: &str) -> Result<(), GitError> {
        let failed = failed(cached, dest);
        let tree = cached.tree()?.id;
        let weight = weight::of(&cached.repo, tree).map_err(|why| cached.content(why.reason()))?;
        self.weight.add(weight);
        if let Some(reason) = self.weight.refusal() {
            return Err(cached.content(reason));
        }
        // This refuses `.git`, `..` and their disguises as path components.
        let index = cached.repo.index_from_tree(&tree);
        let mut index =
            index.map_err(|error| cached.content(format!("it has an unsafe file name: {error}")))?;
        self.leave_out_escaping_links(cached, &mut index, prefix)?;
        let mut count = 0;
        for (entry, path) in index.entries_mut_with_paths() {
            let is_wanted = (self.wanted)(BString::from([prefix.as_bytes(), path].concat()).as_bstr());
            entry.flags.set(Flags::SKIP_WORKTREE, !is_wanted);
            // gix's own count leaves symbolic links out and submodules in.
            count += usize::from(is_wanted && entry.mode != Mode::COMMIT);
        }
        let objects = cached.repo.objects.clone().into_arc();
        let objects = objects.map_err(|source| StoreError::at("read", cached.repo.path())(source))?;
        let objects = Pointers { objects, found: Arc::default() };
        let outcome = self.write_index(cached, &mut index, dest, (count, objects.clone()))?;
        if let Some(record) = outcome.errors.into_iter().next() {
            return Err(failed(record.error));
        }
        if let Some(collision) = outcome.collisions.first() {
            let reason = format!("two of its files have one name on this filesystem: `{}`", collision.path);
            return Err(cached.content(reason));
        }
        self.checkout.files += count;
        let pointers = objects.found.lock().unwrap_or_else(PoisonError::into_inner);
        for entry in index.entries() {
            let is_file = entry.mode != Mode::SYMLINK && !entry.flags.contains(Flags::SKIP_WORKTREE);
            if let Some(object) = pointers.get(&entry.id).filter(|_| is_file) {
                let path = format!("{prefix}{}", entry.path(&index));
                let (url, object) = (cached.url.clone(), object.clone());
                self.checkout.pointers.push(Pointer { path, url, object });
            }
        }
        self.checkout.tracked.add(prefix, &index);
        Ok(())
    }

    fn write_index(
        &self,
        cached: &Cached,
        index: &mut State,
        dest: &Path,
        (count, objects): (usize, Pointers),
    ) -> Result<gix::worktree::state::checkout::Outcome, GitError> {
        let failed = failed(cached, dest);
        let source = gix::worktree::stack::state::attributes::Source::IdMapping;
        let mut options = cached.repo.checkout_options(source).map_err(&failed)?;
        options.destination_is_initially_empty = true;
        options.thread_limit = Some(WRITERS);
        let counters = &self.control.counters;
        counters.objects_total.fetch_add(count, Ordering::Relaxed);
        let files = Files(counters.objects.clone());
        let discard = gix::progress::Discard;
        let stop = &self.control.interrupt;
        let outcome = gix::worktree::state::checkout(index, dest, objects, &files, &discard, stop, options);
        // gix calls an interrupted checkout a success.
        if self.control.interrupted() {
            return Err(GitError::Cancelled(cached.url.shown().to_owned()));
        }
        outcome.map_err(failed)
    }

    /// Takes symbolic links that lead out of the checkout away: whoever writes through one, a custom node
    /// or comfyd itself, would write into a place that the repository's author chose.
    fn leave_out_escaping_links(
        &mut self,
        cached: &Cached,
        index: &mut State,
        prefix: &str,
    ) -> Result<(), GitError> {
        let mut bad = HashSet::new();
        for entry in index.entries().iter().filter(|entry| entry.mode == Mode::SYMLINK) {
            let target = cached.repo.find_object(entry.id);
            let target = target.map_err(GitError::cache("read", cached.url.shown()))?;
            let path = BString::from([prefix.as_bytes(), entry.path(index)].concat());
            if !stays_inside(path.as_bstr(), &target.data) {
                bad.insert(entry.path(index).to_owned());
                self.checkout.left_out.push(path.to_string());
            }
        }
        if !bad.is_empty() {
            index.remove_entries(|_, path, _| bad.contains(path));
        }
        Ok(())
    }
}

/// Returns whether a symbolic link at `path` leads to a place in the same tree. Steps up count only at the
/// start of the target: the directories that the link itself lies in are real ones, but what a later
/// `..` leads to depends on other links.
fn stays_inside(path: &BStr, target: &[u8]) -> bool {
    let depth = path.find_iter(b"/").count();
    let mut parts = target.split_str("/").filter(|part| !matches!(*part, b"" | b".")).peekable();
    let mut up = 0;
    while parts.next_if_eq(&b"..".as_slice()).is_some() {
        up += 1;
    }
    !target.starts_with(b"/") && up <= depth && parts.all(|part| part != b"..")
}

/// The objects of a repository; those that are pointers to Git LFS are noted as they go by.
#[derive(Clone)]
struct Pointers {
    objects: gix::OdbHandleArc,
    found: Arc<Mutex<HashMap<gix::ObjectId, Result<lfs::Object, lfs::Malformed>>>>,
}

impl gix::objs::Find for Pointers {
    fn try_find<'a>(
        &self,
        id: &gix::oid,
        buffer: &'a mut Vec<u8>,
    ) -> Result<Option<gix::objs::Data<'a>>, gix::Error> {
        let found = self.objects.try_find(id, buffer)?;
        if let Some(object) = found.as_ref().and_then(|found| lfs::parse(found.data)) {
            self.found.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), object);
        }
        Ok(found)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_in_their_tree() {
        for (path, target, stays) in [
            ("a", "b", true),
            ("a", "./b/c", true),
            ("a/b", "../c", true),
            ("a/b/c", "../../d", true),
            ("a", "", true),
            ("a", "..", false),
            ("a/b", "../../c", false),
            ("a", "/etc/passwd", false),
            // `b` may be a link that leads up.
            ("a", "b/../../c", false),
            ("d/e/f", "b/../c", false),
            ("a/b", "./../../c", false),
        ] {
            assert_eq!(stays_inside(path.into(), target.as_bytes()), stays, "{path} -> {target}");
        }
    }
}
