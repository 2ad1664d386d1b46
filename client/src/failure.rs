//! A command that did not succeed, as people and programs are told.

use crate::{connection, daemon};
use proto::places::PlaceError;
use proto::{ErrorData, ErrorKind};
use std::error::Error;

/// A command that did not succeed: what the daemon answered, or what the client found itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// One sentence.
    pub message: String,
    /// Kind, causes, remedy and more.
    pub data: Box<ErrorData>,
}

impl Failure {
    /// Makes a failure without causes.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let data = ErrorData { kind, causes: vec![], hint: None, diagnostics: vec![], details: vec![] };
        Self { message: message.into(), data: Box::new(data) }
    }

    /// Makes a failure of an error and the chain of its sources.
    pub fn of(error: &dyn Error, kind: ErrorKind, hint: Option<String>) -> Self {
        let mut failure = Self::new(kind, error.to_string());
        let mut source = error.source();
        while let Some(cause) = source {
            failure.data.causes.push(cause.to_string());
            source = cause.source();
        }
        failure.data.hint = hint;
        failure
    }

    /// Adds a remedy.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.data.hint = Some(hint.into());
        self
    }
}

impl From<PlaceError> for Failure {
    fn from(error: PlaceError) -> Self {
        Self::of(&error, error.kind(), error.hint())
    }
}

impl From<connection::Error> for Failure {
    fn from(error: connection::Error) -> Self {
        match error {
            connection::Error::Answered(answer) => {
                let mut failure = Self::new(ErrorKind::from_code(answer.code), answer.message);
                if let Some(data) = answer.data {
                    failure.data = data;
                } else if answer.code == proto::error::METHOD_NOT_FOUND {
                    failure.data.kind = ErrorKind::Protocol;
                    failure.data.hint = Some(connection::RESTART.to_owned());
                }
                failure
            }
            error => Self::of(&error, error.kind(), error.hint()),
        }
    }
}

impl From<daemon::Error> for Failure {
    fn from(error: daemon::Error) -> Self {
        let mut failure = Self::of(&error, error.kind(), error.hint());
        if let daemon::Error::Died { log_end, .. } = error {
            failure.data.details = log_end;
        }
        failure
    }
}
