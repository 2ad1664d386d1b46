//! `export`: write a version for other programs.

use super::{Outcome, show_json, warn_all};
use crate::failure::Failure;
use crate::session::Session;
use proto::ErrorKind;
use proto::method::{Export, ExportFormat};
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Arguments of `export`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Version id, or path of a spec that ends in .json
    version: String,
    /// As a snapshot of ComfyUI-Manager, in JSON
    #[arg(long, required = true)]
    snapshot: bool,
    /// File to write [default: stdout]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the file that is there
    #[arg(long, requires = "output")]
    force: bool,
}

/// Runs the verb.
///
/// # Errors
/// A file that cannot be written, or what the daemon answered.
pub fn run(args: &Args, session: &mut Session) -> Result<Outcome, Failure> {
    let output = args.output.as_deref();
    if let Some(file) = output.filter(|file| !args.force && file.exists()) {
        return Err(exists(file));
    }
    let call = Export { target: session.target(&args.version), format: ExportFormat::Snapshot };
    let answer = session.call(&call)?;
    let exported = answer.read()?;
    if let Some(file) = output {
        save(file, &exported.text, args.force)?;
    }
    if session.screen.json {
        show_json(session, &answer)?;
        return Ok(Outcome::Done);
    }
    warn_all(session, &exported.left_out);
    let text = output.map_or(exported.text, |file| format!("{}\n", file.display()));
    session.screen.result(&text)?;
    Ok(Outcome::Done)
}

/// Writes a file for the user; one that is there only where that was asked for.
pub(super) fn save(file: &Path, text: &str, force: bool) -> Result<(), Failure> {
    let mut options = OpenOptions::new();
    if force {
        options.write(true).create(true).truncate(true)
    } else {
        options.write(true).create_new(true)
    };
    let written = options.open(file).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| {
        if error.kind() == io::ErrorKind::AlreadyExists {
            return exists(file);
        }
        let mut failure = Failure::new(ErrorKind::Disk, format!("failed to write `{}`", file.display()));
        failure.data.causes.push(error.to_string());
        failure
    })
}

/// A file that is not replaced by itself.
pub(super) fn exists(file: &Path) -> Failure {
    let message = format!("there is a file `{}` already", file.display());
    Failure::new(ErrorKind::Conflict, message).hint("`--force` replaces it")
}
