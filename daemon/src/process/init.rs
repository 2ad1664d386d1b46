//! The first process of a container (pid_namespaces(7)).
//!
//! Every process that loses its parent becomes its child, for it to reap; signals for which it has no handler do not
//! reach it; and when it ends, all others are killed. Where comfyd is that process it does only this, and
//! runs itself once more as the daemon. One process could not do both: who waits for whichever child has ended
//! takes from tokio, gix and the standard library the children that they wait for by their numbers.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::io::Errno;
use rustix::process::{WaitOptions, wait};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// What people and container runtimes send.
const PASSED_ON: [i32; 6] = [SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2];

/// Returns whether this process is the first one of its container, or of the machine.
pub fn is_first() -> bool {
    std::process::id() == 1
}

/// Runs this program once more, with the same arguments, passes signals on to it and reaps everything else, until
/// it has ended. Returns its exit status; that of one that a signal ended is 128 and the signal's number, as
/// in a shell. For [`is_first`] processes, before there is a thread: it takes all children there are.
///
/// # Errors
/// When the system refuses.
pub fn stand_in_front() -> io::Result<u8> {
    // Before there is a child: what comes from now on waits until it is looked at.
    let mut signals = Signals::new(PASSED_ON.iter().chain(&[SIGCHLD]))?;
    let mut command = Command::new(std::env::current_exe()?);
    // In a group of its own a Ctrl-C at the container's terminal comes once, from here, and not twice: the second one
    // would end it at once.
    command.args(std::env::args_os().skip(1)).process_group(0);
    // Never awaited as what it is: below it is one of all children.
    let daemon = Pid::from_raw(command.spawn()?.id().cast_signed());
    loop {
        for signal in signals.wait() {
            if signal != SIGCHLD {
                let signal = Signal::try_from(signal)?;
                // A daemon that has just ended is about to be noticed.
                kill(daemon, signal).ok();
            } else if let Some(status) = reap(daemon)? {
                return Ok(status);
            }
        }
    }
}

/// Reaps every child that has ended. Returns the exit status of `daemon` where it is among them.
fn reap(daemon: Pid) -> io::Result<Option<u8>> {
    loop {
        // Not by nix, which reaps a child and then fails where a real-time signal has ended it.
        let (ended, status) = match wait(WaitOptions::NOHANG) {
            Ok(Some(ended)) => ended,
            Ok(None) | Err(Errno::CHILD) => return Ok(None),
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        if ended.as_raw_pid() == daemon.as_raw() {
            let signal = status.terminating_signal().map(|signal| 128 + signal);
            let status = status.exit_status().or(signal).and_then(|status| u8::try_from(status).ok());
            return Ok(Some(status.unwrap_or(u8::MAX)));
        }
    }
}
