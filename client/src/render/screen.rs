//! Where a command writes: its result on stdout, everything else on stderr.

use crate::cli::Global;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::render::text::{WIDTH, ascii, fold};
use crate::render::{Marks, errors};
use console::Term;
use owo_colors::OwoColorize as _;
use proto::ErrorKind;
use std::borrow::Cow;
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
    /// Whether a terminal shows results.
    pub is_seen: bool,
    /// Whether a terminal can be drawn on.
    pub draws: bool,
    utf8: bool,
    verbose: bool,
    reader_gone: bool,
    warned: HashSet<String>,
}

impl Screen {
    /// Looks at the terminal.
    pub fn new(options: &Global, environment: &Environment) -> Self {
        let (utf8, draws) = (environment.is_utf8(), environment.draws());
        Self {
            marks: Marks::new(utf8),
            json: options.json,
            quiet: options.quiet,
            has_bars: draws && io::stderr().is_terminal(),
            is_seen: io::stdout().is_terminal(),
            draws,
            utf8,
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

    /// Writes a result that is text of comfyd's and comfyctl's own, in characters that the terminal has.
    ///
    /// # Errors
    /// As [`Self::result`].
    pub fn show(&mut self, text: &str) -> Result<(), Failure> {
        let text = self.spelt(text);
        self.result(&text)
    }

    /// Returns how many columns a result may have: those of the terminal, else [`WIDTH`].
    pub fn width(&self) -> usize {
        if self.is_seen { usize::from(Term::stdout().size().1) } else { WIDTH }
    }

    /// Returns whether nobody reads stdout any more.
    pub fn reader_gone(&self) -> bool {
        self.reader_gone
    }

    /// Tells people a sentence on stderr, unless they want quiet.
    pub fn note(&self, text: &str) {
        self.lines(&fold("", text, 2));
    }

    /// Tells people what has its lines already, unless they want quiet.
    pub fn lines(&self, text: &str) {
        if !self.quiet {
            self.say(text);
        }
    }

    /// Writes lines to stderr, in characters that the terminal has.
    pub fn say(&self, text: &str) {
        to_stderr(&self.spelt(text));
    }

    /// Returns text of comfyd's and comfyctl's own in characters that the terminal has.
    pub fn spelt<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.utf8 { Cow::Borrowed(text) } else { ascii(text) }
    }

    /// Tells people what only `--verbose` asks for.
    pub fn detail(&self, text: &str) {
        if self.verbose {
            self.say(&format!("{}\n", text.dimmed()));
        }
    }

    /// Warns people on stderr, once for each text.
    pub fn warn(&mut self, text: &str) {
        if let Some(line) = self.warning(text) {
            self.say(&format!("{line}\n"));
        }
    }

    /// Returns a warning as lines, the last without its end, unless it was shown before.
    pub fn warning(&mut self, text: &str) -> Option<String> {
        let head = format!("{} ", "warning:".yellow().bold());
        self.warned.insert(text.to_owned()).then(|| fold(&head, text, 2).trim_end().to_owned())
    }
}

/// Writes to stderr; when that fails there is nobody to tell.
pub fn to_stderr(text: &str) {
    anstream::stderr().lock().write_all(text.as_bytes()).ok();
}

/// Shows a failure: one JSON object on stdout, or lines on stderr.
pub fn show_failure(failure: &Failure, json: bool, environment: &Environment) {
    if json {
        // Nobody is left to tell that stdout is closed.
        anstream::stdout().lock().write_all(errors::json(failure).as_bytes()).ok();
    } else {
        let text = errors::people(failure);
        to_stderr(&if environment.is_utf8() { text.into() } else { ascii(&text) });
    }
}
