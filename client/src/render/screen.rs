//! Where a command writes: its result on stdout, everything else on stderr.

use crate::cli::Global;
use crate::failure::Failure;
use crate::render::{Marks, errors};
use owo_colors::OwoColorize as _;
use proto::ErrorKind;
use std::collections::HashSet;
use std::io::{self, IsTerminal as _, Write as _};

/// Where a command writes. A reader of stdout that went away is no error: there is just nobody left
/// to write for.
pub struct Screen {
    /// Marks that the terminal can show.
    pub marks: Marks,
    /// Whether results are JSON.
    pub json: bool,
    /// Whether only warnings and errors are told.
    pub quiet: bool,
    /// Whether progress bars can be drawn.
    pub has_bars: bool,
    verbose: bool,
    reader_gone: bool,
    warned: HashSet<String>,
}

impl Screen {
    /// Looks at the terminal.
    pub fn new(options: &Global, utf8: bool) -> Self {
        Self {
            marks: Marks::new(utf8),
            json: options.json,
            quiet: options.quiet,
            has_bars: io::stderr().is_terminal(),
            verbose: options.verbose,
            reader_gone: false,
            warned: HashSet::new(),
        }
    }

    /// Writes a result: JSON or lines, as it is, and flushes.
    ///
    /// # Errors
    /// Stdout cannot be written, for another reason than that its reader left.
    pub fn result(&mut self, text: &str) -> Result<(), Failure> {
        if self.reader_gone {
            return Ok(());
        }
        let mut out = anstream::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.reader_gone = true;
                Ok(())
            }
            Err(error) => {
                let mut failure = Failure::new(ErrorKind::Disk, "failed to write to stdout");
                failure.data.causes.push(error.to_string());
                Err(failure)
            }
        }
    }

    /// Returns whether nobody reads stdout any more.
    pub fn reader_gone(&self) -> bool {
        self.reader_gone
    }

    /// Tells people something on stderr, unless they want quiet.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            to_stderr(&format!("{text}\n"));
        }
    }

    /// Tells people what only `--verbose` asks for.
    pub fn detail(&self, text: &str) {
        if self.verbose {
            to_stderr(&format!("{}\n", text.dimmed()));
        }
    }

    /// Warns people on stderr, once for each text.
    pub fn warn(&mut self, text: &str) {
        if let Some(line) = self.warning(text) {
            to_stderr(&format!("{line}\n"));
        }
    }

    /// Returns a warning as a line, unless it was shown before.
    pub fn warning(&mut self, text: &str) -> Option<String> {
        self.warned.insert(text.to_owned()).then(|| format!("{} {text}", "warning:".yellow().bold()))
    }
}

/// Writes to stderr; when that fails there is nobody to tell.
pub fn to_stderr(text: &str) {
    anstream::stderr().lock().write_all(text.as_bytes()).ok();
}

/// Shows a failure: one JSON object on stdout, or lines on stderr.
pub fn show_failure(failure: &Failure, json: bool) {
    if json {
        // Nobody is left to tell that stdout is closed.
        anstream::stdout().lock().write_all(errors::json(failure).as_bytes()).ok();
    } else {
        to_stderr(&errors::people(failure));
    }
}
