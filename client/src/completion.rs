//! Completions: at each Tab the shell asks comfyctl itself.
//!
//! clap_complete walks the definition of the command line; this adds what that cannot know, the ids of versions.
//! They come from the daemon where one runs, and from the names of spec files. A Tab starts nothing, writes
//! nothing and waits for nobody: what is not known within [`LIMIT`] is left out.

use crate::cli::Cli;
use crate::connection::{Connection, Deaf, connect};
use crate::daemon;
use crate::environment::Environment;
use crate::interrupt::Interrupt;
use clap::{Arg, Command, CommandFactory as _, ValueHint};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter as _};
use clap_complete::env::{Bash, CompleteEnv, EnvCompleter, Fish, Shells, Zsh};
use proto::ErrorKind;
use proto::method::Status;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::Builder;
use std::time::{Duration, Instant};

/// How long a Tab may take to find ids: what takes longer is felt.
const LIMIT: Duration = Duration::from_millis(50);

/// The variable by which a shell asks; its value names the shell.
const VARIABLE: &str = "COMFYCTL_COMPLETE";

/// The shells that can be taught, by name.
pub const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];

const COMPLETERS: Shells<'static> = Shells(&[&Bash, &Zsh, &Fish]);

/// An id, and how ready its version is where the daemon told that.
type Found = (String, Option<&'static str>);

/// Returns the definition of the command line, with what completes its values.
pub fn definition() -> Command {
    with_values(Cli::command())
}

/// Returns the script that teaches a shell to ask `program`, where the shell is known.
pub fn script(shell: &str, program: &str) -> Option<String> {
    let mut text = Vec::new();
    let completer: &dyn EnvCompleter = COMPLETERS.completer(shell)?;
    completer.write_registration(VARIABLE, "comfyctl", "comfyctl", program, &mut text).ok()?;
    String::from_utf8(text).ok()
}

/// Answers a shell that asks for completions, and returns the status to end with; none where nobody asked.
pub fn answer() -> Option<u8> {
    let asked = CompleteEnv::with_factory(definition).var(VARIABLE).shells(COMPLETERS);
    match asked.try_complete(std::env::args_os(), std::env::current_dir().ok().as_deref()) {
        Ok(false) => None,
        Ok(true) => Some(0),
        // Nothing is said: it would land in the middle of the line that is being typed.
        Err(_) => Some(ErrorKind::Usage.exit_status()),
    }
}

fn with_values(command: Command) -> Command {
    command.mut_args(with_value).mut_subcommands(with_values)
}

/// Tells by the name of an argument's value what it may be.
fn with_value(arg: Arg) -> Arg {
    let Some([name]) = arg.get_value_names() else { return arg };
    match name.as_str() {
        "ID" | "VERSION" | "VERSIONS" | "OLD" | "NEW" => arg.add(ArgValueCompleter::new(versions)),
        "DIR" => arg.value_hint(ValueHint::DirPath),
        name if name.starts_with("FILE") => arg.value_hint(ValueHint::FilePath),
        _ => arg,
    }
}

/// Returns what an argument that names a version may be: ids, or once it looks like a path, specs.
fn versions(begun: &OsStr) -> Vec<CompletionCandidate> {
    let text = begun.to_string_lossy();
    if text.contains('/') || text.starts_with('.') {
        let spec = |path: &Path| path.is_dir() || path.extension().is_some_and(|kind| kind == "json");
        return PathCompleter::any().filter(spec).complete(begun);
    }
    let ids = ids().into_iter().filter(|(id, _)| id.starts_with(&*text));
    ids.map(|(id, rung)| CompletionCandidate::new(id).help(rung.map(Into::into))).collect()
}

/// Gathers the ids of versions from the daemon and from the disk, for [`LIMIT`] at most.
fn ids() -> BTreeMap<String, Option<&'static str>> {
    let deadline = Instant::now() + LIMIT;
    let environment = Arc::new(Environment::read());
    let (found, arriving) = channel();
    for seek in [of_daemon, of_disk] {
        let (environment, found) = (Arc::clone(&environment), found.clone());
        // Either may hang, in a volume or in a daemon: then the process ends without it.
        Builder::new().spawn(move || seek(&environment, &found)).ok();
    }
    drop(found);
    let mut ids = BTreeMap::new();
    while let Ok((id, rung)) = arriving.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        let known = ids.entry(id).or_insert(rung);
        *known = known.or(rung);
    }
    ids
}

/// Asks the daemon. Connecting to a socket of systemd's would start one, so its lock is looked at first.
fn of_daemon(environment: &Environment, found: &Sender<Found>) -> Option<()> {
    let socket = environment.socket().ok()?;
    if !daemon::runs(&socket) {
        return None;
    }
    let interrupt = Interrupt::default();
    let (mut connection, _) = Connection::open(connect(&socket).ok()?, BTreeMap::new(), &interrupt).ok()?;
    let status = connection.call(&Status { after: None }, &mut Deaf, &interrupt).ok()?.read().ok()?;
    for version in status.versions {
        found.send((version.version_id.to_string(), Some(version.standing.rung.name()))).ok()?;
    }
    Some(())
}

/// Looks for spec files, by their names alone: so a Tab reads no file.
fn of_disk(environment: &Environment, found: &Sender<Found>) -> Option<()> {
    for dir in environment.versions_dirs() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Some(id) = name.to_str().and_then(|name| name.strip_suffix(".json")) else { continue };
            if proto::VersionId::new(id).is_ok() && !id.ends_with(".schema") {
                found.send((id.to_owned(), None)).ok()?;
            }
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(command: &Command) -> Vec<&Command> {
        let mut all: Vec<&Command> = command.get_subcommands().flat_map(leaves).collect();
        all.push(command);
        all
    }

    #[test]
    fn each_argument_that_names_a_version_is_completed() {
        let definition = definition();
        let mut named = 0;
        for command in leaves(&definition) {
            for arg in command.get_arguments() {
                let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
                if help.starts_with("Version id") || help.starts_with("Versions, by id") {
                    named += 1;
                    let completed = arg.get::<ArgValueCompleter>().is_some();
                    assert!(completed, "`{}` {}: call its value ID", command.get_name(), arg.get_id());
                }
            }
        }
        assert!(named >= 12, "{named}");
    }

    #[test]
    fn a_script_is_there_for_each_shell() {
        for shell in SHELLS {
            let script = script(shell, "/opt/my tools/comfyctl").unwrap();
            assert!(script.contains(VARIABLE) && script.contains("/opt/my tools/comfyctl"), "{script}");
        }
        assert_eq!(script("tcsh", "comfyctl"), None);
    }
}
