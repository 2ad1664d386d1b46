//! Runs comfyctl in an environment of its own.

use assert_cmd::Command;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;
use support::TestEnv;
use support::env::Ended;
use support::process::eventually;
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

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command, args: &[&str]) -> Ended {
    command.args(args).output().unwrap().into()
}

/// Starts comfyctl with both outputs piped, for tests that do something while it runs.
pub(crate) fn spawn(daemon: &ScriptDaemon, args: &[&str]) -> Child {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_comfyctl"));
    command.env_clear().env("COMFYD_SOCKET", daemon.socket()).current_dir(daemon.dir());
    command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Returns a machine of its own, where comfyctl starts the real comfyd.
pub(crate) fn machine() -> TestEnv {
    TestEnv::new(env!("CARGO_BIN_EXE_comfyctl"))
}

/// Runs a script by the Python of a version's home and returns what it prints.
pub(crate) fn python(home: &Path, script: &str) -> String {
    let python = home.join("current/.venv/bin/python");
    let output = std::process::Command::new(python).env_clear().args(["-c", script]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A custom node whose `install.py` waits until it may pass, and counts how often it did.
pub(crate) struct Gate {
    home: PathBuf,
}

impl Gate {
    /// Returns the same gate for those who have another home directory.
    pub(crate) fn at(home: PathBuf) -> Self {
        Self { home }
    }

    /// Waits until an `install.py` stands at the gate.
    pub(crate) fn reached(&self) {
        eventually("install.py runs", || self.home.join("reached").exists());
    }

    /// Lets all pass from now on.
    pub(crate) fn open(&self) {
        std::fs::write(self.home.join("open"), "").unwrap();
    }

    /// Returns how many passed.
    pub(crate) fn passed(&self) -> usize {
        std::fs::read_to_string(self.home.join("passed")).unwrap_or_default().lines().count()
    }
}

const WAIT_AT_THE_GATE: &str = "\
import os, time
home = os.environ['HOME']
open(home + '/reached', 'w').close()
while not os.path.exists(home + '/open'):
    time.sleep(0.01)
open(home + '/passed', 'a').write('one\\n')
";

/// Writes a spec whose realize waits at a gate.
pub(crate) fn gate(env: &TestEnv, id: &str) -> Gate {
    let node = env.node("gate", &[("install.py", WAIT_AT_THE_GATE)]);
    let mut spec = env.spec();
    spec["custom_nodes"] = serde_json::json!([{ "repo": node.url() }]);
    env.write_spec(id, &spec);
    Gate { home: env.path("home") }
}
