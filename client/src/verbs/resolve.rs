//! `resolve`: pin a version.

use super::{Outcome, ask, warn_all};
use crate::failure::Failure;
use crate::render::table::items;
use crate::render::units::count;
use crate::session::Session;
use proto::method::{Resolve, ResolveAnswer};

/// Arguments of `resolve`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Version id, or path of a spec that ends in .json
    version: String,
    /// Pin everything anew, also what did not change in the spec
    #[arg(long)]
    update: bool,
    /// Use only what is cached
    #[arg(long)]
    offline: bool,
}

/// Runs the verb.
///
/// # Errors
/// What the daemon answered.
pub fn run(args: &Args, session: &mut Session) -> Result<Outcome, Failure> {
    let offline = session.offline(args.offline);
    let call = Resolve { target: session.target(&args.version), update: args.update, offline };
    ask(session, &call, |session, answer| {
        warn_all(session, &answer.warnings);
        people(answer)
    })
}

fn people(answer: &ResolveAnswer) -> String {
    let lock = &answer.lock;
    let mut text = items("  ", &answer.changes);
    let verb = if answer.changes.is_empty() { "unchanged" } else { "resolved" };
    text += &format!(
        "{verb} {}: ComfyUI {}, {}, {}, {}\n{}\n",
        lock.version_id,
        lock.comfy.commit.short(),
        count(lock.custom_nodes.len(), "custom node"),
        count(lock.python.packages.len(), "package"),
        count(lock.models.len(), "model"),
        answer.path
    );
    text
}
