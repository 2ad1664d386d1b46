//! `shutdown`: stop the daemon.

use super::{Outcome, show_json};
use crate::failure::Failure;
use crate::session::Session;
use proto::method::Shutdown;
use std::path::Path;
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
    let process = format!("/proc/{pid}");
    while Path::new(&process).exists() && Instant::now() < deadline && !session.interrupt.is_set() {
        std::thread::sleep(POLL);
    }
    if session.screen.json {
        show_json(session, &answer)?;
    } else if Path::new(&process).exists() {
        session.screen.result(&format!("comfyd (process {pid}) is still stopping\n"))?;
    } else {
        session.screen.result(&format!("comfyd (process {pid}) ended\n"))?;
    }
    Ok(Outcome::Done)
}
