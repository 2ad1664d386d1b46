//! Whether the volume still holds what was packed: comfyd puts ComfyUI's files back into git's state, and people
//! change files and install packages.

use super::image::{Dir, Index, PackedFile};
use super::layout::LOOKS;
use super::parallel;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Compares size and time of every packed file, and the times of the directories. Blocks: a look at each of them.
///
/// # Errors
/// One place that differs.
pub(super) fn check(index: &Index, generation_dir: &Path) -> Result<(), PathBuf> {
    check_dirs(&index.dirs, generation_dir)?;
    check_files(&index.files, generation_dir)
}

/// Compares the files alone.
///
/// # Errors
/// One place that differs.
pub(super) fn check_files(files: &[PackedFile], tree: &Path) -> Result<(), PathBuf> {
    parallel::for_each(LOOKS, files, |file| {
        let place = tree.join(&file.path);
        let found = place.symlink_metadata();
        let is_same = found
            .is_ok_and(|found| found.is_file() && found.len() == file.size && found.mtime() == file.modified);
        if is_same { Ok(()) } else { Err(place) }
    })
}

fn check_dirs(dirs: &[Dir], generation_dir: &Path) -> Result<(), PathBuf> {
    parallel::for_each(LOOKS, dirs, |dir| {
        let place = generation_dir.join(&dir.path);
        let found = place.symlink_metadata();
        let is_same = found.is_ok_and(|found| {
            found.is_dir() && dir.modified.is_none_or(|modified| modified == found.mtime())
        });
        if is_same { Ok(()) } else { Err(place) }
    })
}
