//! Another machine with the same volume: its own home directory, socket and daemon. Locks of files do
//! not reach from one to the other, as on network volumes that are mounted without them.

use crate::env::{Ended, TestEnv};
use crate::process::{eventually, kill};
use crate::python_path;
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

const NO_FLOCK: &str = include_str!("../no_flock.py");

/// Returns a command that does the same without `flock`: each lock is granted, and locks nothing.
pub fn without_flock(command: &Command) -> Command {
    let mut launcher = Command::new(python_path());
    launcher.args(["-I", "-c", NO_FLOCK]).arg(command.get_program()).args(command.get_args());
    launcher.env_clear().stdin(Stdio::null());
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            launcher.env(name, value);
        }
    }
    if let Some(dir) = command.get_current_dir() {
        launcher.current_dir(dir);
    }
    launcher
}

/// A machine beside others. Its daemon ends with the [`TestEnv`].
#[derive(Debug)]
pub struct Pod<'a> {
    env: &'a TestEnv,
    dir: PathBuf,
    daemon: Child,
}

impl<'a> Pod<'a> {
    /// Starts a daemon without locks on a machine of this name.
    pub fn start(env: &'a TestEnv, name: &str) -> Self {
        let dir = env.path(name);
        fs::create_dir_all(dir.join("home")).unwrap();
        let mut command = env.comfyd();
        on(&dir, &mut command);
        let daemon = without_flock(&command).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let pod = Self { env, dir, daemon };
        eventually("the pod's daemon listens", || UnixStream::connect(pod.socket()).is_ok());
        pod
    }

    fn socket(&self) -> PathBuf {
        self.dir.join("comfyd.sock")
    }

    /// Returns the daemon's process id.
    pub fn pid(&self) -> u32 {
        self.daemon.id()
    }

    /// Kills the daemon at once.
    pub fn crash(&mut self) {
        kill(self.daemon.id(), "KILL");
        self.daemon.wait().unwrap();
    }

    /// Starts comfyctl on this machine with both outputs piped.
    pub fn spawn(&self, args: &[&str]) -> Child {
        let mut command = self.env.command(args);
        on(&self.dir, &mut command);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Runs comfyctl on this machine, which must succeed, and returns the document it prints.
    pub fn json(&self, args: &[&str]) -> Value {
        let ended: Ended = self.spawn(&[args, &["--json"]].concat()).wait_with_output().unwrap().into();
        assert_eq!(ended.status, Some(0), "{args:?}: {}{}", ended.stdout, ended.stderr);
        ended.json()
    }

    /// Realizes a version and hands out each state of progress, until `enough` or the answer.
    pub fn watch(&self, version: &str, mut enough: impl FnMut(&Value) -> bool) {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        let calls = [
            ("hello", json!({ "protocol": 1, "features": [], "client": "test" })),
            ("realize", json!({ "version": version })),
        ];
        for (id, (method, params)) in calls.iter().enumerate() {
            let call = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
            writeln!(stream, "{call}").unwrap();
        }
        for line in BufReader::new(stream).lines() {
            let message: Value = serde_json::from_str(&line.unwrap()).unwrap();
            if message["id"] == 1 || (message["method"] == "progress" && enough(&message["params"])) {
                return;
            }
        }
    }
}

/// Puts a command onto the machine that lies in `dir`.
fn on(dir: &std::path::Path, command: &mut Command) {
    command.env("HOME", dir.join("home")).current_dir(dir.join("home"));
    command.env("COMFYD_SOCKET", dir.join("comfyd.sock")).env("COMFYD_STATE_DIR", dir.join("state"));
}

impl Drop for Pod<'_> {
    fn drop(&mut self) {
        kill(self.daemon.id(), "KILL");
        self.daemon.wait().ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Locks a file that it holds locked already.
    const LOCKS_TWICE: &str = "\
import fcntl, tempfile
with tempfile.NamedTemporaryFile() as first, open(first.name) as second:
    fcntl.flock(first, fcntl.LOCK_EX)
    fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
";

    #[test]
    fn a_lock_without_flock_locks_nothing() {
        let mut command = Command::new(python_path());
        command.args(["-I", "-c", LOCKS_TWICE]).stderr(Stdio::null());
        assert!(!command.status().unwrap().success(), "with flock the second lock is refused");
        let output = without_flock(&command).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
