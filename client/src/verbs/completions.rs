//! `completions`: print what teaches a shell to complete comfyctl's command lines.

use super::Outcome;
use crate::completion;
use crate::failure::Failure;
use crate::session::Session;
use proto::ErrorKind;

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell
    #[arg(value_parser = completion::SHELLS, conflicts_with = "json")]
    shell: String,
}

/// Runs the verb. Talks to nobody: the shell asks comfyctl again at each Tab.
///
/// # Errors
/// Stdout cannot be written.
pub fn run(args: &Args, session: &mut Session) -> Result<Outcome, Failure> {
    let script = completion::script(&args.shell, &program());
    let unknown = || Failure::new(ErrorKind::Usage, format!("there are no completions for `{}`", args.shell));
    session.screen.result(&script.ok_or_else(unknown)?)?;
    Ok(Outcome::Done)
}

/// Returns how the shell shall call this program: by the path that it was called by, else by its name.
fn program() -> String {
    let called = std::env::args_os().next().map(std::path::PathBuf::from).unwrap_or_default();
    let path = if called.components().count() > 1 { std::path::absolute(called).ok() } else { None };
    path.and_then(|path| path.into_os_string().into_string().ok()).unwrap_or_else(|| "comfyctl".to_owned())
}
