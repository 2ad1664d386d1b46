//! Runs comfyctl in an environment of its own.

use assert_cmd::Command;
use serde_json::Value;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;
use support::script_daemon::ScriptDaemon;

/// Returns comfyctl with no environment but `HOME`, never starting a real daemon.
pub(crate) fn comfyctl(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_comfyctl"));
    command.env_clear().env("HOME", home).env("LANG", "C.UTF-8").current_dir(home);
    command.env("COMFYD_BIN", "/nonexistent/comfyd").timeout(Duration::from_secs(30));
    command
}

/// Returns comfyctl that talks to `daemon`.
pub(crate) fn with(daemon: &ScriptDaemon) -> Command {
    let mut command = comfyctl(daemon.dir());
    command.env("COMFYD_SOCKET", daemon.socket());
    command
}

/// How a run of comfyctl ended.
pub(crate) struct Ended {
    /// Exit status.
    pub(crate) status: Option<i32>,
    /// Its results.
    pub(crate) stdout: String,
    /// What it told.
    pub(crate) stderr: String,
}

impl Ended {
    /// Returns the one JSON document on stdout.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.stdout.lines().count(), 1, "one line: {}", self.stdout);
        serde_json::from_str(&self.stdout).unwrap()
    }
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command, args: &[&str]) -> Ended {
    let output = command.args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { status: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Starts comfyctl with both outputs piped, for tests that do something while it runs.
pub(crate) fn spawn(daemon: &ScriptDaemon, args: &[&str]) -> Child {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_comfyctl"));
    command.env_clear().env("COMFYD_SOCKET", daemon.socket()).current_dir(daemon.dir());
    command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}
