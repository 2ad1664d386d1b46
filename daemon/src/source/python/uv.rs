//! Running uv: its environment, and its failures as errors.

use super::error::PythonError;
use super::said::{Said, kind_of};
use crate::config::Config;
use crate::ctx::Ctx;
use crate::process::{Command, Finished, run};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A uv that works, and what it gets to see. Cheap to clone, made by [`Uv::locate`].
///
/// uv reads its user's and system's `uv.toml` (a private index set there is meant to work); it never
/// downloads an interpreter.
#[derive(Debug, Clone)]
pub struct Uv {
    pub(super) program: PathBuf,
    env: BTreeMap<String, String>,
    /// Whether only links and directories count (`PIP_NO_INDEX`); uv has no variable for it.
    no_index: bool,
}

/// Variables that would make uv look at another environment or interpreter than the one it is given,
/// or move the date that the lock records.
const REMOVED: &[&str] = &[
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "CONDA_DEFAULT_ENV",
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONSTARTUP",
    "UV_PYTHON",
    "UV_SYSTEM_PYTHON",
    "UV_PROJECT",
    "UV_PROJECT_ENVIRONMENT",
    "UV_WORKING_DIR",
    "UV_EXCLUDE_NEWER",
    "UV_REQUIRE_HASHES",
    "UV_VENV_CLEAR",
    "UV_OFFLINE",
];

impl Uv {
    pub(super) fn new(program: PathBuf, config: &Config) -> Self {
        let no_index = config.child_env.get("PIP_NO_INDEX").is_some_and(|value| is_true(value));
        Self { program, env: environment(config), no_index }
    }

    /// Returns its program.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Returns a command in uv's environment. Its working directory is `/`, so that no project's
    /// settings are found by chance.
    pub(super) fn command(&self, offline: bool) -> Command {
        let command = Command::new(&self.program, self.env.clone());
        if offline { command.env("UV_OFFLINE", "1") } else { command }
    }

    /// Returns a command of `uv pip` that may look for packages, and reads what is wanted from its standard input.
    pub(super) fn pip(&self, verb: &str, offline: bool) -> Command {
        let command = self.command(offline).args(["pip", verb, "-"]);
        if self.no_index { command.arg("--no-index") } else { command }
    }

    /// Returns the first program of this name on the PATH that uv sees.
    pub(super) fn which(&self, name: &str) -> Option<PathBuf> {
        on_path(&self.env, name).into_iter().next()
    }

    /// Returns a command of another program in the same environment.
    pub(super) fn other(&self, program: &Path) -> Command {
        Command::new(program, self.env.clone())
    }

    /// Runs a command of uv's to its end; a failure is an error of the kind that uv's words mean.
    pub(super) async fn run(
        ctx: &Ctx,
        command: &Command,
        attempt: impl Into<String>,
        on_line: impl FnMut(&str),
    ) -> Result<Finished, PythonError> {
        let finished = run(ctx, command, on_line).await?;
        if finished.status.success() { Ok(finished) } else { Err(failure(attempt, &finished.stderr)) }
    }
}

pub(super) fn failure(attempt: impl Into<String>, stderr: &str) -> PythonError {
    PythonError::Uv { attempt: attempt.into(), kind: kind_of(stderr), source: Said::by_uv(stderr) }
}

/// Returns every executable file of this name on the PATH of `env`. Blocks for a few `stat`s.
pub fn on_path(env: &BTreeMap<String, String>, name: &str) -> Vec<PathBuf> {
    let path = env.get("PATH").map_or("/usr/local/bin:/usr/bin:/bin", String::as_str);
    let dirs = path.split(':').filter(|dir| dir.starts_with('/'));
    dirs.map(|dir| Path::new(dir).join(name)).filter(|file| is_executable(file)).collect()
}

/// Tells whether a file (or what a link points to) is there and may be executed. Blocks for one `stat`.
pub(super) fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

fn environment(config: &Config) -> BTreeMap<String, String> {
    let mut env = config.child_env.clone();
    for name in REMOVED {
        env.remove(*name);
    }
    for (name, value) in [
        ("UV_CACHE_DIR", &*config.uv_cache.to_string_lossy()),
        ("UV_PYTHON_DOWNLOADS", "never"),
        ("UV_NO_PROGRESS", "1"),
        ("NO_COLOR", "1"),
    ] {
        env.insert(name.to_owned(), value.to_owned());
    }
    env.remove("FORCE_COLOR");
    translate_pip(&mut env);
    add_wheels_dir(&mut env, config.wheels_dir.as_deref());
    env
}

/// uv reads no `PIP_…`; machines that are set up for pip mean them.
fn translate_pip(env: &mut BTreeMap<String, String>) {
    for (pip, uv, other) in [
        ("PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL"),
        ("PIP_EXTRA_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_INDEX"),
        ("PIP_FIND_LINKS", "UV_FIND_LINKS", "UV_FIND_LINKS"),
    ] {
        if env.contains_key(uv) || env.contains_key(other) {
            continue;
        }
        if let Some(value) = env.get(pip).filter(|value| !value.trim().is_empty()) {
            // pip separates by spaces; uv's find-links by commas.
            let separator = if uv == "UV_FIND_LINKS" { "," } else { " " };
            let value = value.split_whitespace().collect::<Vec<_>>().join(separator);
            env.insert(uv.to_owned(), value);
        }
    }
}

/// Reads a switch as pip does (distutils' `strtobool`).
fn is_true(value: &str) -> bool {
    ["1", "true", "yes", "y", "on", "t"].contains(&&*value.trim().to_ascii_lowercase())
}

/// Adds the wheels directory, and drops directories that are not there: uv refuses them.
fn add_wheels_dir(env: &mut BTreeMap<String, String>, wheels_dir: Option<&Path>) {
    let given = env.remove("UV_FIND_LINKS").unwrap_or_default();
    let usable = |link: &&str| !link.is_empty() && (link.contains("://") || Path::new(link).is_dir());
    let mut links: Vec<String> = given.split(',').map(str::trim).filter(usable).map(str::to_owned).collect();
    links.extend(wheels_dir.map(|dir| dir.to_string_lossy().into_owned()));
    links.dedup();
    if !links.is_empty() {
        env.insert("UV_FIND_LINKS".to_owned(), links.join(","));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env_of(vars: &[(&str, &str)]) -> BTreeMap<String, String> {
        let mut all = BTreeMap::from([("HOME".to_owned(), "/nowhere".to_owned())]);
        all.extend(vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        environment(&Config::from_vars(&all).unwrap())
    }

    #[test]
    fn what_is_set_up_for_pip_holds_for_uv_unless_uv_is_set_up() {
        let env = env_of(&[("PIP_INDEX_URL", "http://pip"), ("PIP_EXTRA_INDEX_URL", "http://a\n http://b")]);
        assert_eq!(env.get("UV_DEFAULT_INDEX").map(String::as_str), Some("http://pip"));
        assert_eq!(env.get("UV_EXTRA_INDEX_URL").map(String::as_str), Some("http://a http://b"));
        let env = env_of(&[("PIP_INDEX_URL", "http://pip"), ("UV_INDEX_URL", "http://uv")]);
        assert!(!env.contains_key("UV_DEFAULT_INDEX"));
    }

    #[test]
    fn wheels_directories_add_up_and_absent_ones_are_dropped() {
        let wheels = tempfile::tempdir().unwrap();
        let dir = wheels.path().to_str().unwrap();
        let env = env_of(&[("PIP_FIND_LINKS", "/not/there http://links.example"), ("COMFY_WHEELS_DIR", dir)]);
        assert_eq!(env["UV_FIND_LINKS"], format!("http://links.example,{dir}"));
    }

    #[test]
    fn no_other_environment_leaks_in() {
        let env = env_of(&[("VIRTUAL_ENV", "/x"), ("PYTHONPATH", "/y"), ("UV_EXCLUDE_NEWER", "2020-01-01")]);
        assert!(
            ["VIRTUAL_ENV", "PYTHONPATH", "UV_EXCLUDE_NEWER"].iter().all(|name| !env.contains_key(*name))
        );
    }
}
