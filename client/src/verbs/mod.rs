//! The verbs, one file each: its arguments, its call, and how its answer looks to people.

pub mod completions;
pub mod diff;
pub mod doctor;
pub mod export;
pub mod list;
pub mod logs;
pub mod new;
pub mod pin;
pub mod prefetch;
pub mod realize;
pub mod resolve;
pub mod rollback;
pub mod run;
pub mod show;
pub mod shutdown;
pub mod status;
pub mod stop;
pub mod test;
pub mod ui;
pub mod warm;

mod follow;

use crate::cli::{HandlerVerb, Verb, VersionVerb};
use crate::connection::Answer;
use crate::failure::Failure;
use crate::session::Session;
use proto::ErrorKind;
use proto::method::{Method, Standing, VersionState};
use std::time::Instant;

/// How a command that did not fail ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// As asked.
    Done,
    /// A test ran, and something did not pass.
    ChecksFailed,
    /// What was asked about would be refused, for this kind of reason first.
    Refused(ErrorKind),
}

/// Runs a verb.
///
/// # Errors
/// What the verb could not do.
pub fn run(verb: Verb, session: &mut Session) -> Result<Outcome, Failure> {
    match verb {
        Verb::Resolve(args) | Verb::Version(VersionVerb::Resolve(args)) => resolve::run(&args, session),
        Verb::Realize(args) | Verb::Version(VersionVerb::Realize(args)) => realize::run(&args, session),
        Verb::Rollback(args) => rollback::run(&args, session),
        Verb::Test(args) | Verb::Version(VersionVerb::Test(args)) => test::run(&args, session),
        Verb::Run(args) | Verb::Handler(HandlerVerb::Run(args)) => run::run(&args, session),
        Verb::Ui(args) => ui::run(&args, session),
        Verb::Warm(args) => warm::run(&args, session),
        Verb::Prefetch(args) => prefetch::run(&args, session),
        Verb::Pin(args) => pin::run(&args, session),
        Verb::Unpin(args) => pin::unpin(&args, session),
        Verb::New(args) => new::run(&args, session),
        Verb::Export(args) => export::run(&args, session),
        Verb::Status(args) => status::run(&args, session),
        Verb::List(args) => list::run(&args, session),
        Verb::Show(args) => show::run(&args, session),
        Verb::Doctor(args) => doctor::run(&args, session),
        Verb::Diff(args) => diff::run(&args, session),
        Verb::Logs(args) => logs::run(&args, session),
        Verb::Stop(args) => stop::run(&args, session),
        Verb::Shutdown(args) => shutdown::run(&args, session),
        Verb::Completions(args) => completions::run(&args, session),
    }
}

/// Makes a call and shows its answer: the daemon's own JSON, or what `people` makes of it.
fn ask<M: Method>(
    session: &mut Session,
    params: &M,
    people: impl FnOnce(&mut Session, &M::Answer) -> String,
) -> Result<Outcome, Failure> {
    let begun = Instant::now();
    let answer = session.call(params)?;
    session.screen.detail(&format!("`{}` took {:.1?}", M::NAME, begun.elapsed()));
    if session.screen.json {
        show_json(session, &answer)?;
    } else {
        let text = people(session, &answer.read()?);
        session.screen.result(&text)?;
    }
    Ok(Outcome::Done)
}

fn show_json<M: Method>(session: &mut Session, answer: &Answer<M>) -> Result<(), Failure> {
    session.screen.result(&format!("{}\n", answer.json()))
}

fn warn_all(session: &mut Session, warnings: &[String]) {
    for warning in warnings {
        session.screen.warn(warning);
    }
}

/// Names the rung on which a version stands. A daemon that knows no rungs tells how far it is.
fn rung_word(standing: Option<&Standing>, state: VersionState) -> &'static str {
    match state {
        _ if let Some(standing) = standing => standing.rung.name(),
        VersionState::Invalid => "invalid",
        VersionState::Unresolved => "unresolved",
        VersionState::Resolved => "resolved",
        VersionState::Realized => "realized",
        VersionState::Running => "running",
    }
}
