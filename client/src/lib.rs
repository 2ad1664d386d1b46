//! `comfyctl`: asks the daemon to do things with versions, and shows how it goes.
//!
//! Synchronous and small: it knows `proto`, one socket, and a terminal. Each verb is a file in
//! `verbs`; `session` holds what they share; `render` knows how things look.
//!
//! A library only so that its man pages and completions can be made from the very definition that it
//! parses by (`client/assets`). The program is [`run`].

#![allow(unreachable_pub, reason = "the outside is two functions: `pub` means for the whole crate")]
#![allow(
    clippy::format_push_string,
    reason = "texts for people are short, and `write!` to a String has a Result to drop"
)]

mod cli;
mod completion;
mod connection;
mod daemon;
mod environment;
mod failure;
mod interrupt;
mod render;
mod session;
mod verbs;

pub use completion::{SHELLS, definition, script};

use cli::{Cli, Parsed};
use environment::Environment;
use failure::Failure;
use proto::ErrorKind;
use render::screen::show_failure;
use session::Session;
use std::process::ExitCode;
use verbs::Outcome;

/// Does what the command line of this process asks for, and returns the status to end with.
pub fn run() -> ExitCode {
    let environment = Environment::read();
    let (json, ended) = match cli::parse() {
        Parsed::Cli(cli) => (cli.global.json, run_verb(*cli, environment.clone())),
        Parsed::Shown { status } => return status.into(),
        Parsed::Wrong { failure, json } => (json, Err(failure)),
    };
    match ended {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::ChecksFailed) => ErrorKind::TestFailed.exit_status().into(),
        Ok(Outcome::Refused(kind)) => kind.exit_status().into(),
        Err(failure) => {
            show_failure(&failure, json, &environment);
            failure.data.kind.exit_status().into()
        }
    }
}

fn run_verb(cli: Cli, environment: Environment) -> Result<Outcome, Failure> {
    verbs::run(cli.verb, &mut Session::new(cli.global, environment)?)
}
