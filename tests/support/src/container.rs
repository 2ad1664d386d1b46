//! A program in process and mount name spaces of its own, as in a container, where it is the first process.

use crate::TestEnv;
use crate::env::Ended;
use crate::process::eventually;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

/// A container. Dropping it kills all that runs in it.
#[derive(Debug)]
pub struct Container {
    /// `unshare`, which ends as the first process does.
    outside: Child,
    /// None where it ended before one could look.
    first: Option<u32>,
}

impl Container {
    /// Starts a program on this machine as the first process of a container; what it says goes into `run/said`.
    ///
    /// # Panics
    /// When there is no `unshare`. Without name spaces for us (root has them, and others where the system lets them)
    /// the container ends at once, and `run/said` says so.
    pub fn start(env: &TestEnv, program: &Command) -> Self {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child", "--mount", "--mount-proc"]);
        if !is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        command.arg(program.get_program()).args(program.get_args()).env_clear();
        command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.current_dir(env.path("home")).stdin(Stdio::null()).stdout(Stdio::null());
        let mut outside = command.stderr(fs::File::create(env.path("run/said")).unwrap()).spawn().unwrap();
        let mut first = None;
        eventually("the container begins", || {
            first = children(outside.id()).first().map(|(pid, _)| *pid);
            // Before it is the program, it is a copy of `unshare`.
            first.is_some_and(|pid| name(pid) != "unshare") || outside.try_wait().unwrap().is_some()
        });
        Self { outside, first }
    }

    /// Returns the first process's number outside.
    ///
    /// # Panics
    /// When it ended at once.
    pub fn first(&self) -> u32 {
        self.first.expect("`run/said` says why the container ended")
    }

    /// Returns a command in the container.
    pub fn command(&self, inside: &Command) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.first().to_string(), "--pid", "--mount"]);
        if !is_root() {
            command.args(["--user", "--preserve-credentials"]);
        }
        command.arg(inside.get_program()).args(inside.get_args()).env_clear();
        command.envs(inside.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.stdin(Stdio::null());
        command
    }

    /// Runs comfyctl in the container to its end.
    pub fn comfyctl(&self, env: &TestEnv, args: &[&str]) -> Ended {
        self.command(&env.command(args)).output().unwrap().into()
    }

    /// Mounts an empty disk over a place in the container.
    pub fn mount(&self, place: &Path) {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "disk"]).arg(place).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        assert!(self.command(&mount).status().unwrap().success());
    }

    /// Returns the first process's children: their numbers outside, and whether they are dead and not reaped.
    pub fn children(&self) -> Vec<(u32, bool)> {
        children(self.first())
    }

    /// Waits until all of it has ended; tells how the first process did, as `unshare` passes it on.
    pub fn wait(mut self) -> ExitStatus {
        let mut status = None;
        eventually("the container ends", || {
            status = self.outside.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap_or_default()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // What it started ends with it.
        self.outside.kill().ok();
        self.outside.wait().ok();
    }
}

/// Returns what the container's first process has said.
pub fn said(env: &TestEnv) -> String {
    fs::read_to_string(env.path("run/said")).unwrap_or_default()
}

fn is_root() -> bool {
    nix::unistd::geteuid().as_raw() == 0
}

fn name(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

fn children(parent: u32) -> Vec<(u32, bool)> {
    let pids = fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let child = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // After the name, which may hold anything: state, parent.
        let (_, fields) = stat.rsplit_once(") ")?;
        let mut fields = fields.split(' ');
        let state = fields.next()?;
        (fields.next()? == parent.to_string()).then(|| (pid, state == "Z"))
    };
    pids.filter_map(child).collect()
}
