//! What the client's surroundings say. The only reader of the environment in this crate.
//!
//! Colours (`NO_COLOR`, …) are left to anstream and indicatif.

use proto::places::{self, PlaceError};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Variables that are the daemon's to decide: it is told what is set here and warns of differences.
const TOLD: &[&str] = &[
    "MODELS_DIR",
    "COMFY_CACHE_NODES",
    "COMFY_VERSIONS_DIR",
    "COMFY_VOLUME",
    "COMFY_CACHE_ROOT",
    "COMFY_WHEELS_DIR",
    "COMFYD_NO_INSTALL_SCRIPTS",
    "HF_ENDPOINT",
];

/// Secrets: the daemon is told that they are set, never their values.
const TOLD_AS_SET: &[&str] = &["HF_TOKEN", "CIVITAI_TOKEN"];

/// Variables that matter to the client itself.
const OWN: &[&str] = &[
    "COMFYD_SOCKET",
    "COMFYD_STATE_DIR",
    "COMFYD_BIN",
    places::VOLUME_WAIT,
    "XDG_RUNTIME_DIR",
    "XDG_STATE_HOME",
    "HOME",
    "COMFY_HOME",
    "COMFY_OFFLINE",
    "TERM",
    "LC_ALL",
    "LC_CTYPE",
    "LANG",
];

/// What the client's surroundings say. Read once.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    vars: BTreeMap<String, String>,
    cwd: Option<PathBuf>,
}

impl Environment {
    /// Reads the variables named above, and the working directory.
    #[allow(clippy::disallowed_methods, reason = "this is the client's one reader of the environment")]
    pub fn read() -> Self {
        let names = OWN.iter().chain(TOLD).chain(TOLD_AS_SET);
        let vars = names.filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?))).collect();
        Self { vars, cwd: std::env::current_dir().ok() }
    }

    /// Returns the control socket by the rules that the daemon follows too.
    ///
    /// # Errors
    /// A variable that cannot be followed.
    pub fn socket(&self) -> Result<PathBuf, PlaceError> {
        places::socket(|name| self.get(name), || self.volume())
    }

    /// Returns the machine's own socket, where this user may use it and `COMFYD_SOCKET` names no other.
    pub fn system_socket(&self) -> Option<&'static Path> {
        let socket = Path::new(places::SYSTEM_SOCKET);
        let may_use = || nix::unistd::access(socket, nix::unistd::AccessFlags::W_OK).is_ok();
        (self.text("COMFYD_SOCKET").is_none() && may_use()).then_some(socket)
    }

    /// Returns the directory of the daemon's log.
    ///
    /// # Errors
    /// A variable that cannot be followed.
    pub fn state_dir(&self) -> Result<PathBuf, PlaceError> {
        places::state_dir(|name| self.get(name), || self.volume())
    }

    /// Returns the daemon to start: `COMFYD_BIN`, else `comfyd` beside this program, else the name,
    /// to be sought on PATH.
    pub fn daemon_program(&self) -> PathBuf {
        if let Some(named) = self.text("COMFYD_BIN") {
            return PathBuf::from(named);
        }
        std::env::current_exe()
            .and_then(|own| own.canonicalize())
            .map(|own| own.with_file_name("comfyd"))
            .ok()
            .filter(|beside| beside.is_file())
            .unwrap_or_else(|| PathBuf::from("comfyd"))
    }

    /// Returns for how long a daemon that is started here waits for its volume. What is no number is for the daemon to
    /// refuse.
    pub fn volume_wait(&self) -> Duration {
        /// Longer than anyone waits, and short enough to be added to a point in time.
        const LONGEST: u64 = 365 * 24 * 60 * 60;
        let seconds = self.text(places::VOLUME_WAIT).and_then(|text| text.parse().ok()).unwrap_or(0);
        Duration::from_secs(LONGEST.min(seconds))
    }

    /// Returns the working directory, where there is still one.
    pub fn cwd(&self) -> Option<&Path> {
        self.cwd.as_deref()
    }

    /// Returns `COMFY_HOME`, which may hold `{version_id}`.
    pub fn comfy_home(&self) -> Option<String> {
        self.text("COMFY_HOME")
    }

    /// Returns where specs may lie, as far as can be told from here: the daemon may have been told otherwise.
    pub fn versions_dirs(&self) -> Vec<PathBuf> {
        let parent = || self.volume().or_else(|| self.text("HOME").map(PathBuf::from));
        let named = self.text("COMFY_VERSIONS_DIR").map(PathBuf::from);
        let dirs = [named.or_else(|| Some(parent()?.join("versions"))), Some(PathBuf::from("versions"))];
        dirs.into_iter().flatten().collect()
    }

    /// Returns whether `COMFY_OFFLINE` is on.
    pub fn offline(&self) -> bool {
        places::flag(|name| self.get(name), "COMFY_OFFLINE")
    }

    /// Returns what `hello` tells the daemon about this environment.
    pub fn told(&self) -> BTreeMap<String, String> {
        let shown = TOLD.iter().filter_map(|name| Some(((*name).to_owned(), self.text(name)?)));
        let hidden = TOLD_AS_SET.iter().filter_map(|name| {
            self.text(name)?;
            Some(((*name).to_owned(), String::new()))
        });
        shown.chain(hidden).collect()
    }

    /// Returns whether the locale's characters are UTF-8; decided as in setlocale(3), by the first
    /// of three variables that is set.
    pub fn is_utf8(&self) -> bool {
        ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| self.text(name)).is_some_and(|locale| {
            let locale = locale.to_ascii_lowercase();
            locale.contains("utf-8") || locale.contains("utf8")
        })
    }

    /// Returns whether a terminal can move its cursor, so that something can be drawn on it.
    pub fn draws(&self) -> bool {
        self.text("TERM").is_some_and(|terminal| terminal != "dumb")
    }

    fn volume(&self) -> Option<PathBuf> {
        self.text("COMFY_VOLUME").map(PathBuf::from).or_else(|| {
            places::VOLUMES.map(PathBuf::from).into_iter().find(|volume| {
                volume.is_dir() && nix::unistd::access(volume, nix::unistd::AccessFlags::W_OK).is_ok()
            })
        })
    }

    fn get(&self, name: &str) -> Option<String> {
        self.vars.get(name).cloned()
    }

    fn text(&self, name: &str) -> Option<String> {
        places::text(|name| self.get(name), name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        let vars = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Environment { vars, cwd: None }
    }

    #[test]
    fn tokens_are_told_as_set_and_never_sent() {
        let told = environment(&[("HF_TOKEN", "s3cr3t"), ("MODELS_DIR", "/m"), ("HOME", "/h")]).told();
        let expected = [("HF_TOKEN", ""), ("MODELS_DIR", "/m")];
        assert_eq!(told, expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
    }

    #[test]
    fn a_dumb_terminal_draws_nothing() {
        assert!(environment(&[("TERM", "xterm")]).draws());
        assert!(!environment(&[("TERM", "dumb")]).draws());
        assert!(!environment(&[]).draws());
    }

    #[test]
    fn the_first_locale_variable_decides() {
        assert!(environment(&[("LANG", "en_US.UTF-8")]).is_utf8());
        assert!(!environment(&[("LC_ALL", "C"), ("LANG", "en_US.UTF-8")]).is_utf8());
        assert!(environment(&[("LC_ALL", "C.utf8")]).is_utf8());
        assert!(!environment(&[]).is_utf8());
    }
}
