//! Processes that outlive a call, and even the daemon: their output goes to a file, and nothing ties them
//! to the one who started them. The next daemon adopts them.

use super::birth::{Birth, status};
use super::group::{Group, VANISH, stop};
use super::{Command, ProcessError};
use nix::sys::signal::Signal;
use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::process::Child;

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
    /// From a pidfd, which tells that it ended and not how: only a parent may know.
    Adopted(AsyncFd<OwnedFd>),
}

impl Process {
    /// Starts a command; both its output streams are appended to `log`. Does not wait.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(command: &Command, log: &File) -> Result<Self, ProcessError> {
        let name = command.name();
        let log = || log.try_clone().map(Stdio::from);
        let logs = log().and_then(|stdout| Ok((stdout, log()?)));
        let (stdout, stderr) =
            logs.map_err(|source| ProcessError::Spawn { program: name.clone(), source })?;
        let child = command.spawn(Stdio::null(), stdout, stderr)?;
        Ok(Self { group: Group::of(&child), life: Life::Child(child), name })
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
        Ok(Some(Self { life: Life::Adopted(pidfd), group: Group::led_by(birth.pid), name }))
    }

    /// Returns its process id, which is also its group's.
    pub fn pid(&self) -> u32 {
        self.group.pid()
    }

    /// Waits until it has ended; tells how, unless it was adopted. Cancel-safe.
    ///
    /// # Errors
    /// When the system refuses to tell.
    pub async fn wait(&mut self) -> Result<Option<ExitStatus>, ProcessError> {
        let status = match &mut self.life {
            Life::Child(child) => child.wait().await.map(Some),
            // It stays readable from its end on.
            Life::Adopted(pidfd) => pidfd.readable().await.map(|_| None),
        };
        status.map_err(|source| ProcessError::Wait { program: self.name.clone(), source })
    }

    /// Ends it and everything in its group: SIGTERM, `grace`, SIGKILL. Takes little more than `grace`.
    pub async fn stop(mut self, grace: Duration) {
        let pidfd = match &mut self.life {
            Life::Child(child) => return stop(child, &self.group, grace).await,
            Life::Adopted(pidfd) => pidfd,
        };
        // The group hears of it only while its leader, by the pidfd, is the one that was adopted.
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
