//! Putting the files of a checkout back that are no longer what git says. Blocks.
//!
//! The suspects are written anew beside the checkout, each is compared with what stands in its place,
//! and what differs takes the place by a rename. Nothing is written through a link: a directory on the
//! way that became one is made a real directory again. What git does not know is left where it is; where
//! it stands in the way of a file it is set aside under another name.

use super::blocking::Control;
use super::cache::Cache;
use super::checkout::{self, Checkout};
use super::error::GitError;
use super::lfs::{self, Pointer, Unfetched};
use super::tracked::{Place, RealDirs, Tracked, look};
use super::url::RepoUrl;
use crate::store::commit::{StoreError, publish, step, sync_tree};
use gix::bstr::{BStr, BString, ByteSlice as _};
use gix::index::entry::{Flags, Mode};
use proto::CommitId;
use std::collections::HashSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

/// What was done about a checkout.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Cleaned {
    /// Files that were put back, or would be; sorted.
    pub restored: Vec<String>,
    /// Names that untracked files and directories in the way were given.
    pub set_aside: Vec<String>,
    /// Git LFS files that are not here.
    pub unfetched: Vec<Unfetched>,
}

/// What may be done about a checkout.
#[derive(Debug, Clone, Copy)]
pub struct Allowed {
    /// Files may be put back; otherwise it is only told what differs.
    pub replace: bool,
    /// Git LFS files may be fetched.
    pub network: bool,
}

/// Writes what is `wanted` of a commit anew, into `staging`, and makes the checkout that.
pub(super) fn restore(
    cache: &Cache,
    commit: (RepoUrl, &CommitId),
    (place, staging): (&Place, &Path),
    wanted: &dyn Fn(&BStr) -> bool,
    (allowed, control): (Allowed, &Control),
) -> Result<Cleaned, GitError> {
    let mut fresh = checkout::write(cache, commit, staging, wanted, control)?;
    let is_whole = |pointer: &Pointer| {
        pointer.object.as_ref().is_ok_and(|object| lfs::is_whole(&place.dir.join(&pointer.path), object))
    };
    let (whole, mut others): (Vec<_>, Vec<_>) = fresh.pointers.drain(..).partition(is_whole);
    if allowed.replace {
        fresh.unfetched = lfs::fill(cache, staging, &others, allowed.network, control)?;
        others.retain(|pointer| fresh.unfetched.iter().any(|left| left.path == pointer.path));
    }
    let whole = whole.into_iter().map(|pointer| pointer.path).collect();
    let pointers = others.into_iter().map(|pointer| pointer.path).collect();
    settle((place, staging), fresh, &Lfs { whole, pointers }, allowed.replace)
}

/// Git LFS files of a checkout, by what stands in their place.
struct Lfs {
    /// The file itself.
    whole: HashSet<String>,
    /// At best its pointer: the file could not be had.
    pointers: HashSet<String>,
}

/// Makes a checkout what `fresh`, written into `staging`, says, and keeps its index. When `replace` is
/// unset it only tells what differs.
fn settle(
    (place, staging): (&Place, &Path),
    mut fresh: Checkout,
    lfs: &Lfs,
    replace: bool,
) -> Result<Cleaned, GitError> {
    let known = Tracked::read(&place.index).map(|(tracked, _)| tracked).unwrap_or_default();
    let mut cleaned = Cleaned { unfetched: std::mem::take(&mut fresh.unfetched), ..Cleaned::default() };
    if replace {
        sync_tree(staging)?;
    }
    let entries: Vec<(BString, Mode, bool)> = fresh
        .tracked
        .entries()
        .map(|(path, entry)| (path.to_owned(), entry.mode, entry.flags.contains(Flags::SKIP_WORKTREE)))
        .collect();
    for (path, mode, is_skipped) in entries {
        let path = path.as_bstr();
        if is_skipped || mode == Mode::COMMIT {
            fresh.tracked.set_stat(path, known.stat(path));
            continue;
        }
        // Anew for each file: the one before may have changed the directories.
        let (mut here, mut there) = (RealDirs::below(&place.dir), RealDirs::below(staging));
        let (new, old) = (there.at(path), here.at(path));
        // Looked at before they are compared: what changes after that differs from the index.
        let (found, wanted) = (look(&mut here, path), look(&mut there, path));
        let is_pointer = lfs.pointers.contains(&*path.to_str_lossy());
        let is_same = match (&found, &wanted) {
            (Some(found), Some(wanted)) if lfs.whole.contains(&*path.to_str_lossy()) => {
                found.mode == wanted.mode
            }
            // Whatever it is, a pointer is no better.
            (Some(_), Some(_)) if is_pointer => true,
            (Some(found), Some(wanted)) => found.mode == wanted.mode && same_content(&old, &new, mode)?,
            _ => false,
        };
        if !is_same {
            cleaned.restored.push(path.to_string());
            if replace {
                step("restore.file", "put back", &old)?;
                make_way(&place.dir, path, &mut cleaned.set_aside)?;
                publish(&new, &old)?;
            }
        }
        // A pointer stays a suspect, so that its file is tried again.
        let known = if is_same { found } else { wanted }.filter(|_| !is_pointer);
        fresh.tracked.set_stat(path, known.map(|look| look.stat));
    }
    if replace {
        step("restore.index", "keep the index of", &place.dir)?;
        fresh.tracked.save(place)?;
    }
    Ok(cleaned)
}

fn same_content(old: &Path, new: &Path, mode: Mode) -> Result<bool, StoreError> {
    let at = |path: &Path| StoreError::at("read", path.to_owned());
    if mode == Mode::SYMLINK {
        return Ok(fs::read_link(old).map_err(at(old))? == fs::read_link(new).map_err(at(new))?);
    }
    let (mut a, mut b) = (fs::File::open(old).map_err(at(old))?, fs::File::open(new).map_err(at(new))?);
    let lengths = [&a, &b].map(|file| file.metadata().map(|found| found.len()).ok());
    if lengths[0] != lengths[1] {
        return Ok(false);
    }
    let (mut mine, mut theirs) = (Vec::new(), Vec::new());
    loop {
        const PIECE: u64 = 1 << 20;
        (&mut a).take(PIECE).read_to_end(&mut mine).map_err(at(old))?;
        (&mut b).take(PIECE).read_to_end(&mut theirs).map_err(at(new))?;
        if mine != theirs || mine.is_empty() {
            return Ok(mine == theirs);
        }
        mine.clear();
        theirs.clear();
    }
}

/// Makes a real directory of each step on the way to `path`, and takes a directory away that stands
/// where the file belongs.
fn make_way(root: &Path, path: &BStr, set_aside: &mut Vec<String>) -> Result<(), StoreError> {
    let here = RealDirs::below(root);
    for end in path.find_iter(b"/") {
        let step = here.at(path[..end].as_bstr());
        match step.symlink_metadata() {
            Ok(found) if found.is_dir() => continue,
            // A link loses nothing but itself.
            Ok(found) if found.is_symlink() => {
                fs::remove_file(&step).map_err(StoreError::at("remove", &step))?;
            }
            Ok(_) => set_aside.push(aside(&step)?),
            Err(_) => {}
        }
        fs::create_dir(&step).map_err(StoreError::at("create the directory", &step))?;
    }
    let leaf = here.at(path);
    // An empty directory is taken away, any other stays under another name.
    if leaf.symlink_metadata().is_ok_and(|found| found.is_dir()) && fs::remove_dir(&leaf).is_err() {
        set_aside.push(aside(&leaf)?);
    }
    Ok(())
}

fn aside(path: &Path) -> Result<String, StoreError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let free = (1..).map(|n| path.with_file_name(format!("{name}.aside-{n}")));
    let taken = |path: &PathBuf| path.symlink_metadata().is_ok();
    // The counter does not end before the names do.
    let to = free.into_iter().find(|to| !taken(to)).unwrap_or_else(|| path.to_owned());
    publish(path, &to)?;
    Ok(to.display().to_string())
}
