//! The volume: which directory it is, and waiting until it is mounted.
//!
//! RunPod mounts a volume before a container begins; others do it later. Until then its mount point may be a directory
//! of the container's own disk, where everything would be made anew and lost. With `COMFYD_VOLUME_WAIT` the daemon
//! waits for the mount before it does anything else. It does not serve meanwhile: where versions, homes and caches
//! lie, and maybe the socket, depends on the volume, so there is nothing that it could answer rightly. Clients wait
//! for it to listen, for so much longer.

use super::{ConfigError, count};
use proto::places::{self, VOLUME_WAIT, VOLUMES};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often to look whether it is mounted.
const LOOK: Duration = Duration::from_millis(250);

/// How often to say that it is not.
const TELL: Duration = Duration::from_secs(5);

/// Returns the volume: the one that was named, which may be read-only (what is ready there runs), else the first
/// mount point of a RunPod volume that is writable; none on a machine without one. Blocks for at most
/// `COMFYD_VOLUME_WAIT` until it is mounted.
///
/// # Errors
/// One that was named is no directory, or none was mounted in time.
pub(super) fn find(get: impl Fn(&str) -> Option<String> + Copy) -> Result<Option<PathBuf>, ConfigError> {
    let named = places::path(get, "COMFY_VOLUME")?;
    match (count(get, VOLUME_WAIT, 0)?.unwrap_or(0), named) {
        (0, Some(volume)) if volume.is_dir() => Ok(Some(volume)),
        (0, Some(volume)) => Err(ConfigError::Volume(volume)),
        (0, None) => Ok(VOLUMES.map(PathBuf::from).into_iter().find(|path| is_writable_dir(path))),
        (seconds, named) => mounted(named.as_deref(), Duration::from_secs(seconds as u64)).map(Some),
    }
}

/// Waits until the volume is mounted.
fn mounted(named: Option<&Path>, limit: Duration) -> Result<PathBuf, ConfigError> {
    let (places, may_be_used): (Vec<_>, fn(&Path) -> bool) = match named {
        Some(volume) => (vec![volume.to_owned()], Path::is_dir),
        None => (VOLUMES.map(PathBuf::from).to_vec(), is_writable_dir),
    };
    let sought: Vec<_> = places.iter().map(|place| format!("`{}`", place.display())).collect();
    let (sought, began) = (sought.join(" or "), Instant::now());
    let mut told = Duration::ZERO;
    loop {
        if let Some(volume) = places.iter().find(|place| is_mounted(place) && may_be_used(place)) {
            return Ok(volume.clone());
        }
        let waited = began.elapsed();
        if waited >= limit {
            return Err(ConfigError::NotMounted { sought, seconds: limit.as_secs() });
        }
        if waited >= told {
            let (so_far, at_most) = (waited.as_secs(), limit.as_secs());
            tracing::info!("waiting until a volume is mounted at {sought}: {so_far} s of {at_most} s");
            told = waited + TELL;
        }
        std::thread::sleep(LOOK.min(limit.saturating_sub(waited)));
    }
}

/// Tells whether a volume is mounted: at this very place, or, where the place lies in one of RunPod's mount points, there.
fn is_mounted(place: &Path) -> bool {
    // A look into a directory mounts what is to be mounted by the first look; a look at its metadata does not
    // (stat(2), `AT_NO_AUTOMOUNT`).
    let Ok(place) = std::fs::read_dir(place).and_then(|_| place.canonicalize()) else { return false };
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    mount_of(&table, &place)
        .is_some_and(|mount| mount == place || VOLUMES.iter().any(|volume| mount == Path::new(volume)))
}

/// Returns the mount point that a path lies on, by the lines of `/proc/self/mountinfo` (proc_pid_mountinfo(5)); none
/// where the mount is yet to be made (autofs).
fn mount_of(table: &str, path: &Path) -> Option<PathBuf> {
    let mounts = table.lines().filter_map(|line| {
        let (mount, device) = line.split_once(" - ")?;
        let point = PathBuf::from(unescaped(mount.split(' ').nth(4)?));
        path.starts_with(&point).then_some((point, device.starts_with("autofs ")))
    });
    // The deepest one, and of several at one place the one that was made last.
    let (point, is_yet_to_be_made) = mounts.max_by_key(|(point, _)| point.components().count())?;
    (!is_yet_to_be_made).then_some(point)
}

/// Puts back what the table spells in octal: blanks, tabs, line feeds and backslashes.
fn unescaped(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .into_iter()
        .fold(text.to_owned(), |text, (spelt, meant)| text.replace(spelt, meant))
}

fn is_writable_dir(path: &Path) -> bool {
    path.is_dir() && nix::unistd::access(path, nix::unistd::AccessFlags::W_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
20 1 0:40 / / rw,relatime - overlay overlay rw,lowerdir=/l
21 20 0:41 / /proc rw - proc proc rw
30 20 0:50 / /workspace rw,relatime shared:7 - fuse mfs#host:9421 rw
31 20 0:51 / /auto rw - autofs systemd-1 rw,fd=30
32 20 0:52 / /late rw - autofs systemd-1 rw,fd=31
33 32 0:53 / /late rw - nfs4 server:/x rw
34 20 8:1 /a /with\\040blank rw - ext4 /dev/sda1 rw
short
";

    #[test]
    fn a_path_lies_on_the_deepest_mount_above_it() {
        for (path, mount) in [
            ("/workspace", Some("/workspace")),
            ("/workspace/comfy", Some("/workspace")),
            ("/workspaces", Some("/")),
            ("/data", Some("/")),
            ("/auto", None),
            ("/late", Some("/late")),
            ("/with blank/x", Some("/with blank")),
        ] {
            assert_eq!(mount_of(TABLE, Path::new(path)).as_deref(), mount.map(Path::new), "{path}");
        }
        assert_eq!(mount_of("", Path::new("/workspace")), None);
    }

    #[test]
    fn what_is_no_mount_is_not_waited_for_longer_than_asked() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().display().to_string();
        let get = |wait: &'static str| {
            let place = place.clone();
            move |name: &str| match name {
                "COMFY_VOLUME" => Some(place.clone()),
                "COMFYD_VOLUME_WAIT" => Some(wait.to_owned()),
                _ => None,
            }
        };
        assert_eq!(find(&get("0")).unwrap(), Some(PathBuf::from(&place)));
        let error = find(&get("1")).unwrap_err();
        assert_eq!(error.to_string(), format!("no volume was mounted at `{place}` within 1 s"));
        assert!(matches!(find(&get("soon")), Err(ConfigError::Count { .. })));
        assert_eq!(
            find(&|name: &str| get("9")(name).map(|text| text.replace(&place, "/proc"))).unwrap(),
            Some("/proc".into())
        );
    }
}
