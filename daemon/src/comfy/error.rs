//! Why ComfyUI could not be used.

use super::Rejection;
use proto::ErrorKind;
use reqwest::StatusCode;
use std::path::PathBuf;

/// Why ComfyUI could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ComfyError {
    /// No client can be made for this address.
    #[error("`{0}` is no address of a ComfyUI")]
    Address(String),
    /// No answer.
    #[error("failed to reach ComfyUI for `{what}`")]
    Unreachable {
        /// The request.
        what: String,
        /// Why.
        source: reqwest::Error,
    },
    /// An answer that says no.
    #[error("ComfyUI answered {status} to `{what}`: {body}")]
    Refused {
        /// The request.
        what: String,
        /// The HTTP status.
        status: StatusCode,
        /// The beginning of the answer.
        body: String,
    },
    /// An answer that cannot be understood.
    #[error("failed to understand ComfyUI's answer to `{what}`")]
    Answer {
        /// The request.
        what: String,
        /// Why.
        source: serde_json::Error,
    },
    /// A prompt that ComfyUI does not accept.
    #[error("ComfyUI refused the workflow: {}", .0.summary)]
    Rejected(Rejection),
    /// The progress socket could not be opened.
    #[error("failed to open ComfyUI's progress socket")]
    Socket(#[source] Box<tokio_tungstenite::tungstenite::Error>),
    /// A local file could not be read or written.
    #[error("failed to {attempt} `{path}`")]
    File {
        /// What was attempted.
        attempt: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl ComfyError {
    /// Tells whether nobody listens where ComfyUI should.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Unreachable { source, .. } if source.is_connect() && !source.is_timeout())
    }

    /// Tells whether there was no answer at all.
    pub fn is_silence(&self) -> bool {
        matches!(self, Self::Unreachable { .. }) && !self.is_refusal()
    }

    /// Returns the kind of failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Rejected(_) => ErrorKind::Workflow,
            Self::File { source, .. } if source.kind() == std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            Self::File { .. } => ErrorKind::Disk,
            Self::Unreachable { source, .. } if source.is_timeout() => ErrorKind::Timeout,
            _ => ErrorKind::Instance,
        }
    }

    /// Returns a remedy.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Rejected(rejection) => rejection.hint(),
            Self::Unreachable { .. } | Self::Refused { .. } | Self::Answer { .. } | Self::Socket(_) => {
                Some("`comfyctl logs <version>` shows what ComfyUI says".to_owned())
            }
            Self::Address(_) | Self::File { .. } => None,
        }
    }
}
