//! `warm`: have a version's ComfyUI ready.

use super::{Outcome, show_json};
use crate::failure::Failure;
use crate::render::text::fold;
use crate::render::units::millis;
use crate::session::Session;
use proto::ErrorKind;
use proto::method::{Warm, WarmAnswer, Warmth};
use std::time::{Duration, Instant};

/// How long a claim may be kept in one piece: for ever, for all who will ever read this.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// Arguments of `warm`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Version id, or path of a spec that ends in .json
    version: String,
    /// Use only what is cached
    #[arg(long)]
    offline: bool,
    /// Run no custom node's install.py; what they do is missing then
    #[arg(long)]
    no_install_scripts: bool,
    /// Stay, and keep others from ending it to make room, until Ctrl-C
    #[arg(long)]
    hold: bool,
}

/// Runs the verb: how it became ready and how long that took. The claim ends with this program.
///
/// # Errors
/// What the daemon answered, or that it went away while the claim was kept.
pub fn run(args: &Args, session: &mut Session) -> Result<Outcome, Failure> {
    let call = Warm {
        target: session.target(&args.version),
        offline: session.offline(args.offline),
        no_install_scripts: args.no_install_scripts,
    };
    let answer = session.call(&call)?;
    if session.screen.json {
        show_json(session, &answer)?;
    } else {
        let text = people(&answer.read()?);
        session.screen.result(&text)?;
    }
    if !args.hold {
        return Ok(Outcome::Done);
    }
    session.screen.note("press Ctrl-C to end the claim");
    if let Some(connection) = session.take_connection() {
        connection.wait_for_close(&session.interrupt, Instant::now() + FOR_EVER);
    }
    if session.interrupt.take() {
        return Ok(Outcome::Done);
    }
    Err(Failure::new(ErrorKind::Unavailable, "the daemon ended, and the claim with it"))
}

fn people(answer: &WarmAnswer) -> String {
    let (id, url, timings) = (&answer.instance.version_id, &answer.instance.url, answer.timings);
    let mut took = vec![millis(timings.total_ms)];
    if answer.how == Warmth::Realized {
        took.push(format!("{} to realize", millis(timings.realize_ms)));
    }
    if timings.room_ms > 0 {
        took.push(format!("{} to make room", millis(timings.room_ms)));
    }
    if timings.start_ms > 0 {
        took.push(format!("{} to start", millis(timings.start_ms)));
    }
    fold("", &format!("{id} runs at {url} ({})", took.join(", ")), 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_phases_that_were_needed_are_told() {
        let told = |how: &str, timings: [u64; 4]| {
            let [realize_ms, room_ms, start_ms, total_ms] = timings;
            let answer: WarmAnswer = serde_json::from_value(json!({
                "lease": "1", "how": how,
                "timings": {"realize_ms": realize_ms, "room_ms": room_ms, "start_ms": start_ms, "total_ms": total_ms},
                "instance": {"version_id": "x", "home": "/h", "generation": "g", "url": "http://h:1", "log": "/l",
                             "state": {"kind": "ready", "pid": 1, "start_ms": start_ms}}
            }))
            .unwrap();
            people(&answer)
        };
        assert_eq!(told("running", [0, 0, 0, 1]), "x runs at http://h:1 (1 ms)\n");
        let started = told("started", [2, 0, 9000, 9002]);
        assert_eq!(started, "x runs at http://h:1 (9.0 s, 9.0 s to start)\n");
        let all = told("realized", [8000, 3000, 9000, 20_000]);
        let expected = "20.0 s, 8.0 s to realize, 3.0 s to make room, 9.0 s to\n  start";
        assert_eq!(all, format!("x runs at http://h:1 ({expected})\n"));
    }
}
