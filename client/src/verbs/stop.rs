//! `stop`: stop a version's ComfyUI.

use super::{Outcome, ask};
use crate::failure::Failure;
use crate::session::Session;
use proto::method::Stop;

/// Arguments of `stop`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Version id, or path of a spec that ends in .json
    version: String,
}

/// Runs the verb. Nothing to stop is no failure.
///
/// # Errors
/// What the daemon answered.
pub fn run(args: &Args, session: &mut Session) -> Result<Outcome, Failure> {
    let call = Stop { target: session.target(&args.version) };
    ask(session, &call, |_, answer| {
        if answer.stopped {
            format!("{} stopped\n", args.version)
        } else {
            format!("{} did not run\n", args.version)
        }
    })
}
