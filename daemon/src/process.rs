//! Child processes. The only room that spawns and signals.
//!
//! Each child leads a process group of its own, so that what it starts goes down with it, and is
//! awaited by process id, never by the end of its pipes: a grandchild that keeps a pipe open cannot
//! hold us up.

mod birth;
mod group;
mod init;
mod lasting;
mod memory;
mod open_files;
mod orphans;

pub use birth::{Birth, Effort, marked, pids, pss_bytes, threads};
pub use init::{is_first, stand_in_front};
pub use lasting::{Process, was_killed};
pub use memory::Memory;
pub use open_files::raise_open_files;
pub use orphans::end_orphans;

use crate::ctx::{Ctx, Standing};
use group::{Group, stop};
use nix::sys::signal::Signal;
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::Child;

/// How long a child may take to end after SIGTERM.
pub const GRACE: Duration = Duration::from_secs(10);

/// How long output may trickle in after a child has ended.
const DRAIN: Duration = Duration::from_secs(1);

/// How long a child that others may wait for is stopped: it may hold a lock of uv's that foreground work wants.
/// uv gives a host that is silent 30 s, so its downloads survive it.
const STOPPED: Duration = Duration::from_secs(20);

/// Lines of each stream that [`run`] keeps of a child's output when it does not keep all.
const TAIL_LINES: usize = 400;

/// A program to start, with nothing inherited but what is given here.
#[derive(Debug, Clone)]
pub struct Command {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Its whole environment.
    pub env: BTreeMap<String, String>,
    /// Its working directory; `/` when absent.
    pub cwd: Option<PathBuf>,
    /// Text for its standard input; empty when absent.
    pub stdin: Option<String>,
    /// Whether nobody ever waits for anything that it holds: then it may be stopped for hours.
    pub alone: bool,
}

impl Command {
    /// Returns a command without arguments that will see exactly `env`.
    pub fn new(program: impl Into<PathBuf>, env: BTreeMap<String, String>) -> Self {
        Self { program: program.into(), args: Vec::new(), env, cwd: None, stdin: None, alone: false }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets one variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.insert(name.to_owned(), value.into());
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn cwd(mut self, cwd: &Path) -> Self {
        self.cwd = Some(cwd.to_owned());
        self
    }

    /// Says that it shares nothing with others, no lock of uv's either.
    #[must_use]
    pub fn alone(self) -> Self {
        Self { alone: true, ..self }
    }

    fn name(&self) -> String {
        self.program.display().to_string()
    }

    /// Starts the program with these streams.
    fn spawn(&self, stdin: Stdio, stdout: Stdio, stderr: Stdio) -> Result<Child, ProcessError> {
        let mut command = tokio::process::Command::new(&self.program);
        command.args(&self.args).env_clear().envs(&self.env).process_group(0);
        command.current_dir(self.cwd.as_deref().unwrap_or(Path::new("/")));
        command.stdin(stdin).stdout(stdout).stderr(stderr);
        let child = command.spawn();
        let child = child.map_err(|source| ProcessError::Spawn { program: self.name(), source })?;
        child.id().into_iter().for_each(open_files::give_back);
        Ok(child)
    }
}

/// Why a child could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It could not be started.
    #[error("failed to start `{program}`")]
    Spawn {
        /// The program.
        program: String,
        /// Why.
        source: std::io::Error,
    },
    /// It could not be awaited.
    #[error("failed to await `{program}`")]
    Wait {
        /// The program.
        program: String,
        /// Why.
        source: std::io::Error,
    },
    /// Nobody wants its result any more; its process group is gone.
    #[error("`{0}` was cancelled")]
    Cancelled(String),
}

/// A child that has ended.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// All of its standard output.
    pub stdout: String,
    /// The last lines of its standard error.
    pub stderr: String,
}

/// Runs a command to its end and hands each line of its standard error to `on_line`. In the background it has
/// a lower priority, and while foreground work is under way its whole group is stopped. Cancelling
/// `ctx`, or dropping the future, takes the whole process group down.
///
/// # Errors
/// When it cannot be started or was cancelled. A non-zero exit status is not an error here.
pub async fn run(
    ctx: &Ctx,
    command: &Command,
    mut on_line: impl FnMut(&str),
) -> Result<Finished, ProcessError> {
    let name = command.name();
    let stdin = if command.stdin.is_some() { Stdio::piped() } else { Stdio::null() };
    let mut child = command.spawn(stdin, Stdio::piped(), Stdio::piped())?;
    let group = Group::of(&child);
    if ctx.standing.is_background() {
        group.give_way();
    }
    let (stdin, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (mut stdout, mut stderr) = (String::new(), VecDeque::new());
    let status = {
        let read_out = each_line(out, |line| {
            stdout.push_str(line);
            stdout.push('\n');
        });
        let read_err = each_line(err, |line| {
            on_line(line);
            if stderr.len() == TAIL_LINES {
                stderr.pop_front();
            }
            stderr.push_back(line.to_owned());
        });
        let talk = async { tokio::join!(feed(stdin, command.stdin.as_deref()), read_out, read_err) };
        let mut talk = std::pin::pin!(talk);
        let mut pauses = std::pin::pin!(pauses(&ctx.standing, &group, command.alone));
        let mut silent = false;
        let status = loop {
            tokio::select! {
                never = &mut pauses => match never {},
                () = ctx.cancel.cancelled() => break None,
                status = child.wait() => break Some(status),
                _ = &mut talk, if !silent => silent = true,
            }
        };
        if status.is_some() && !silent {
            // A grandchild may hold the pipes for ever: what it says after this is lost.
            tokio::time::timeout(DRAIN, talk).await.ok();
        }
        status
    };
    let Some(status) = status else {
        stop(&mut child, &group, GRACE).await;
        return Err(ProcessError::Cancelled(name));
    };
    let status = status.map_err(|source| ProcessError::Wait { program: name, source })?;
    Ok(Finished { status, stdout, stderr: Vec::from(stderr).join("\n") })
}

/// Stops a group while it is to stand aside.
async fn pauses(standing: &Standing, group: &Group, alone: bool) -> Infallible {
    loop {
        standing.aside().await;
        group.signal(Signal::SIGSTOP);
        if alone {
            standing.turn().await;
        } else {
            tokio::time::timeout(STOPPED, standing.turn()).await.ok();
        }
        group.signal(Signal::SIGCONT);
        // Where its time was up, it goes on beside the others.
        standing.turn().await;
    }
}

async fn feed(pipe: Option<tokio::process::ChildStdin>, text: Option<&str>) {
    if let (Some(mut pipe), Some(text)) = (pipe, text) {
        // A child that does not read its input says so by its exit status.
        tokio::io::AsyncWriteExt::write_all(&mut pipe, text.as_bytes()).await.ok();
    }
}

async fn each_line(stream: Option<impl AsyncRead + Unpin>, mut on_line: impl FnMut(&str)) {
    let Some(stream) = stream else { return };
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    while matches!(reader.read_until(b'\n', &mut line).await, Ok(1..)) {
        on_line(String::from_utf8_lossy(&line).trim_end());
        line.clear();
    }
}

#[cfg(test)]
mod tests;
