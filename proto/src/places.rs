//! Where the daemon and its clients meet: the rules for the socket and the state directory.
//!
//! Both sides must come to the same path or they never meet, so the rules stand here once, as pure
//! functions over the variables; who calls them reads the environment and looks at the disk.

use crate::ErrorKind;
use std::path::{Path, PathBuf};

/// Mount points of a RunPod network volume: on serverless workers and on pods.
pub const VOLUMES: [&str; 2] = ["/runpod-volume", "/workspace"];

/// The control socket of the daemon that systemd runs for the whole machine (`systemd/comfyd.socket`).
pub const SYSTEM_SOCKET: &str = "/run/comfyd/comfyd.sock";

/// What a service manager says to the one process that it started (sd_notify(3), sd_listen_fds(3)). A child that
/// inherited it would speak in that process's name.
pub const SERVICE_VARIABLES: [&str; 6] =
    ["NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];
/// Says for how many seconds the daemon waits for its volume before it listens. Clients that start one are as patient.
pub const VOLUME_WAIT: &str = "COMFYD_VOLUME_WAIT";

/// Longest socket path in bytes: `sun_path` holds 108 with the closing zero (unix(7)).
pub const SOCKET_PATH_MAX: usize = 107;

/// Why a place cannot be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// Neither a home directory nor a volume.
    #[error("neither HOME nor COMFY_VOLUME is set: there is no place for the daemon's state")]
    NoHome,
    /// A path that must be absolute is not.
    #[error("{name} is `{value}`, which is not an absolute path")]
    Relative {
        /// The variable.
        name: String,
        /// Its value.
        value: String,
    },
    /// The socket's path does not fit into the kernel's address structure.
    #[error("the socket path `{0}` is longer than {SOCKET_PATH_MAX} bytes")]
    SocketPath(PathBuf),
}

impl PlaceError {
    /// Returns the kind: what is wrong is always what the caller set.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Usage
    }

    /// Returns the remedy.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoHome => "set HOME, or name a writable directory with COMFY_VOLUME".to_owned(),
            Self::Relative { name, .. } => format!("set {name} to a path that begins with `/`"),
            Self::SocketPath(_) => "set COMFYD_SOCKET to a shorter path".to_owned(),
        })
    }
}

/// Returns the control socket: `$COMFYD_SOCKET`, else `$XDG_RUNTIME_DIR/comfyd.sock`, else
/// `comfyd.sock` in the [`state_dir`]. A client that was not told which one goes on to [`SYSTEM_SOCKET`] where
/// nobody listens on this one, and starts a daemon of its own only where it may not use that either.
///
/// `vars` returns a variable's value; `volume` returns the volume, and is asked only when `HOME`
/// is needed and not set.
///
/// # Errors
/// A variable that cannot be followed.
pub fn socket(
    vars: impl Fn(&str) -> Option<String>,
    volume: impl FnOnce() -> Option<PathBuf>,
) -> Result<PathBuf, PlaceError> {
    let socket = match (path(&vars, "COMFYD_SOCKET")?, path(&vars, "XDG_RUNTIME_DIR")?) {
        (Some(socket), _) => socket,
        (None, Some(runtime)) => runtime.join("comfyd.sock"),
        (None, None) => state_dir(vars, volume)?.join("comfyd.sock"),
    };
    fits_socket(&socket)?;
    Ok(socket)
}

/// Checks that a socket's path fits into the kernel's address structure.
///
/// # Errors
/// It does not.
pub fn fits_socket(path: &Path) -> Result<(), PlaceError> {
    if path.as_os_str().len() > SOCKET_PATH_MAX {
        return Err(PlaceError::SocketPath(path.to_owned()));
    }
    Ok(())
}

/// Returns the lock file of a socket: who holds it by `flock` is the daemon of that socket.
pub fn socket_lock(socket: &Path) -> PathBuf {
    socket.with_extension("sock.lock")
}

/// Returns the directory of logs and records: `$COMFYD_STATE_DIR`, else `$XDG_STATE_HOME/comfyd`,
/// else `.local/state/comfyd` in `$HOME`, else in the volume. Parameters as in [`socket`].
///
/// # Errors
/// A variable that cannot be followed, or neither `HOME` nor a volume.
pub fn state_dir(
    vars: impl Fn(&str) -> Option<String>,
    volume: impl FnOnce() -> Option<PathBuf>,
) -> Result<PathBuf, PlaceError> {
    if let Some(dir) = path(&vars, "COMFYD_STATE_DIR")? {
        return Ok(dir);
    }
    if let Some(dir) = path(&vars, "XDG_STATE_HOME")? {
        return Ok(dir.join("comfyd"));
    }
    let user = match path(&vars, "HOME")? {
        Some(home) => home,
        None => volume().ok_or(PlaceError::NoHome)?,
    };
    Ok(user.join(".local/state/comfyd"))
}

/// Returns a variable's value as an absolute path; one that is not set or blank is none.
///
/// # Errors
/// The path is relative.
pub fn path(vars: impl Fn(&str) -> Option<String>, name: &str) -> Result<Option<PathBuf>, PlaceError> {
    match text(vars, name) {
        Some(value) if value.starts_with('/') => Ok(Some(PathBuf::from(value))),
        Some(value) => Err(PlaceError::Relative { name: name.to_owned(), value }),
        None => Ok(None),
    }
}

/// Returns a variable's value without blanks around it; one that is not set or blank is none.
pub fn text(vars: impl Fn(&str) -> Option<String>, name: &str) -> Option<String> {
    vars(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

/// Returns whether a switch is on: set, and neither `0`, `false`, `no` nor `off`.
pub fn flag(vars: impl Fn(&str) -> Option<String>, name: &str) -> bool {
    text(vars, name)
        .is_some_and(|value| !matches!(value.to_ascii_lowercase().as_str(), "0" | "false" | "no" | "off"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars<'a>(pairs: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
        |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    }

    fn no_volume() -> Option<PathBuf> {
        None
    }

    #[test]
    fn the_socket_is_the_first_place_that_is_set() {
        let table: &[(&[(&str, &str)], &str)] = &[
            (&[("COMFYD_SOCKET", "/s.sock"), ("XDG_RUNTIME_DIR", "/run/u")], "/s.sock"),
            (&[("COMFYD_SOCKET", " "), ("XDG_RUNTIME_DIR", "/run/u")], "/run/u/comfyd.sock"),
            (&[("COMFYD_STATE_DIR", "/st"), ("XDG_STATE_HOME", "/x")], "/st/comfyd.sock"),
            (&[("XDG_STATE_HOME", "/x"), ("HOME", "/h")], "/x/comfyd/comfyd.sock"),
            (&[("HOME", "/h")], "/h/.local/state/comfyd/comfyd.sock"),
        ];
        for (given, expected) in table {
            assert_eq!(socket(vars(given), no_volume), Ok(PathBuf::from(expected)), "{given:?}");
        }
    }

    #[test]
    fn without_a_home_the_volume_holds_the_state() {
        assert_eq!(
            socket(vars(&[]), || Some(PathBuf::from("/workspace"))),
            Ok(PathBuf::from("/workspace/.local/state/comfyd/comfyd.sock"))
        );
        assert_eq!(socket(vars(&[]), no_volume), Err(PlaceError::NoHome));
    }

    #[test]
    fn paths_that_cannot_be_followed_are_refused() {
        let relative = socket(vars(&[("COMFYD_SOCKET", "s.sock")]), no_volume);
        assert!(matches!(relative, Err(PlaceError::Relative { name, .. }) if name == "COMFYD_SOCKET"));
        let long = format!("/{}", "x".repeat(SOCKET_PATH_MAX));
        assert!(matches!(
            socket(vars(&[("COMFYD_SOCKET", &long)]), no_volume),
            Err(PlaceError::SocketPath(_))
        ));
    }

    #[test]
    fn switches_know_the_words_for_off() {
        for off in ["", " ", "0", "false", "No", "OFF"] {
            assert!(!flag(vars(&[("X", off)]), "X"), "{off}");
        }
        assert!(flag(vars(&[("X", "1")]), "X"));
        assert!(!flag(vars(&[]), "X"));
    }
}
