//! Why a call has no result.

use super::HELLO_LIMIT;
use proto::rpc::RpcError;
use proto::{ErrorKind, MAX_FRAME_BYTES, PROTOCOL};
use std::io;

/// Remedy when the daemon is of another release than the client.
pub const RESTART: &str = "stop the old daemon with `comfyctl shutdown`; the next command starts the new one";

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The daemon answered with an error.
    #[error("{}", .0.message)]
    Answered(Box<RpcError>),
    /// The connection ended first.
    #[error("the daemon closed the connection before it answered `{method}`")]
    Closed {
        /// The call.
        method: &'static str,
    },
    /// Reading or writing failed.
    #[error("failed to talk to the daemon")]
    Talk(#[source] io::Error),
    /// A line is no message of this protocol.
    #[error("failed to read what the daemon wrote")]
    NoMessage(#[source] io::Error),
    /// Something listens that does not answer `hello`.
    #[error("whoever listens on the daemon's socket did not answer `hello` within {} s", HELLO_LIMIT.as_secs())]
    Silent,
    /// The daemon is of another protocol.
    #[error("the daemon speaks protocol {theirs}, and this comfyctl speaks {PROTOCOL}")]
    OtherProtocol {
        /// The daemon's number.
        theirs: u32,
    },
    /// The answer has neither result nor error.
    #[error("the daemon's answer to `{method}` is empty")]
    Empty {
        /// The call.
        method: &'static str,
    },
    /// The answer is not what the protocol says.
    #[error("failed to read the daemon's answer to `{method}`")]
    Answer {
        /// The call.
        method: &'static str,
        /// Why.
        source: serde_json::Error,
    },
    /// The call cannot be written.
    #[error("failed to write the call `{method}`")]
    Call {
        /// The call.
        method: &'static str,
        /// Why.
        source: serde_json::Error,
    },
    /// The daemon would not read a call of this length.
    #[error("the call `{method}` has {bytes} bytes, and the daemon reads at most {MAX_FRAME_BYTES}")]
    TooLong {
        /// The call.
        method: &'static str,
        /// Its length.
        bytes: usize,
    },
    /// The user stopped it, and the daemon left without an answer.
    #[error("cancelled")]
    Cancelled,
}

impl Error {
    /// Returns the kind of failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Answered(error) => ErrorKind::from_code(error.code),
            Self::Closed { .. } | Self::Talk(_) => ErrorKind::Unavailable,
            Self::NoMessage(_)
            | Self::Silent
            | Self::OtherProtocol { .. }
            | Self::Empty { .. }
            | Self::Answer { .. } => ErrorKind::Protocol,
            Self::Call { .. } => ErrorKind::Internal,
            Self::TooLong { .. } => ErrorKind::Usage,
            Self::Cancelled => ErrorKind::Cancelled,
        }
    }

    /// Returns the remedy.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::OtherProtocol { .. } | Self::Answer { .. } | Self::Empty { .. } => Some(RESTART.to_owned()),
            Self::Silent | Self::NoMessage(_) => {
                Some("look who listens there, or name another socket with `--socket`".to_owned())
            }
            _ => None,
        }
    }
}
