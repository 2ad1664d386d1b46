//! The command line.

use crate::completion;
use crate::failure::Failure;
use crate::verbs::{
    completions, diff, doctor, export, list, logs, new, pin, prefetch, realize, resolve, rollback, run, show,
    shutdown, status, stop, test, ui, warm,
};
use clap::{Args, Parser, Subcommand};
use proto::ErrorKind;
use std::path::PathBuf;

/// Turn a ComfyUI setup into a pinned version, and run it
#[derive(Debug, Parser)]
#[command(
    name = "comfyctl",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 80
)]
pub struct Cli {
    /// Options of every verb.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// Options of every verb.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Print one JSON document on stdout: the result, or {"error": ...}
    #[arg(long, global = true)]
    pub json: bool,
    /// Do not start the daemon when none listens
    #[arg(long, global = true)]
    pub no_start: bool,
    /// Socket of the daemon [default: $COMFYD_SOCKET, else by comfyd's rules]
    #[arg(long, global = true, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Show only warnings and errors besides the result
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Tell what comfyctl itself does
    #[arg(short, long, global = true)]
    pub verbose: bool,
}

/// What to do. The variants' documentation is the help text.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make a spec: of a snapshot, a workflow or an installed ComfyUI
    New(new::Args),
    /// Pin a version: write its lock, run nothing
    Resolve(resolve::Args),
    /// Make a version's home complete: repositories, packages, models
    Realize(realize::Args),
    /// Go back to the generation before; once more goes forward again
    Rollback(rollback::Args),
    /// Prove that a version works, with a workflow that needs no model
    Test(test::Args),
    /// Run a workflow and collect what it makes
    Run(run::Args),
    /// Start ComfyUI for a person
    Ui(ui::Args),
    /// Have ComfyUI ready
    Warm(warm::Args),
    /// Get ready for what is likely to be asked for
    Prefetch(prefetch::Args),
    /// Have idle time keep a version ready, or list what is pinned
    Pin(pin::Args),
    /// Take a pin back
    Unpin(pin::UnpinArgs),
    /// Tell what the daemon is doing
    Status(status::Args),
    /// Tell whether this machine is fit: volume, disks, tokens, tools, GPUs
    Doctor(doctor::Args),
    /// List the versions there are
    List(list::Args),
    /// Show spec, lock and state of a version side by side
    Show(show::Args),
    /// Write a version for other programs: as a snapshot of ComfyUI-Manager
    Export(export::Args),
    /// Compare two versions, or one with its generation before
    Diff(diff::Args),
    /// Print the log of a version's ComfyUI
    Logs(logs::Args),
    /// Stop a version's ComfyUI
    Stop(stop::Args),
    /// Stop the daemon, its realizes and its ComfyUI processes
    Shutdown(shutdown::Args),
    /// Print what teaches a shell to complete command lines, versions included
    Completions(completions::Args),
    /// Verbs of job handlers: `handler run` is `run`
    #[command(subcommand)]
    Handler(HandlerVerb),
    /// `version resolve|realize|test` are `resolve`, `realize` and `test`
    #[command(subcommand, hide = true)]
    Version(VersionVerb),
}

/// Verbs of job handlers.
#[derive(Debug, Subcommand)]
pub enum HandlerVerb {
    /// Run a workflow and collect what it makes
    Run(run::Args),
}

/// Longer spellings of three verbs.
#[derive(Debug, Subcommand)]
pub enum VersionVerb {
    /// Pin a version: write its lock, run nothing
    Resolve(resolve::Args),
    /// Make a version's home complete: repositories, packages, models
    Realize(realize::Args),
    /// Prove that a version works, with a workflow that needs no model
    Test(test::Args),
}

/// What became of the command line.
pub enum Parsed {
    /// A command.
    Cli(Box<Cli>),
    /// Help, the version or completions were asked for, or nothing at all: shown.
    Shown {
        /// How to end.
        status: u8,
    },
    /// It makes no sense.
    Wrong {
        /// Why.
        failure: Failure,
        /// Whether the rest of it asks for JSON.
        json: bool,
    },
}

/// Reads the command line of this process.
pub fn parse() -> Parsed {
    if let Some(status) = completion::answer() {
        return Parsed::Shown { status };
    }
    let error = match Cli::try_parse() {
        Ok(cli) => return Parsed::Cli(Box::new(cli)),
        Err(error) => error,
    };
    let no_verb = error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if no_verb || !error.use_stderr() {
        // Nobody is left to tell that it cannot be written.
        error.print().ok();
        return Parsed::Shown { status: if no_verb { ErrorKind::Usage.exit_status() } else { 0 } };
    }
    let json = std::env::args_os().take_while(|arg| arg != "--").any(|arg| arg == "--json");
    Parsed::Wrong { failure: usage(&error.to_string()), json }
}

/// Makes a failure of clap's text: its first line is the sentence, the rest explains.
fn usage(text: &str) -> Failure {
    let mut lines = text.lines().map(str::trim_end).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or("the command line makes no sense");
    let mut failure = Failure::new(ErrorKind::Usage, first.strip_prefix("error: ").unwrap_or(first));
    failure.data.details = lines.map(|line| line.trim_start().to_owned()).collect();
    failure
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn longer_spellings_mean_the_same() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' ')).map(|cli| cli.verb);
        let run = "--version-id x --workflow w.json --input a=b --timeout 10m";
        let (short, long) =
            (parse(&format!("comfyctl run {run}")), parse(&format!("comfyctl handler run {run}")));
        match (short, long) {
            (Ok(Verb::Run(short)), Ok(Verb::Handler(HandlerVerb::Run(long)))) => assert_eq!(short, long),
            other => panic!("{other:?}"),
        }
        assert!(matches!(
            parse("comfyctl version realize x --offline"),
            Ok(Verb::Version(VersionVerb::Realize(_)))
        ));
    }

    #[test]
    fn options_of_every_verb_stand_before_or_after_it() {
        for line in ["comfyctl --json list", "comfyctl list --json"] {
            assert!(Cli::try_parse_from(line.split(' ')).is_ok_and(|cli| cli.global.json), "{line}");
        }
    }
}
