//! `doctor`: whether this machine is fit.
//!
//! The daemon looks, since it is the daemon's user, environment and disks that count. What only a client sees stands
//! before that: whether a daemon listens or can be started, and whether it is of the same release.

use super::Outcome;
use crate::connection::RESTART;
use crate::daemon;
use crate::failure::Failure;
use crate::render::findings;
use crate::session::Session;
use proto::ErrorKind;
use proto::method::{Doctor, DoctorAnswer, Finding, HelloAnswer, Verdict};
use std::path::Path;

/// Arguments of `doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Leave out what takes seconds: how fast the volume is
    #[arg(long)]
    quick: bool,
}

/// Runs the verb. Problems are an outcome, not a failure: the list is the result. That no daemon answers is a
/// problem among others.
///
/// # Errors
/// The user wants to stop, or stdout cannot be written.
pub fn run(args: &Args, session: &mut Session) -> Result<Outcome, Failure> {
    let found = match ask(args, session) {
        Ok(found) => found,
        Err(failure) if failure.data.kind == ErrorKind::Cancelled => return Err(failure),
        Err(failure) => without(&failure, session),
    };
    let has_problem = found.iter().any(|finding| finding.verdict == Verdict::Problem);
    if session.screen.json {
        let json = serde_json::to_string(&DoctorAnswer { findings: found });
        let json = json.map_err(|error| Failure::of(&error, ErrorKind::Internal, None))?;
        session.screen.result(&(json + "\n"))?;
    } else {
        session.screen.show(&findings::people(&found))?;
    }
    Ok(if has_problem { Outcome::ChecksFailed } else { Outcome::Done })
}

fn ask(args: &Args, session: &mut Session) -> Result<Vec<Finding>, Failure> {
    let was_running = match session.connect_to_running() {
        Ok(()) => true,
        Err(failure) if failure.data.kind == ErrorKind::Unavailable && session.may_start() => false,
        Err(failure) => return Err(failure),
    };
    let cwd = session.environment.cwd().map(|cwd| cwd.to_string_lossy().into_owned());
    let answer = session.call(&Doctor { cwd, quick: args.quick })?.read()?;
    let socket = session.socket()?;
    let own = session.greeting().map(|greeting| of_daemon(greeting, &socket, was_running));
    Ok(own.into_iter().chain(answer.findings).collect())
}

const SUBJECT: &str = "daemon";

fn of_daemon(greeting: &HelloAnswer, socket: &Path, was_running: bool) -> Finding {
    const OWN: &str = env!("CARGO_PKG_VERSION");
    let HelloAnswer { version, pid, .. } = greeting;
    let begun = if was_running { "" } else { ", started just now" };
    let text = format!("comfyd {version}, process {pid}, on `{}`{begun}", socket.display());
    if version == OWN {
        Finding::ok(SUBJECT, text)
    } else {
        Finding::warning(SUBJECT, format!("{text}; this is comfyctl {OWN}"), RESTART)
    }
}

/// Makes findings of why there is no daemon that looks.
fn without(failure: &Failure, session: &Session) -> Vec<Finding> {
    let last_line = failure.data.details.last().into_iter();
    let why = [&failure.message].into_iter().chain(&failure.data.causes).chain(last_line);
    let why = why.map(String::as_str).collect::<Vec<_>>().join(": ");
    let hint = failure.data.hint.clone().unwrap_or_else(|| "run `comfyd` and read what it says".to_owned());
    let mut found = vec![Finding::problem(SUBJECT, why, hint)];
    let holder = session.socket().ok().and_then(|socket| daemon::holder(&socket));
    if let Some(holder) = holder {
        let text = format!("{holder} holds the socket's lock and does not answer");
        let remedy = "end that process: the next daemon takes over the ComfyUIs that it ran";
        found.push(Finding::problem(SUBJECT, text, remedy));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_of_another_release_is_a_warning() {
        let greeting = |version: &str| HelloAnswer {
            protocol: 1,
            features: Vec::new(),
            version: version.to_owned(),
            pid: 7,
            warnings: Vec::new(),
        };
        let found = of_daemon(&greeting(env!("CARGO_PKG_VERSION")), Path::new("/run/s"), false);
        assert_eq!(found.verdict, Verdict::Ok);
        assert!(found.text.ends_with("process 7, on `/run/s`, started just now"), "{}", found.text);
        assert_eq!(of_daemon(&greeting("0.0.1"), Path::new("/run/s"), true).verdict, Verdict::Warning);
    }
}
