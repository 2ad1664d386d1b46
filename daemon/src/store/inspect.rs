//! What is there: cheap looks at the disk that a plan is made from. Everything here blocks, shortly.

use super::commit::StoreError;
use super::places::Home;
use std::collections::HashSet;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Free space of a filesystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Tells filesystems apart.
    pub device: u64,
    /// Bytes that it has.
    pub total_bytes: u64,
    /// Bytes that are taken.
    pub used_bytes: u64,
    /// Bytes free for this user.
    pub available_bytes: u64,
    /// The quota in bytes, where it leaves less than the disk has.
    pub quota_bytes: Option<u64>,
}

/// What a quota leaves of a filesystem. `df` of a network volume tells of the whole cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// The filesystem.
    pub device: u64,
    /// The quota itself.
    pub bytes: u64,
    /// What of it is not used yet.
    pub left_bytes: u64,
}

impl Space {
    /// Returns what is free where a quota may leave less than the disk has.
    #[must_use]
    pub fn within(self, quota: Option<Quota>) -> Self {
        match quota {
            Some(quota) if quota.device == self.device && quota.left_bytes < self.available_bytes => {
                Self { available_bytes: quota.left_bytes, quota_bytes: Some(quota.bytes), ..self }
            }
            _ => self,
        }
    }
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
    let total_bytes = statvfs.blocks() * statvfs.fragment_size();
    let used_bytes = (statvfs.blocks() - statvfs.blocks_free()) * statvfs.fragment_size();
    Ok(Space { device: metadata.dev(), total_bytes, used_bytes, available_bytes, quota_bytes: None })
}

/// Returns how many files may still be made where `path` is or will be; none where that is not counted. Blocks shortly.
pub fn files_left(path: &Path) -> Option<u64> {
    let existing = path.ancestors().find(|dir| dir.exists())?;
    let statvfs = nix::sys::statvfs::statvfs(existing).ok()?;
    (statvfs.files() > 0).then(|| statvfs.files_available())
}

/// How a file looks: another file, or another content, looks otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// Returns how what `found` was asked for looks.
    pub fn of(found: &Metadata) -> Self {
        Self {
            inode: found.ino(),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }
}

/// Returns what a quota of `bytes` leaves of the volume; none when `stop` says so before all is counted.
/// Walks the whole volume: minutes on a network volume with a million files.
///
/// # Errors
/// When the volume itself cannot be looked at. What is unreadable in it counts as nothing.
pub fn quota(volume: &Path, bytes: u64, stop: impl Fn() -> bool) -> Result<Option<Quota>, StoreError> {
    let metadata = std::fs::metadata(volume).map_err(StoreError::at("look at", volume))?;
    let device = metadata.dev();
    let used = allocated(volume, device, stop);
    Ok(used.map(|used| Quota { device, bytes, left_bytes: bytes.saturating_sub(used) }))
}

/// Returns the bytes that the files right in a directory hold on the disk, preallocated ones included; none
/// when there is no such directory.
pub fn held(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
    files.filter_map(|entry| Some(entry.metadata().ok()?.blocks() * 512)).sum()
}

/// Sums the blocks of everything under `root` on one filesystem; a file with several names counts once.
fn allocated(root: &Path, device: u64, stop: impl Fn() -> bool) -> Option<u64> {
    let (mut used, mut linked, mut open) = (0, HashSet::new(), vec![root.to_owned()]);
    while let Some(dir) = open.pop() {
        if stop() {
            return None;
        }
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            let is_counted = metadata.nlink() > 1 && !metadata.is_dir() && !linked.insert(metadata.ino());
            if metadata.dev() != device || is_counted {
                continue;
            }
            used += metadata.blocks() * 512;
            if metadata.is_dir() {
                open.push(entry.path());
            }
        }
    }
    Some(used)
}

/// Returns the size of a regular file, links followed; none when there is none.
pub fn file_size(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().filter(Metadata::is_file).map(|metadata| metadata.len())
}

/// Tells whether `link` is a symbolic link that holds exactly `target`.
pub fn is_link_to(link: &Path, target: &Path) -> bool {
    std::fs::read_link(link).is_ok_and(|found| found == target)
}

/// Returns the generation that a link in a home names; none when it is no such link.
pub fn linked_generation(link: &Path) -> Option<String> {
    let target = std::fs::read_link(link).ok()?;
    let name = target.file_name()?.to_str()?;
    (target == Home::link_to(name)).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_counts_a_file_with_two_names_once() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("a/one"), dir.path().join("two"));
        std::fs::create_dir(dir.path().join("a")).unwrap();
        std::fs::write(&one, vec![1; 300 << 10]).unwrap();
        let left = |bytes| quota(dir.path(), bytes, || false).unwrap().unwrap().left_bytes;
        assert!(held(&dir.path().join("a")) >= 300 << 10 && held(&dir.path().join("none")) == 0);
        let alone = left(1 << 30);
        assert!(alone <= (1 << 30) - (300 << 10), "{alone}");
        std::fs::hard_link(&one, &two).unwrap();
        assert_eq!(left(1 << 30), alone);
        assert_eq!(left(10), 0);
        assert_eq!(quota(dir.path(), 10, || true).unwrap(), None);
    }

    #[test]
    fn a_link_that_leads_elsewhere_names_no_generation() {
        let dir = tempfile::tempdir().unwrap();
        for (at, (target, name)) in [
            ("generations/a", Some("a")),
            ("/generations/a", None),
            ("../generations/a", None),
            ("generations/../a", None),
            ("generations/a/..", None),
            ("a", None),
        ]
        .into_iter()
        .enumerate()
        {
            let link = dir.path().join(at.to_string());
            std::os::unix::fs::symlink(target, &link).unwrap();
            assert_eq!(linked_generation(&link).as_deref(), name, "{target}");
        }
        assert_eq!(linked_generation(&dir.path().join("none")), None);
    }

    #[test]
    fn the_smaller_one_of_disk_and_quota_counts_on_its_filesystem() {
        let (total_bytes, used_bytes, available_bytes) = (1000, 900, 100);
        let space = Space { device: 1, total_bytes, used_bytes, available_bytes, quota_bytes: None };
        let quota = |device, left_bytes| Some(Quota { device, bytes: 500, left_bytes });
        assert_eq!(space.within(None), space);
        assert_eq!(space.within(quota(2, 7)), space);
        assert_eq!(space.within(quota(1, 200)), space);
        let limited = Space { available_bytes: 7, quota_bytes: Some(500), ..space };
        assert_eq!(space.within(quota(1, 7)), limited);
    }
}
