//! Why nothing could be made of an origin.

use crate::store::StoreError;
use proto::ErrorKind;
use std::error::Error;
use std::path::PathBuf;

/// Why nothing could be made of an origin.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The text is no snapshot.
    #[error("this is no snapshot: {0}")]
    Snapshot(String),
    /// The text is no workflow.
    #[error("this is no workflow: {0}")]
    Workflow(String),
    /// The bytes are no picture.
    #[error("this is neither a PNG nor a WebP picture")]
    NoPicture,
    /// The picture has none.
    #[error("the picture holds no workflow")]
    NoWorkflow,
    /// The directory is no installation.
    #[error("there is no ComfyUI in `{0}`")]
    NotComfyui(PathBuf),
    /// The caller is another user than the daemon, and may be allowed less.
    #[error("the daemon reads `{0}` for its own user and root only")]
    Foreign(PathBuf),
    /// A spec stands there.
    #[error("there is a spec `{0}` already")]
    Exists(PathBuf),
    /// What was made is no spec: a bug.
    #[error("the spec that was made has errors: {0}")]
    Refused(String),
    /// The disk refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nobody wants the result any more.
    #[error("cancelled")]
    Cancelled,
}

impl ImportError {
    /// Returns the kind, which decides exit status and error code.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Snapshot(_) | Self::Workflow(_) | Self::NoPicture | Self::NoWorkflow => ErrorKind::Usage,
            Self::NotComfyui(_) => ErrorKind::NotFound,
            Self::Foreign(_) => ErrorKind::Access,
            Self::Exists(_) => ErrorKind::Conflict,
            Self::Refused(_) => ErrorKind::Internal,
            Self::Store(_) => ErrorKind::Disk,
            Self::Cancelled => ErrorKind::Cancelled,
        }
    }

    /// Returns what to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Snapshot(_) => "give a snapshot of ComfyUI-Manager, ComfyUI Desktop or comfy-pack",
            Self::Workflow(_) => {
                "save the workflow in ComfyUI with `Workflow > Save` or `Workflow > Export (API)`"
            }
            Self::NoPicture | Self::NoWorkflow => {
                "give the picture as ComfyUI saved it, or the workflow itself; what edits pictures drops workflows"
            }
            Self::NotComfyui(_) => "name the directory that holds ComfyUI's main.py",
            Self::Foreign(_) => "call a daemon of your own: `comfyctl --socket <path> new …` starts one",
            Self::Exists(_) => "`--force` replaces it; `--dry-run` shows what it would become",
            Self::Refused(_) | Self::Store(_) | Self::Cancelled => return None,
        };
        Some(hint.to_owned())
    }
}

/// Returns an error and its causes in one line.
pub(super) fn in_one_line(error: &dyn Error) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    super::found::shown(&causes.map(ToString::to_string).collect::<Vec<_>>().join(": "))
}
