//! Why a model could not be had, and what to do about it.

use super::remote::BodyError;
use crate::source::http::{Again, HttpError};
use crate::store::commit::StoreError;
use proto::ErrorKind;
use std::error::Error as _;
use std::path::PathBuf;
use std::time::Duration;

/// Why a model could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The link does not lead to an address.
    #[error("the model link `{link}` cannot be fetched")]
    Link {
        /// The link.
        link: String,
    },
    /// No answer came.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The host refused.
    #[error("`{link}`: the host answered {status}: {says}")]
    Refused {
        /// The link.
        link: String,
        /// HTTP status.
        status: u16,
        /// What the host said, or what its status means.
        says: String,
        /// What kind of refusal it is.
        kind: ErrorKind,
        /// What to do about it.
        hint: Option<String>,
        /// Whether the same request may succeed later.
        again: Again,
    },
    /// The connection broke in the middle.
    #[error("the connection to `{link}` broke after {received} bytes")]
    Broken {
        /// The link.
        link: String,
        /// Bytes that had arrived.
        received: u64,
        /// Why, where the connection told.
        source: Option<BodyError>,
    },
    /// What came is not the model.
    #[error("what came from `{link}` is not the model: {reason}")]
    NotAModel {
        /// The link.
        link: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no such file on this machine.
    #[error("there is no file `{0}`")]
    NoFile(PathBuf),
    /// The file does not fit.
    #[error("`{path}` needs {needed} bytes, {available} are free")]
    NoSpace {
        /// Where it was to be written.
        path: PathBuf,
        /// Bytes it needs.
        needed: u64,
        /// Bytes that are free there.
        available: u64,
    },
    /// The disk refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nobody wants the model any more.
    #[error("cancelled while fetching a model")]
    Cancelled,
    /// A bug: the work panicked.
    #[error("the work on a model ended unexpectedly")]
    Panicked,
    /// Another file stands at the link now.
    #[error("the file at `{link}` changed while it was fetched")]
    Changed {
        /// The link.
        link: String,
    },
    /// The bytes are not those that the host spoke of.
    #[error("`{link}` arrived damaged: its SHA-256 is {arrived}, and the host says {told}")]
    Damaged {
        /// The link.
        link: String,
        /// What the host says.
        told: String,
        /// Of what arrived.
        arrived: String,
    },
    /// The host sent another part than was asked for.
    #[error("`{link}`: the host sent `{sent}` for `bytes={asked}`")]
    WrongPart {
        /// The link.
        link: String,
        /// First and last byte.
        asked: String,
        /// The host's `Content-Range`.
        sent: String,
    },
    /// Another process fetches the same file and gets nowhere.
    #[error("waited {} s for `{link}`, which {owner} fetches", waited.as_secs())]
    Busy {
        /// The link.
        link: String,
        /// Who fetches it.
        owner: String,
        /// How long nothing had come.
        waited: Duration,
    },
    /// The daemon's credentials of a bucket cannot be used.
    #[error("`{link}`: the credentials cannot be used: {reason}")]
    Credentials {
        /// The link.
        link: String,
        /// Why.
        reason: String,
        /// What to do about it.
        hint: &'static str,
    },
}

const FREE_SPACE: &str = "free some space or set MODELS_DIR to another disk; what has come is kept. If the volume has a quota, tell it by \
     COMFY_VOLUME_QUOTA: then a plan that does not fit is refused beforehand";

impl ModelError {
    /// Returns the kind, which decides exit status and error code.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Link { .. } => ErrorKind::Spec,
            Self::Http(HttpError::Client(_)) => ErrorKind::Toolchain,
            Self::Http(HttpError::Cancelled(_)) | Self::Cancelled => ErrorKind::Cancelled,
            Self::Http(_)
            | Self::Broken { .. }
            | Self::NotAModel { .. }
            | Self::Changed { .. }
            | Self::Damaged { .. }
            | Self::WrongPart { .. } => ErrorKind::Network,
            Self::Busy { .. } => ErrorKind::Busy,
            Self::Credentials { .. } => ErrorKind::Access,
            Self::Refused { kind, .. } => *kind,
            Self::NoFile(_) => ErrorKind::NotFound,
            Self::NoSpace { .. } | Self::Store(_) => ErrorKind::Disk,
            Self::Panicked => ErrorKind::Internal,
        }
    }

    /// Returns the remedy, where there is one.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Refused { hint, .. } => return hint.clone(),
            Self::Http(HttpError::Client(_)) => {
                "install the system's certificates (package `ca-certificates`)"
            }
            Self::Http(HttpError::Transport { .. }) | Self::Broken { .. } => {
                "check the host's name and the network; a proxy is taken from HTTPS_PROXY"
            }
            Self::Credentials { hint, .. } => hint,
            Self::Damaged { .. } => {
                "something between here and the host changes files: a proxy, or a broken cache"
            }
            Self::Changed { .. } => "try again; a link with a version or commit in it does not change",
            Self::Busy { .. } => "stop the other process, or wait until it has fetched the model",
            Self::NotAModel { .. } => "open the link in a browser; it may be a page instead of a file",
            Self::NoFile(_) => "a `file://` link names a file on the machine that comfyd runs on",
            Self::NoSpace { .. } => FREE_SPACE,
            Self::Store(error) if is_full(&error.source) => FREE_SPACE,
            _ => return None,
        };
        Some(hint.to_owned())
    }

    /// Returns whether the same attempt may succeed later.
    pub(super) fn again(&self) -> Again {
        match self {
            Self::Http(HttpError::Transport { .. }) | Self::Broken { .. } => Again::Later,
            Self::Refused { again, .. } => *again,
            _ => Again::Never,
        }
    }

    /// Returns the error and its causes in one line, for sentences that people read.
    pub fn in_one_line(&self) -> String {
        let mut line = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            line.push_str(": ");
            line.push_str(&error.to_string());
            cause = error.source();
        }
        line
    }
}

/// Returns whether a disk or a quota is full.
pub(super) fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_or_quota_is_a_matter_of_the_disk() {
        for errno in [nix::errno::Errno::ENOSPC, nix::errno::Errno::EDQUOT] {
            let error = ModelError::from(StoreError::at("write", "/m/x")(errno.into()));
            assert_eq!(error.kind(), ErrorKind::Disk);
            assert!(error.hint().is_some_and(|hint| hint.contains("MODELS_DIR")), "{errno}");
        }
    }
}
