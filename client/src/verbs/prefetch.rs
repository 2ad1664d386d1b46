//! `prefetch`: get ready for what is likely to be asked for, or tell what that would take.

use super::{Outcome, show_json};
use crate::failure::Failure;
use crate::render::ladder;
use crate::render::text::fold;
use crate::session::Session;
use proto::method::{Prefetch, PrefetchAnswer};

/// Arguments of `prefetch`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Versions, by id or by path of a spec; those that are likely to be asked for when there are none
    versions: Vec<String>,
    /// Print what would be done, and do nothing
    #[arg(long)]
    plan: bool,
}

/// Runs the verb. The exit status tells the kind of the first problem.
///
/// # Errors
/// What the daemon answered.
pub fn run(args: &Args, session: &mut Session) -> Result<Outcome, Failure> {
    let targets = args.versions.iter().map(|version| session.target(version)).collect();
    let answer = session.call(&Prefetch { targets, plan: args.plan })?;
    let told = answer.read()?;
    if session.screen.json {
        show_json(session, &answer)?;
    } else {
        let text = if args.plan { ladder::plan(&told.plan) } else { people(&told) };
        session.screen.result(&text)?;
    }
    let mut problems = told.done.iter().filter_map(|lift| lift.problem.as_ref());
    Ok(problems.next().map_or(Outcome::Done, |problem| Outcome::Refused(problem.kind)))
}

fn people(answer: &PrefetchAnswer) -> String {
    let held_back = answer.plan.lifts.iter().filter_map(|lift| {
        let reason = lift.held_back.as_ref()?;
        Some(fold("", &format!("{} goes no higher than {}: {reason}", lift.version_id, lift.to), 2))
    });
    let held_back: String = held_back.collect();
    let done = ladder::done(&answer.done);
    if done.is_empty() && held_back.is_empty() { "nothing to do\n".to_owned() } else { done + &held_back }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_was_done_and_what_was_not_is_told() {
        let answer = |lifts: serde_json::Value, done: serde_json::Value| -> PrefetchAnswer {
            let budgets = json!({"warm": 0, "warm_used": 0, "memory_bytes": 0, "memory_used_bytes": 0, "disk_reserve_bytes": 0});
            serde_json::from_value(json!({"plan": {"lifts": lifts, "budgets": budgets}, "done": done}))
                .unwrap()
        };
        assert_eq!(people(&answer(json!([]), json!([]))), "nothing to do\n");
        let lift = json!({"version_id": "v", "home": "/h", "from": "unknown", "to": "fetched", "probability": 0.0,
                          "why": "asked for", "cost": {}, "held_back": "the disk is full"});
        let done = json!({"version_id": "v", "home": "/h", "from": "unknown", "to": "fetched", "took_ms": 5});
        let expected = "v unknown -> fetched (5 ms)\nv goes no higher than fetched: the disk is full\n";
        assert_eq!(people(&answer(json!([lift]), json!([done]))), expected);
    }
}
