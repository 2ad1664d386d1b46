//! Processes that outlive a call, and even the daemon: their output goes to a file, and nothing ties them
//! to the one who started them. The next daemon adopts them.

use super::birth::{Birth, status};
use super::group::{Group, VANISH, stop};
use super::{Command, ProcessError};
use nix::sys::signal::Signal;
use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::process::Child;
use tokio::sync::watch;

/// A long-lived process that leads its group. Dropping it kills the group; a daemon that is killed leaves it.
#[derive(Debug)]
pub struct Process {
    life: Life,
    group: Group,
    name: String,
}

/// How its end is learnt.
#[derive(Debug)]
enum Life {
    /// From the system, with its exit status.
    Child(Child),
    /// From a pidfd, which tells that it ended and not how: only a parent may know, and may tell.
    Apart { pidfd: AsyncFd<OwnedFd>, status: Option<watch::Receiver<Option<i32>>> },
}

/// How long a parent may take to tell how its child ended.
const TOLD: Duration = Duration::from_secs(1);

/// Tells whether a process was ended by SIGKILL, which none sends itself: the kernel lacked memory, or someone wanted
/// it so.
pub fn was_killed(status: ExitStatus) -> bool {
    status.signal() == Some(Signal::SIGKILL as i32)
}

impl Process {
    /// Starts a command; both its output streams are appended to `log`. Does not wait.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(command: &Command, log: &File) -> Result<Self, ProcessError> {
        Self::start(command, Stdio::null(), log)
    }

    /// Starts a command whose standard input is a socket to whoever called; its output streams are appended to
    /// `log`. Does not wait.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn_with_socket(command: &Command, log: &File) -> Result<(Self, UnixStream), ProcessError> {
        let pair = UnixStream::pair();
        let (ours, theirs) =
            pair.map_err(|source| ProcessError::Spawn { program: command.name(), source })?;
        Ok((Self::start(command, OwnedFd::from(theirs).into(), log)?, ours))
    }

    fn start(command: &Command, stdin: Stdio, log: &File) -> Result<Self, ProcessError> {
        let name = command.name();
        let log = || log.try_clone().map(Stdio::from);
        let logs = log().and_then(|stdout| Ok((stdout, log()?)));
        let (stdout, stderr) =
            logs.map_err(|source| ProcessError::Spawn { program: name.clone(), source })?;
        let child = command.spawn(stdin, stdout, stderr)?;
        Ok(Self { group: Group::of(&child), life: Life::Child(child), name })
    }

    /// Takes over a child of `parent`, which does not reap it before it is told to and then sends its wait status
    /// (wait(2)); none if it is no child of it, or leads no group. Needs a runtime.
    ///
    /// # Errors
    /// When the system refuses to tell.
    pub fn forked(
        pid: u32,
        parent: u32,
        ended: watch::Receiver<Option<i32>>,
    ) -> Result<Option<Self>, ProcessError> {
        let refused = |source| ProcessError::Wait { program: format!("process {pid}"), source };
        if status(pid).and_then(|status| status.parent()).map_err(refused)? != u64::from(parent) {
            return Ok(None);
        }
        let mut process = Self::adopt(&Birth::of(pid).map_err(refused)?)?;
        if let Some(Self { life: Life::Apart { status, .. }, .. }) = &mut process {
            *status = Some(ended);
        }
        Ok(process)
    }

    /// Takes over a process that an earlier daemon started; none if it has ended. Needs a runtime.
    ///
    /// # Errors
    /// When the system refuses to tell.
    pub fn adopt(birth: &Birth) -> Result<Option<Self>, ProcessError> {
        let name = format!("process {}", birth.pid);
        let refused = |source| ProcessError::Wait { program: name.clone(), source };
        let number = i32::try_from(birth.pid).ok().and_then(rustix::process::Pid::from_raw);
        let Some(number) = number else { return Ok(None) };
        // First, so that what is looked at next is what is signalled later, whoever gets its number.
        let pidfd = match pidfd_open(number, PidfdFlags::empty()) {
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            pidfd => pidfd.map_err(|error| refused(error.into()))?,
        };
        let now = status(birth.pid);
        if !now.is_ok_and(|now| now.leads_its_group(birth.pid))
            || Birth::of(birth.pid).ok().as_ref() != Some(birth)
        {
            return Ok(None);
        }
        // Its successor is unsafe since a type could give out one descriptor now and another later: an
        // `OwnedFd` does not.
        #[allow(deprecated, reason = "nothing here is unsafe")]
        let pidfd = AsyncFd::with_interest(pidfd, Interest::READABLE).map_err(refused)?;
        Ok(Some(Self { life: Life::Apart { pidfd, status: None }, group: Group::led_by(birth.pid), name }))
    }

    /// Returns its process id, which is also its group's.
    pub fn pid(&self) -> u32 {
        self.group.pid()
    }

    /// Stops it and all in its group where they stand, until [`Self::thaw`].
    pub fn freeze(&self) {
        self.group.signal(Signal::SIGSTOP);
    }

    /// Lets it go on after [`Self::freeze`].
    pub fn thaw(&self) {
        self.group.signal(Signal::SIGCONT);
    }

    /// Waits until it has ended; tells how, where that can be known. Cancel-safe.
    ///
    /// # Errors
    /// When the system refuses to tell.
    pub async fn wait(&mut self) -> Result<Option<ExitStatus>, ProcessError> {
        let status = match &mut self.life {
            Life::Child(child) => child.wait().await.map(Some),
            // It stays readable from its end on.
            Life::Apart { pidfd, status } => match pidfd.readable().await {
                Ok(_) => Ok(told(status.clone()).await),
                Err(error) => Err(error),
            },
        };
        status.map_err(|source| ProcessError::Wait { program: self.name.clone(), source })
    }

    /// Ends it and everything in its group: SIGTERM, `grace`, SIGKILL. Takes little more than `grace`.
    pub async fn stop(mut self, grace: Duration) {
        let pidfd = match &mut self.life {
            Life::Child(child) => return stop(child, &self.group, grace).await,
            Life::Apart { pidfd, .. } => pidfd,
        };
        // The group hears of it only while its leader, by the pidfd, is the one that was taken over.
        if pidfd_send_signal(&*pidfd, rustix::process::Signal::TERM).is_ok() {
            self.group.signal(Signal::SIGTERM);
        }
        let ended = tokio::time::timeout(grace, pidfd.readable()).await.is_ok();
        self.group.signal(Signal::SIGKILL);
        if !ended {
            tokio::time::timeout(VANISH, pidfd.readable()).await.ok();
        }
    }
}

/// Returns what a parent tells of its child's end, if it does soon.
async fn told(status: Option<watch::Receiver<Option<i32>>>) -> Option<ExitStatus> {
    let mut status = status?;
    let told = tokio::time::timeout(TOLD, status.wait_for(Option::is_some)).await.ok()?;
    // An error means that the parent is gone.
    told.ok().and_then(|status| *status).map(ExitStatus::from_raw)
}
