//! `shutdown`: stop the daemon.

use super::{Outcome, show_json};
use crate::failure::Failure;
use crate::session::Session;
use proto::method::Shutdown;
use std::time::{Duration, Instant};

/// How long the daemon may take: its own steps are bounded, stopping instances being the longest.
const LIMIT: Duration = Duration::from_secs(30);

/// How often its end is looked for.
const POLL: Duration = Duration::from_millis(20);

/// Arguments of `shutdown`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the verb, and waits for the daemon's end, so that the next command meets no dying daemon.
///
/// # Errors
/// None listens, or what the daemon answered.
pub fn run(_: &Args, session: &mut Session) -> Result<Outcome, Failure> {
    session.connect_to_running().map_err(|mut failure| {
        // Starting one, as the general remedy says, is not what this user wants.
        failure.data.hint = None;
        failure
    })?;
    let answer = session.call(&Shutdown {})?;
    let pid = answer.read()?.pid;
    let deadline = Instant::now() + LIMIT;
    if let Some(connection) = session.take_connection() {
        connection.wait_for_close(&session.interrupt, deadline);
    }
    while is_alive(pid) && Instant::now() < deadline && !session.interrupt.is_set() {
        std::thread::sleep(POLL);
    }
    if session.screen.json {
        show_json(session, &answer)?;
    } else if is_alive(pid) {
        session.screen.result(&format!("comfyd (process {pid}) is still stopping\n"))?;
    } else {
        session.screen.result(&format!("comfyd (process {pid}) ended\n"))?;
    }
    Ok(Outcome::Done)
}

/// Tells whether a process runs. In a container whose first process reaps nobody, an ended daemon stays
/// behind as a zombie (`Z`, proc_pid_stat(5)); it counts as ended.
fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name before the state is in parentheses and may hold anything.
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
}
