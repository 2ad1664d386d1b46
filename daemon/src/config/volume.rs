//! The volume: which directory it is, and waiting until it is mounted.
//!
//! RunPod mounts a volume before a container begins; others do it later. Until then its mount point may be a directory
//! of the container's own disk, where everything would be made anew and lost. With `COMFYD_VOLUME_WAIT` the daemon
//! waits for the mount before it does anything else. It does not serve meanwhile: where versions, homes and caches
//! lie, and maybe the socket, depends on the volume, so there is nothing that it could answer rightly. Clients wait
//! for it to listen, for so much longer.

use super::{ConfigError, count};
use crate::mounts::Mount;
use crate::service;
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
            let text = format!("waiting until a volume is mounted at {sought}: {so_far} s of {at_most} s");
            tracing::info!("{text}");
            service::starting(&text, TELL);
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
    // An automount point that nobody has looked at yet is a mount of its own kind.
    let mount = Mount::of(&place).ok().flatten().filter(|mount| mount.kind != "autofs");
    mount.is_some_and(|mount| {
        mount.point == place || VOLUMES.iter().any(|volume| mount.point == Path::new(volume))
    })
}

fn is_writable_dir(path: &Path) -> bool {
    path.is_dir() && nix::unistd::access(path, nix::unistd::AccessFlags::W_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

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
            find(|name: &str| get("9")(name).map(|text| text.replace(&place, "/proc"))).unwrap(),
            Some("/proc".into())
        );
    }
}
