//! `realize`: make a version's home complete, or tell what that would take.

use super::{Outcome, ask, show_json, warn_all};
use crate::failure::Failure;
use crate::render;
use crate::render::text::fold;
use crate::render::units::millis;
use crate::session::Session;
use proto::method::{GetPlan, Realize, RealizeAnswer, RealizeOutcome};

/// Arguments of `realize`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Version id, or path of a spec that ends in .json
    version: String,
    /// Print what would be done, and do nothing
    #[arg(long, conflicts_with = "detach")]
    dry_run: bool,
    /// Pin everything anew first
    #[arg(long)]
    update: bool,
    /// Use only what is cached
    #[arg(long)]
    offline: bool,
    /// Run no custom node's install.py; what they do is missing then
    #[arg(long)]
    no_install_scripts: bool,
    /// Let the daemon go on alone
    #[arg(long)]
    detach: bool,
    /// Let all other work of the daemon go first
    #[arg(long, conflicts_with = "dry_run")]
    background: bool,
}

/// Runs the verb.
///
/// # Errors
/// What the daemon answered.
pub fn run(args: &Args, session: &mut Session) -> Result<Outcome, Failure> {
    let target = session.target(&args.version);
    let Args { update, no_install_scripts, detach, background, .. } = *args;
    let offline = session.offline(args.offline);
    if args.dry_run {
        return dry_run(session, &GetPlan { target, offline, no_install_scripts, update });
    }
    let call = Realize { target, offline, no_install_scripts, update, detach, background };
    ask(session, &call, |session, answer| {
        warn_all(session, &answer.warnings);
        for missing in &answer.missing {
            session.screen.warn(&format!("missing, and offline: {missing}"));
        }
        for node in &answer.skipped_install_scripts {
            session.screen.note(&format!("{node}/install.py is not run"));
        }
        people(answer)
    })
}

/// Shows the whole plan. What `realize` would refuse is told by the exit status, too.
fn dry_run(session: &mut Session, call: &GetPlan) -> Result<Outcome, Failure> {
    let answer = session.call(call)?;
    let plan = answer.read()?;
    if session.screen.json {
        show_json(session, &answer)?;
    } else {
        session.screen.show(&render::plan::plan(&plan))?;
    }
    Ok(plan.problems.first().map_or(Outcome::Done, |problem| Outcome::Refused(problem.kind)))
}

fn people(answer: &RealizeAnswer) -> String {
    let took = millis(answer.elapsed_ms);
    let (id, home) = (&answer.version_id, &answer.home);
    match answer.outcome {
        RealizeOutcome::Ready => format!("{id} is ready in {home} ({took})\n"),
        RealizeOutcome::Realized => format!("{id} realized in {home} ({took})\n"),
        RealizeOutcome::Repaired => format!("{id} repaired in {home} ({took})\n"),
        RealizeOutcome::Detached => {
            fold("", &format!("{id} is being realized in {home}; `comfyctl status` tells how it goes"), 2)
        }
    }
}
