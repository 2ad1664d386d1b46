//! What is there: cheap looks at the disk that a plan is made from. Everything here blocks, shortly.

use super::commit::StoreError;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Free space of a filesystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Tells filesystems apart.
    pub device: u64,
    /// Bytes free for this user.
    pub available_bytes: u64,
}

/// Returns the free space where `path` is or will be: of its nearest directory that exists.
///
/// # Errors
/// When the system refuses to tell.
pub fn space(path: &Path) -> Result<Space, StoreError> {
    let existing = path.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    let metadata = std::fs::metadata(existing).map_err(StoreError::at("look at", existing))?;
    let statvfs = nix::sys::statvfs::statvfs(existing)
        .map_err(|errno| StoreError::at("look at", existing)(errno.into()))?;
    let available_bytes = statvfs.blocks_available() * statvfs.fragment_size();
    Ok(Space { device: metadata.dev(), available_bytes })
}

/// Returns the size of a regular file, links followed; none when there is none.
pub fn file_size(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file).map(|metadata| metadata.len())
}

/// Tells whether `link` is a symbolic link that holds exactly `target`.
pub fn is_link_to(link: &Path, target: &Path) -> bool {
    std::fs::read_link(link).is_ok_and(|found| found == target)
}

/// Returns the last component that a link holds; none when it is no link.
pub fn link_name(link: &Path) -> Option<String> {
    let target: PathBuf = std::fs::read_link(link).ok()?;
    target.file_name().map(|name| name.to_string_lossy().into_owned())
}
