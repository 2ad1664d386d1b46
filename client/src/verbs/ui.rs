//! `ui`: start ComfyUI for a person, and stop it with Ctrl-C.

use super::follow::{Ended, follow};
use super::{Outcome, show_json};
use crate::failure::Failure;
use crate::render::screen::to_stderr;
use crate::session::Session;
use proto::ErrorKind;
use proto::method::{Stop, Ui};

/// Arguments of `ui`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Version id, or path of a spec that ends in .json
    version: String,
    /// Port [default: a free one]
    #[arg(long)]
    port: Option<u16>,
    /// Address to listen on [default: loopback]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Use only what is cached
    #[arg(long)]
    offline: bool,
    /// Run no custom node's install.py; what they do is missing then
    #[arg(long)]
    no_install_scripts: bool,
    /// Leave it running
    #[arg(long)]
    detach: bool,
}

/// Runs the verb: the URL on stdout; then, unless detached, the log on stderr until Ctrl-C, which
/// stops ComfyUI.
///
/// # Errors
/// What the daemon answered, or that ComfyUI ended by itself.
pub fn run(args: &Args, session: &mut Session) -> Result<Outcome, Failure> {
    let target = session.target(&args.version);
    let call = Ui {
        target: target.clone(),
        port: args.port,
        listen: args.listen.clone(),
        offline: session.offline(args.offline),
        no_install_scripts: args.no_install_scripts,
    };
    let answer = session.call(&call)?;
    let started = answer.read()?;
    if session.screen.json {
        show_json(session, &answer)?;
    } else {
        session.screen.result(&format!("{}\n", started.instance.url))?;
    }
    if args.detach {
        return Ok(Outcome::Done);
    }
    session.screen.note("press Ctrl-C to stop ComfyUI");
    let ended = follow(session, &target, 0, |session, text| {
        if !session.screen.quiet {
            to_stderr(text);
        }
        Ok(())
    })?;
    match ended {
        Ended::User | Ended::Reader => {
            session.call(&Stop { target })?;
            session.screen.note("ComfyUI stopped");
            Ok(Outcome::Done)
        }
        Ended::Log => {
            let failure = Failure::new(ErrorKind::Instance, "ComfyUI ended by itself");
            Err(failure.hint(format!("its log is `{}`", started.instance.log)))
        }
    }
}
