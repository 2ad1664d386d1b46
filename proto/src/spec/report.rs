//! Findings and their places, collected in any order and given back in the order of the file.

use super::{Diagnostic, Severity};
use crate::ids::InvalidName;
use crate::source::InvalidSource;

/// Where something stands.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// Byte offset in the text.
    pub(super) at: usize,
    /// The field's path, such as `models[0].source`.
    pub(super) field: String,
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Placed<T> {
    pub(super) place: Place,
    pub(super) value: T,
}

impl<T> Placed<T> {
    /// Puts another value at the same place.
    pub(super) fn with<U>(&self, value: U) -> Placed<U> {
        Placed { place: self.place.clone(), value }
    }
}

/// What is wrong, and what to do about it.
#[derive(Debug)]
pub(super) struct Problem {
    message: String,
    hint: String,
}

impl Problem {
    pub(super) fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: hint.into() }
    }

    /// A name that did not pass its check; the check's text says what is allowed.
    pub(super) fn name(error: &InvalidName, hint: impl Into<String>) -> Self {
        Self::new(error.to_string(), hint)
    }
}

impl From<InvalidSource> for Problem {
    fn from(error: InvalidSource) -> Self {
        Self::new(error.message, error.hint)
    }
}

/// Collects findings.
#[derive(Debug, Default)]
pub(super) struct Report {
    found: Vec<(usize, Diagnostic)>,
    left_out: usize,
    refused: bool,
}

/// Number of findings that are kept: a hostile file must not cost much more memory than its size.
const KEPT: usize = 1000;

impl Report {
    /// Reports an error: the spec will be refused.
    pub(super) fn error(&mut self, place: &Place, problem: Problem) {
        self.refused = true;
        self.add(Severity::Error, place, problem);
    }

    /// Reports a warning.
    pub(super) fn warn(&mut self, place: &Place, message: impl Into<String>, hint: impl Into<String>) {
        self.add(Severity::Warning, place, Problem::new(message, hint));
    }

    /// Gives the value, or reports the problem.
    pub(super) fn take<T>(&mut self, place: &Place, result: Result<T, Problem>) -> Option<T> {
        result.map_err(|problem| self.error(place, problem)).ok()
    }

    /// Returns whether an error was reported.
    pub(super) fn refused(&self) -> bool {
        self.refused
    }

    fn add(&mut self, severity: Severity, place: &Place, problem: Problem) {
        if self.found.len() == KEPT {
            self.left_out += 1;
            return;
        }
        let diagnostic = Diagnostic {
            severity,
            file: String::new(),
            line: 0,
            column: 0,
            field: place.field.clone(),
            message: problem.message,
            hint: Some(problem.hint),
        };
        self.found.push((place.at, diagnostic));
    }

    /// Returns the findings in the order of the file, with file, line and column.
    pub(super) fn finish(mut self, text: &str, file: &str) -> Vec<Diagnostic> {
        if self.left_out > 0 {
            let place = Place { at: text.len(), field: String::new() };
            let problem = Problem::new(
                format!("{} more findings are not shown", self.left_out),
                "fix the ones above first",
            );
            self.found.truncate(KEPT - 1);
            self.add(Severity::Error, &place, problem);
        }
        self.found.sort_by_key(|(at, _)| *at);
        let (mut line, mut column, mut reached) = (1, 1, 0);
        let mut diagnostics = Vec::with_capacity(self.found.len());
        for (at, diagnostic) in self.found {
            for c in text[reached..at].chars() {
                (line, column) = if c == '\n' { (line + 1, 1) } else { (line, column + 1) };
            }
            reached = at;
            diagnostics.push(Diagnostic { file: file.to_owned(), line, column, ..diagnostic });
        }
        diagnostics
    }
}
