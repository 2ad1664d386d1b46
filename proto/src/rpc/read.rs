//! Lines from a client, which may hold anything.

use super::{MAX_ID_BYTES, Message, RequestId};
use crate::ErrorKind;
use crate::error::{PARSE_ERROR, excerpt};
use serde::de::IgnoredAny;

/// Why a line is no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The line is not JSON, or not UTF-8.
    #[error("the line is not JSON: {0}")]
    Syntax(String),
    /// JSON, and no message of JSON-RPC 2.0.
    #[error("the line is no message of JSON-RPC 2.0: {0}")]
    Envelope(String),
    /// Several messages in one line.
    #[error("batches are not taken: write one call a line, the answers come as they are ready")]
    Batch,
    /// The id is a long text.
    #[error("the id has {0} bytes, and at most {MAX_ID_BYTES} are taken")]
    Id(usize),
}

impl Unreadable {
    /// Returns the code of the answer: JSON-RPC's "parse error" or "invalid request".
    pub fn code(&self) -> i64 {
        match self {
            Self::Syntax(_) => PARSE_ERROR,
            Self::Envelope(_) | Self::Batch | Self::Id(_) => ErrorKind::Protocol.code(),
        }
    }
}

impl Message {
    /// Reads one line from a client. Takes memory in proportion to the line's length.
    ///
    /// # Errors
    /// The line is no message; the error's text is short, whatever the line holds.
    pub fn read(line: &[u8]) -> Result<Self, Unreadable> {
        // serde would read an array as a struct's fields in order.
        if line.trim_ascii_start().starts_with(b"[") {
            return Err(Unreadable::Batch);
        }
        match serde_json::from_slice::<Self>(line) {
            Ok(Self { id: Some(RequestId::Text(id)), .. }) if id.len() > MAX_ID_BYTES => {
                Err(Unreadable::Id(id.len()))
            }
            Ok(message) => Ok(message),
            Err(error) => Err(match serde_json::from_slice::<IgnoredAny>(line) {
                Err(error) => Unreadable::Syntax(excerpt(&error.to_string())),
                Ok(_) => Unreadable::Envelope(excerpt(&error.to_string())),
            }),
        }
    }
}
