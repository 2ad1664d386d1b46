//! `list`: the versions there are.

use super::{Outcome, ask, rung_word};
use crate::failure::Failure;
use crate::render::ladder;
use crate::render::table::sentences;
use crate::render::units::count;
use crate::session::Session;
use proto::method::{List, ListAnswer};

/// Arguments of `list`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the verb.
///
/// # Errors
/// What the daemon answered.
pub fn run(_: &Args, session: &mut Session) -> Result<Outcome, Failure> {
    let seen_from = session.target("");
    let call = List { cwd: seen_from.cwd, comfy_home: seen_from.comfy_home };
    ask(session, &call, |session, answer| {
        if answer.versions.is_empty() {
            session.screen.note(&format!("no versions in {}", searched(answer)));
        }
        people(answer)
    })
}

fn searched(answer: &ListAnswer) -> String {
    answer.searched.iter().map(|dir| format!("`{dir}`")).collect::<Vec<_>>().join(", ")
}

fn people(answer: &ListAnswer) -> String {
    if answer.versions.is_empty() {
        return String::new();
    }
    let mut rows = vec![["VERSION", "RUNG", "SPEC", "WHY"].map(str::to_owned)];
    for version in &answer.versions {
        let rung = rung_word(version.standing.as_ref(), version.state).to_owned();
        let why = match (&version.standing, version.errors) {
            (_, errors @ 1..) => count(errors, "error"),
            (standing, 0) => standing.as_ref().map(ladder::why).unwrap_or_default(),
        };
        rows.push([version.version_id.to_string(), rung, version.path.clone(), why]);
    }
    sentences("", &rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn versions_stand_in_a_table() {
        let answer: ListAnswer = serde_json::from_value(json!({
            "searched": ["/v/versions"],
            "versions": [
                {"version_id": "wan22-fast", "path": "/v/versions/wan22-fast.json", "state": "realized", "errors": 0,
                 "standing": {"rung": "primed", "why": "nobody asked for its ComfyUI"}},
                {"version_id": "old", "path": "/v/versions/old.json", "state": "resolved", "errors": 0},
                {"version_id": "x", "path": "/v/versions/x.json", "state": "invalid", "errors": 2}]
        }))
        .unwrap();
        let expected = "\
VERSION     RUNG      SPEC                         WHY
wan22-fast  primed    /v/versions/wan22-fast.json  nobody asked for its ComfyUI
old         resolved  /v/versions/old.json
x           invalid   /v/versions/x.json           2 errors
";
        assert_eq!(people(&answer), expected);
    }
}
