//! How far away a volume is: measured once for each mount, never guessed from its kind.
//!
//! What is measured is what a boot does fifty thousand times: opening a file that nobody has looked at before, and
//! reading a little of it. The same on the local disk tells what could be gained.

use crate::mounts::Mount;
use crate::store::commit::{StoreError, create_dir_all, staging_path};
use crate::store::{owner, read_json, write_json};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Files that are opened; half of it is the least that says something.
const FILES: usize = 32;

/// Bytes between places that are read: more than the kernel reads ahead.
const APART: usize = 256 << 10;

/// A volume is far away if one file takes so long at least,
const FAR: Duration = Duration::from_micros(300);

/// and so many times what it takes on the local disk.
const TIMES: u32 = 4;

/// What opening and reading one file takes, in the median.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Speed {
    /// On the volume.
    pub volume: Duration,
    /// On the local disk.
    pub local: Duration,
}

impl Speed {
    /// Tells whether starts from that volume are made from a local copy.
    pub fn is_far(self) -> bool {
        self.volume >= FAR && self.volume >= self.local * TIMES
    }
}

/// What was measured, kept beside the daemon's other state until the machine boots anew.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Measured {
    boot: String,
    mounts: BTreeMap<String, Speed>,
}

/// Returns what was measured of the mount that `dir` lies on. Blocks shortly.
pub(super) fn known(kept: &Path, dir: &Path) -> Option<Speed> {
    let measured: Measured = read_json(kept).ok()??;
    (measured.boot == owner::boot()).then_some(measured)?.mounts.get(&mount_of(dir).ok()?).copied()
}

/// Measures the mount that `dir` lies on by opening some of `files`, which should not have been read lately, and
/// keeps the result. None when there are too few. Blocks, for as long as that takes.
///
/// # Errors
/// When the local disk refuses.
pub(super) fn measure(
    kept: &Path,
    dir: &Path,
    files: &[PathBuf],
    local: &Path,
) -> Result<Option<Speed>, StoreError> {
    let Some(speed) = time_files(files, local)? else { return Ok(None) };
    tracing::info!(dir = %dir.display(), ?speed, far = speed.is_far(), "measured a volume");
    let mount = mount_of(dir).map_err(StoreError::at("look at", dir))?;
    let before = read_json::<Measured>(kept).ok().flatten().filter(|measured| measured.boot == owner::boot());
    let mut measured =
        before.unwrap_or_else(|| Measured { boot: owner::boot().to_owned(), ..Measured::default() });
    measured.mounts.insert(mount, speed);
    write_json(kept, &measured)?;
    Ok(Some(speed))
}

/// Times opening some of `files` and reading a little of each, and the same in the directory `local`, which is made
/// where it is missing. None when there are too few. Keeps nothing. Blocks, for as long as that takes.
///
/// # Errors
/// When the local disk refuses.
pub fn time_files(files: &[PathBuf], local: &Path) -> Result<Option<Speed>, StoreError> {
    let step = (files.len() / FILES).max(1);
    let times: Vec<_> =
        files.iter().step_by(step).take(FILES).filter_map(|file| time(file, 0).ok()).collect();
    let Some(volume) = median(times) else { return Ok(None) };
    Ok(median(local_times(local)?).map(|local| Speed { volume, local }))
}

fn median(mut times: Vec<Duration>) -> Option<Duration> {
    times.sort_unstable();
    times.get(times.len() / 2).copied().filter(|_| times.len() >= FILES / 2)
}

/// Times opening a file and reading a little of it from `offset` on.
fn time(file: &Path, offset: u64) -> io::Result<Duration> {
    let began = Instant::now();
    let mut some = [0; 4096];
    // How much there is to read is of no matter.
    let _bytes = File::open(file)?.read_at(&mut some, offset)?;
    Ok(began.elapsed())
}

/// Times the same on the local disk: on places of one file that is written now and dropped from the page cache. One,
/// since a disk that is being written to takes a second to sync each.
fn local_times(local: &Path) -> Result<Vec<Duration>, StoreError> {
    create_dir_all(local)?;
    let staging = staging_path(&local.join("speed"));
    let measured = || -> io::Result<Vec<Duration>> {
        std::fs::write(&staging, vec![1; FILES * APART])?;
        let file = File::open(&staging)?;
        file.sync_data()?;
        let drop = nix::fcntl::PosixFadviseAdvice::POSIX_FADV_DONTNEED;
        nix::fcntl::posix_fadvise(&file, 0, 0, drop)?;
        (0..FILES).map(|number| time(&staging, (number * APART) as u64)).collect()
    };
    let measured = measured().map_err(StoreError::at("write", &staging));
    std::fs::remove_file(&staging).ok();
    measured
}

/// Names the mount that a directory lies on: its device and what is mounted, since numbers of devices are given anew.
fn mount_of(dir: &Path) -> io::Result<String> {
    let device = std::fs::metadata(dir)?.dev();
    let mounted = Mount::of(dir)?.map(|mount| format!("{} {} {}", mount.kind, mount.source, mount.options));
    Ok(format!("{device} {}", mounted.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn far_is_what_takes_long_and_much_longer_than_here() {
        let speed = |volume, local| Speed {
            volume: Duration::from_micros(volume),
            local: Duration::from_micros(local),
        };
        for (volume, local, far) in [(2000, 20, true), (299, 1, false), (2000, 600, false), (301, 75, true)] {
            assert_eq!(speed(volume, local).is_far(), far, "{volume} {local}");
        }
    }

    #[test]
    fn a_mount_is_measured_once_for_each_boot() {
        let dir = tempfile::tempdir().unwrap();
        let kept = dir.path().join("state/mounts.json");
        let files: Vec<_> = (0..FILES).map(|number| dir.path().join(number.to_string())).collect();
        assert_eq!(measure(&kept, dir.path(), &files, dir.path()).unwrap(), None, "there are no files");
        for file in &files {
            std::fs::write(file, "x").unwrap();
        }
        assert_eq!(known(&kept, dir.path()), None);
        let speed = measure(&kept, dir.path(), &files, dir.path()).unwrap();
        assert!(speed.is_some_and(|speed| !speed.is_far()));
        assert_eq!(known(&kept, dir.path()), speed);
        let text = std::fs::read_to_string(&kept).unwrap().replace(owner::boot(), "earlier");
        std::fs::write(&kept, text).unwrap();
        assert_eq!(known(&kept, dir.path()), None);
        std::fs::write(&kept, "{").unwrap();
        assert_eq!(known(&kept, dir.path()), None);
    }
}
