//! Why a home is not complete, and what to do about it.

use crate::resolve::ResolveError;
use crate::source::git::GitError;
use crate::source::model::ModelError;
use crate::source::python::PythonError;
use crate::store::StoreError;
use crate::store::file_lock::LockError;
use proto::plan::Problem;
use proto::{ErrorKind, VersionId};

/// Why a home is not complete.
#[derive(Debug, thiserror::Error)]
pub enum RealizeError {
    /// The version could not be pinned.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The home belongs to another version.
    #[error("`{home}` is the home of `{other}`, not of `{wanted}`")]
    OtherVersion {
        /// The home.
        home: String,
        /// Whose it is.
        other: VersionId,
        /// Who asked.
        wanted: VersionId,
    },
    /// Someone else works on it.
    #[error("failed to lock `{what}`")]
    Locked {
        /// The home, or the checkout.
        what: String,
        /// Who and how long.
        source: LockError,
    },
    /// This process said nothing for so long that another one took the home's lock over.
    #[error("the lock of `{0}` was taken over while this process stood still")]
    TakenOver(String),
    /// The plan cannot be made true: hosts do not give what it wants, or a disk is too small. Nothing was
    /// begun.
    #[error("{}", sentence(.0))]
    Refused(Vec<Problem>),
    /// ComfyUI is needed, not cached, and nothing may be fetched.
    #[error("ComfyUI at {commit} is not cached")]
    NoComfy {
        /// Its commit.
        commit: String,
    },
    /// A repository could not be checked out.
    #[error("failed to check out `{name}`")]
    Repository {
        /// `ComfyUI` or the node's directory.
        name: String,
        /// Why.
        source: GitError,
    },
    /// A model could not be fetched.
    #[error("failed to fetch the model `{target}`")]
    Model {
        /// Its place.
        target: String,
        /// Why.
        source: ModelError,
    },
    /// The environment could not be made.
    #[error("failed to make the Python environment")]
    Packages(#[source] PythonError),
    /// A custom node's `install.py` failed.
    #[error("`install.py` of `{node}` failed")]
    InstallScript {
        /// The custom node.
        node: String,
        /// Why.
        source: PythonError,
    },
    /// No generation was current before.
    #[error("`{0}` has no generation to go back to")]
    NothingBefore(VersionId),
    /// The generation to go back to lacks something.
    #[error("the generation before (`{generation}`) is not whole")]
    NotWhole {
        /// Its directory.
        generation: String,
    },
    /// What is to be built anew is in use.
    #[error("`{generation}` is damaged, and the ComfyUI of `{version}` runs it")]
    Damaged {
        /// The generation's directory.
        generation: String,
        /// Whose process it is.
        version: VersionId,
    },
    /// The disk refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A bug: disk work panicked.
    #[error("disk work crashed")]
    Crashed(#[source] tokio::task::JoinError),
}

impl RealizeError {
    /// Returns what kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Resolve(error) => error.kind(),
            Self::OtherVersion { .. } | Self::Damaged { .. } => ErrorKind::Conflict,
            Self::Locked { source: LockError::Cancelled(_), .. } => ErrorKind::Cancelled,
            Self::Refused(problems) => problems.first().map_or(ErrorKind::Internal, |problem| problem.kind),
            Self::Locked { source: LockError::Store(_), .. } | Self::Store(_) => ErrorKind::Disk,
            Self::Locked { source: LockError::Timeout { .. }, .. } | Self::TakenOver(_) => ErrorKind::Busy,
            Self::NothingBefore(_) | Self::NotWhole { .. } => ErrorKind::NotFound,
            Self::NoComfy { .. } => ErrorKind::Offline,
            Self::Repository { source, .. } => source.kind(),
            Self::Model { source, .. } => source.kind(),
            Self::Packages(source) | Self::InstallScript { source, .. } => source.kind(),
            Self::Crashed(_) => ErrorKind::Internal,
        }
    }

    /// Returns what to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Resolve(error) => error.hint(),
            Self::OtherVersion { .. } => Some("put `{version_id}` into COMFY_HOME, or unset it".to_owned()),
            Self::NothingBefore(_) => {
                Some("a generation is kept when another one becomes current: after an edit of the spec, or `--update`".to_owned())
            }
            Self::NotWhole { .. } => {
                Some("undo the edit of the spec, or pin the earlier commits in it, and realize".to_owned())
            }
            Self::Damaged { version, .. } => {
                Some(format!("end it by `comfyctl stop {version}`, then try again"))
            }
            // Of several, each has its own beside it.
            Self::Refused(problems) => {
                problems.first().filter(|_| problems.len() == 1).and_then(|problem| problem.hint.clone())
            }
            Self::TakenOver(_) => Some("ask again: the other one may have done the work".to_owned()),
            Self::NoComfy { .. } => Some("realize it once without `offline`".to_owned()),
            Self::Repository { source, .. } => source.hint(),
            Self::Model { source, .. } => source.hint(),
            Self::Packages(source) | Self::InstallScript { source, .. } => source.hint(),
            Self::Locked { .. } | Self::Store(_) | Self::Crashed(_) => None,
        }
    }
    /// Returns what is told beyond the message: each problem where there are several.
    pub fn details(&self) -> Vec<String> {
        match self {
            Self::Refused(problems) if problems.len() > 1 => problems.iter().map(line).collect(),
            _ => Vec::new(),
        }
    }
}

fn sentence(problems: &[Problem]) -> String {
    match problems {
        [problem] => problem.message.clone(),
        _ => format!("{} things stand in the way, and nothing was begun", problems.len()),
    }
}

fn line(problem: &Problem) -> String {
    match &problem.hint {
        Some(hint) => format!("{} ({hint})", problem.message),
        None => problem.message.clone(),
    }
}
