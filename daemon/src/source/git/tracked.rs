//! Which files a checkout has from git, and what the disk said of each when it was written.
//!
//! A checkout has no `.git`. What git would keep there lies beside it: one index in git's own format,
//! submodules' files included. A file whose size, time and kind are still those of its entry is taken
//! as unchanged; any other is a suspect, to be compared with its object. As in git, an entry that is not
//! older than the index itself says too little: the file may have been changed in that very tick of the
//! clock, so its content is hashed. Everything here blocks.

use super::lfs::{Pointer, Unfetched};
use crate::store::commit::{StoreError, write_file};
use gix::bstr::{BStr, BString, ByteSlice as _};
use gix::index::entry::{Flags, Mode, Stat, stat::Time};
use gix::index::fs::Metadata;
use gix::index::{File, State};
use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

/// Where a checkout lies.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    /// Its directory.
    pub dir: PathBuf,
    /// The file that its index is kept in, on the same filesystem.
    pub index: PathBuf,
    /// Paths of it that something else owns, directories with all below them.
    pub except: Vec<String>,
}

impl Place {
    pub(super) fn is_excepted(&self, path: &BStr) -> bool {
        self.except.iter().any(|except| {
            path.strip_prefix(except.as_bytes()).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
        })
    }
}

/// The files of a checkout.
#[derive(Debug, Clone)]
pub struct Tracked {
    state: State,
}

/// Files that are to be compared with their objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Suspects {
    /// These; none when the checkout is as it was published.
    Some(HashSet<BString>),
    /// All: the checkout has no index, or one that cannot be read.
    All,
}

impl Suspects {
    /// Returns whether there is nothing to be done.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Some(paths) if paths.is_empty())
    }

    pub(super) fn contains(&self, path: &BStr) -> bool {
        match self {
            Self::Some(paths) => paths.contains(path),
            Self::All => true,
        }
    }
}

impl Default for Tracked {
    fn default() -> Self {
        Self { state: State::new(gix::hash::Kind::Sha1) }
    }
}

impl Tracked {
    /// Compares a checkout with its index by looks: a `stat` for each file; only what was written in the
    /// tick of the clock that the index was written in is read.
    pub fn suspects(place: &Place) -> Suspects {
        let Some((tracked, written)) = Self::read(&place.index) else { return Suspects::All };
        let mut dirs = RealDirs::below(&place.dir);
        let entries = tracked.entries().filter(|(path, entry)| {
            let is_same = look(&mut dirs, path).is_some_and(|found| found.is(entry.mode, &entry.stat));
            // Told apart here where that is possible: the objects may be gone.
            let is_known = || !is_racy(&entry.stat, written) || has_content(&dirs.at(path), entry);
            entry.mode != Mode::COMMIT && !(is_same && is_known())
        });
        Suspects::Some(entries.map(|(path, _)| path.to_owned()).collect())
    }

    /// Keeps the index of a checkout that lies at `place`, or will, in one step. Entries that something
    /// else owns are left out.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(mut self, place: &Place) -> Result<(), StoreError> {
        self.state.remove_entries(|_, path, _| place.is_excepted(path));
        self.state.sort_entries();
        let mut bytes = Vec::new();
        let file = File::from_state(self.state, &place.index);
        // Writing into memory fails for entries that git's format has no room for; there are none such.
        let written = file.write_to(&mut bytes, gix::index::write::Options::default());
        written.map_err(|error| {
            StoreError::at("encode", &place.index)(std::io::Error::other(error.to_string()))
        })?;
        write_file(&place.index, &bytes)
    }

    /// Reads the index kept at `path`, with the time it was written; none when it is not whole.
    pub(super) fn read(path: &Path) -> Option<(Self, Time)> {
        let written =
            Metadata::from_path_no_follow(path).ok().and_then(|found| Stat::from_fs(&found).ok())?;
        let file = File::at(path, gix::hash::Kind::Sha1, false, gix::index::decode::Options::default());
        let file = file.inspect_err(|error| {
            tracing::warn!(path = %path.display(), %error, "ignoring a damaged index");
        });
        Some((Self { state: file.ok()?.into_parts().0 }, written.mtime))
    }

    /// Adds the files of a repository that lies at `prefix`, which ends in `/` unless it is empty.
    pub(super) fn add(&mut self, prefix: &str, index: &State) {
        for entry in index.entries() {
            let path = BString::from([prefix.as_bytes(), entry.path(index)].concat());
            self.state.dangerously_push_entry(entry.stat, entry.id, entry.flags, entry.mode, path.as_ref());
        }
        self.state.sort_entries();
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (&BStr, &gix::index::Entry)> {
        self.state.entries().iter().map(|entry| (entry.path(&self.state), entry))
    }

    /// Sets what the disk says of a file; nothing makes it a suspect of the next look.
    pub(super) fn set_stat(&mut self, path: &BStr, stat: Option<Stat>) {
        let stage = gix::index::entry::Stage::Unconflicted;
        if let Some(entry) = self.state.entry_mut_by_path_and_stage(path, stage) {
            entry.stat = stat.unwrap_or_default();
            entry.flags.remove(Flags::SKIP_WORKTREE);
        }
    }

    /// Looks at Git LFS files again, which were pointers; those that still are stay suspects.
    pub(super) fn look_again(&mut self, root: &Path, pointers: &[Pointer], unfetched: &[Unfetched]) {
        let mut dirs = RealDirs::below(root);
        for Pointer { path, .. } in pointers {
            let is_pointer = unfetched.iter().any(|left| left.path == *path);
            let path = BStr::new(path);
            let found = if is_pointer { None } else { look(&mut dirs, path) };
            self.set_stat(path, found.map(|look| look.stat));
        }
    }

    pub(super) fn stat(&self, path: &BStr) -> Option<Stat> {
        self.state.entry_by_path(path).map(|entry| entry.stat)
    }
}

/// What the disk says of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) mode: Mode,
    pub(super) stat: Stat,
}

impl Look {
    pub(super) fn is(&self, mode: Mode, stat: &Stat) -> bool {
        let (mine, theirs) = (self.stat.mtime, stat.mtime);
        // Network volumes keep whole seconds: a zero says nothing.
        let same_nanos = mine.nsecs == theirs.nsecs || mine.nsecs == 0 || theirs.nsecs == 0;
        self.mode == mode && self.stat.size == stat.size && mine.secs == theirs.secs && same_nanos
    }
}

/// Looks at a file, through real directories only: what a link leads to is no part of the checkout.
/// None where there is neither a regular file nor a symbolic link.
pub(super) fn look(dirs: &mut RealDirs<'_>, path: &BStr) -> Option<Look> {
    if !dirs.hold(path) {
        return None;
    }
    let found = Metadata::from_path_no_follow(&dirs.at(path)).ok()?;
    let mode = match () {
        () if found.is_symlink() => Mode::SYMLINK,
        () if !found.is_file() => return None,
        () if found.is_executable() => Mode::FILE_EXECUTABLE,
        () => Mode::FILE,
    };
    Some(Look { mode, stat: Stat::from_fs(&found).ok()? })
}

/// The directories of a checkout, each looked at once.
pub(super) struct RealDirs<'a> {
    root: &'a Path,
    known: HashSet<BString>,
}

impl<'a> RealDirs<'a> {
    pub(super) fn below(root: &'a Path) -> Self {
        Self { root, known: HashSet::new() }
    }

    pub(super) fn at(&self, path: &BStr) -> PathBuf {
        self.root.join(OsStr::from_bytes(path))
    }

    /// Returns whether all directories on the way to `path` are real ones.
    fn hold(&mut self, path: &BStr) -> bool {
        let Some(end) = path.rfind_byte(b'/') else { return true };
        let dir = path[..end].as_bstr();
        if self.known.contains(dir) {
            return true;
        }
        let is_real = self.hold(dir) && self.at(dir).symlink_metadata().is_ok_and(|found| found.is_dir());
        is_real && self.known.insert(dir.to_owned())
    }
}

/// Returns whether a file that matches its entry otherwise has the very bytes of its object. What a filter
/// or Git LFS changed has not, and is a suspect then.
pub(super) fn has_content(path: &Path, entry: &gix::index::Entry) -> bool {
    const LIMIT: u32 = 64 << 20;
    if entry.stat.size > LIMIT {
        return false;
    }
    let content = match entry.mode {
        Mode::SYMLINK => std::fs::read_link(path).map(|target| target.into_os_string().into_vec()),
        _ => std::fs::read(path),
    };
    let kind = (gix::hash::Kind::Sha1, gix::objs::Kind::Blob);
    content.is_ok_and(|data| gix::objs::compute_hash(kind.0, kind.1, &data).is_ok_and(|id| id == entry.id))
}

fn is_racy(stat: &Stat, written: Time) -> bool {
    let no_nanos = stat.mtime.nsecs == 0 || written.nsecs == 0;
    stat.mtime.secs > written.secs
        || stat.mtime.secs == written.secs && (no_nanos || stat.mtime.nsecs >= written.nsecs)
}
