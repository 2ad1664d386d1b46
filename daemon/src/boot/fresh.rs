//! Whether the volume still holds what was packed: comfyd puts ComfyUI's files back into git's state, and people
//! change files and install packages.
//!
//! Before a start only that is looked at which changes by itself: the directories' times, which tell of names that
//! came or went, and ComfyUI's own files. Python compares what it compiled with its source. That an installed
//! module was edited in its place is seen by the next packing, which looks at every file: to do so here takes
//! as long as all the rest (measured: 17 of 20 s at five milliseconds).

use super::image::{Dir, Index, PackedFile};
use super::layout::{COMPILED, LOOKS};
use super::parallel;
use crate::store::places::generation::COMFY;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Compares what changes by itself. Blocks: a look at a tenth of the files.
///
/// # Errors
/// One place that differs.
pub(super) fn check(index: &Index, generation_dir: &Path) -> Result<(), PathBuf> {
    check_dirs(&index.dirs, generation_dir)?;
    let is_checked =
        |file: &&PackedFile| Path::new(&file.path).starts_with(COMFY) && !file.path.contains(COMPILED);
    check_some(index.files.iter().filter(is_checked), generation_dir)
}

/// Compares size and time of every packed file, and the times of the directories. Blocks: a look at each of them.
///
/// # Errors
/// One place that differs.
pub(super) fn check_all(index: &Index, generation_dir: &Path) -> Result<(), PathBuf> {
    check_dirs(&index.dirs, generation_dir)?;
    check_files(&index.files, generation_dir)
}

/// Compares the files alone. Blocks.
///
/// # Errors
/// One place that differs.
pub(super) fn check_files(files: &[PackedFile], tree: &Path) -> Result<(), PathBuf> {
    check_some(files.iter(), tree)
}

fn check_some<'a>(files: impl Iterator<Item = &'a PackedFile>, tree: &Path) -> Result<(), PathBuf> {
    let files: Vec<_> = files.collect();
    parallel::for_each(LOOKS, &files, |file| {
        let place = tree.join(&file.path);
        let found = place.symlink_metadata();
        let is_same = found
            .is_ok_and(|found| found.is_file() && found.len() == file.size && found.mtime() == file.modified);
        if is_same { Ok(()) } else { Err(place) }
    })
}

fn check_dirs(dirs: &[Dir], generation_dir: &Path) -> Result<(), PathBuf> {
    let dirs: Vec<_> = dirs.iter().filter(|dir| dir.modified.is_some()).collect();
    parallel::for_each(LOOKS, &dirs, |dir| {
        let place = generation_dir.join(&dir.path);
        let found = place.symlink_metadata();
        let is_same = found.is_ok_and(|found| {
            found.is_dir() && dir.modified.is_none_or(|modified| modified == found.mtime())
        });
        if is_same { Ok(()) } else { Err(place) }
    })
}
