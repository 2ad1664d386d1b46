//! `rollback`: go back to the generation before.

use super::{Outcome, ask, warn_all};
use crate::failure::Failure;
use crate::render::table::items;
use crate::render::text::fold;
use crate::session::Session;
use proto::method::{InstanceState, Rollback, RollbackAnswer};

/// Arguments of `rollback`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Version id, or path of a spec that ends in .json
    version: String,
}

/// Runs the verb.
///
/// # Errors
/// What the daemon answered.
pub fn run(args: &Args, session: &mut Session) -> Result<Outcome, Failure> {
    let call = Rollback { target: session.target(&args.version) };
    ask(session, &call, |session, answer| {
        warn_all(session, &answer.warnings);
        if let Some(instance) = answer.instance.as_ref().filter(|instance| {
            let lives = !matches!(instance.state, InstanceState::Exited | InstanceState::Failed { .. });
            lives && instance.generation != answer.generation
        }) {
            let text = format!(
                "the ComfyUI that runs keeps generation {} until its next start",
                instance.generation
            );
            session.screen.note(&text);
        }
        people(answer)
    })
}

fn people(answer: &RollbackAnswer) -> String {
    let done = if answer.forward { "is forward again at" } else { "is rolled back to" };
    let RollbackAnswer { version_id, generation, previous, .. } = answer;
    let sentence = format!("{version_id} {done} generation {generation} (from {previous})");
    items("  ", &answer.changes) + &fold("", &sentence, 2)
}
