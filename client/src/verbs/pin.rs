//! `pin`: have idle time keep a version on a rung, or list what is pinned. `unpin` takes it back.

use super::{Outcome, ask, warn_all};
use crate::failure::Failure;
use crate::render::table::columns;
use crate::session::Session;
use proto::Rung;
use proto::method::{Pin, PinAnswer, Pins, PinsAnswer, Unpin};

/// Arguments of `pin`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Version id, or path of a spec that ends in .json; all that is pinned is listed when absent
    version: Option<String>,
    /// How high: fetched, realized, primed or running
    #[arg(long, default_value = "primed", requires = "version")]
    rung: Rung,
}

/// Arguments of `unpin`.
#[derive(Debug, clap::Args)]
pub struct UnpinArgs {
    /// Version id, or path of a spec that ends in .json
    version: String,
}

/// Runs `pin`.
///
/// # Errors
/// What the daemon answered.
pub fn run(args: &Args, session: &mut Session) -> Result<Outcome, Failure> {
    let Some(version) = &args.version else { return ask(session, &Pins {}, |_, answer| list(answer)) };
    let call = Pin { target: session.target(version), rung: args.rung };
    ask(session, &call, |session, answer| {
        warn_all(session, &answer.warnings);
        people(answer)
    })
}

/// Runs `unpin`. Nothing to take back is no failure.
///
/// # Errors
/// What the daemon answered.
pub fn unpin(args: &UnpinArgs, session: &mut Session) -> Result<Outcome, Failure> {
    let call = Unpin { target: session.target(&args.version) };
    ask(session, &call, |session, answer| {
        warn_all(session, &answer.warnings);
        people(answer)
    })
}

fn people(answer: &PinAnswer) -> String {
    let id = &answer.version_id;
    match (answer.rung, answer.before) {
        (Some(rung), Some(before)) if before != rung => {
            format!("{id} is pinned to {rung}, before to {before}\n")
        }
        (Some(rung), _) => format!("{id} is pinned to {rung}\n"),
        (None, Some(before)) => format!("{id} is no longer pinned to {before}\n"),
        (None, None) => format!("{id} was not pinned\n"),
    }
}

fn list(answer: &PinsAnswer) -> String {
    if answer.pins.is_empty() {
        return "nothing is pinned\n".to_owned();
    }
    let mut rows = vec![["VERSION", "RUNG", "BY", "HOME"].map(str::to_owned)];
    rows.extend(answer.pins.iter().map(|pin| {
        let by = if pin.by_environment { "COMFYD_PINNED" } else { "pin" };
        [pin.version_id.to_string(), pin.rung.to_string(), by.to_owned(), pin.home.clone()]
    }));
    columns("", &rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_pinned_and_what_was_is_told() {
        let told = |rung: Option<&str>, before: Option<&str>| {
            let answer = json!({"version_id": "v", "home": "/h", "rung": rung, "before": before});
            people(&serde_json::from_value(answer).unwrap())
        };
        assert_eq!(told(Some("primed"), None), "v is pinned to primed\n");
        assert_eq!(told(Some("primed"), Some("primed")), "v is pinned to primed\n");
        assert_eq!(told(Some("primed"), Some("fetched")), "v is pinned to primed, before to fetched\n");
        assert_eq!(told(None, Some("fetched")), "v is no longer pinned to fetched\n");
        assert_eq!(told(None, None), "v was not pinned\n");
    }

    #[test]
    fn pins_stand_in_a_table() {
        let answer: PinsAnswer = serde_json::from_value(json!({"pins": [
            {"version_id": "a", "home": "/v/comfy-a", "rung": "realized"},
            {"version_id": "wan22", "home": "/v/comfy-wan22", "rung": "primed", "by_environment": true}]}))
        .unwrap();
        let expected = "\
VERSION  RUNG      BY             HOME
a        realized  pin            /v/comfy-a
wan22    primed    COMFYD_PINNED  /v/comfy-wan22
";
        assert_eq!(list(&answer), expected);
        assert_eq!(list(&PinsAnswer { pins: Vec::new() }), "nothing is pinned\n");
    }
}
