//! `logs`: print the log of a version's ComfyUI.

use super::{Outcome, ask, follow};
use crate::failure::Failure;
use crate::session::Session;
use proto::method::Logs;

/// Arguments of `logs`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Version id, or path of a spec that ends in .json
    version: String,
    /// Go on until ComfyUI ends, or until Ctrl-C
    #[arg(short, long, conflicts_with = "json")]
    follow: bool,
    /// Number of lines from the end to begin with
    #[arg(short = 'n', long, default_value_t = 100)]
    lines: usize,
}

/// Runs the verb.
///
/// # Errors
/// What the daemon answered.
pub fn run(args: &Args, session: &mut Session) -> Result<Outcome, Failure> {
    let target = session.target(&args.version);
    if args.follow {
        follow::follow(session, &target, args.lines, |session, text| session.screen.result(text))?;
        return Ok(Outcome::Done);
    }
    let call = Logs { target, from: None, lines: args.lines };
    ask(session, &call, |_, answer| answer.text.clone())
}
