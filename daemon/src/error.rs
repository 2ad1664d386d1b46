//! Every way a call can fail, with its kind and remedy. Turned into words by the client.

use crate::import::ImportError;
use crate::realize::RealizeError;
use crate::realize::job::JobError;
use crate::resolve::{ResolveError, SideError};
use crate::run::{Failure, RunError};
use crate::store::StoreError;
use crate::store::commit::disk_remedy;
use crate::store::places::HomeError;
use crate::store::specs::SpecError;
use crate::supervise::SuperviseError;
use proto::error::excerpt;
use proto::{ErrorData, ErrorKind, Rung};
use std::error::Error as _;
use std::sync::Arc;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such spec, or it has errors.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The client's `COMFY_HOME` cannot be followed.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// `resolve` failed.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// A lock that is to be compared is not there.
    #[error(transparent)]
    Side(#[from] SideError),
    /// A plan could not be made.
    #[error(transparent)]
    Plan(#[from] RealizeError),
    /// `realize` failed, for all who waited for it.
    #[error(transparent)]
    Realize(#[from] JobError),
    /// There is no ComfyUI to work with.
    #[error(transparent)]
    Instance(#[from] SuperviseError),
    /// A workflow failed, for all who asked for it.
    #[error(transparent)]
    Run(#[from] Arc<RunError>),
    /// The disk refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nothing could be made of what a spec should be made of.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// The version has no lock that belongs to its spec.
    #[error("`{0}` is not resolved")]
    NoLock(String),
    /// The version has no log yet.
    #[error("ComfyUI of `{0}` has not been started yet")]
    NoLog(String),
    /// The parameters do not fit the method.
    #[error("the parameters of `{method}` cannot be read")]
    Params {
        /// The method.
        method: &'static str,
        /// Why.
        source: serde_json::Error,
    },
    /// An answer has no JSON form: a bug.
    #[error("the answer cannot be written")]
    Answer(#[source] serde_json::Error),
    /// The connection can claim nothing more.
    #[error("the connection holds too many claims, or is closed")]
    Leases,
    /// A rung that takes nothing to keep.
    #[error("`{0}` is no rung to pin a version to")]
    PinRung(Rung),
    /// So many versions are pinned that no more may be.
    #[error("{0} versions are pinned already")]
    TooManyPins(usize),
    /// The caller, or the daemon's end, cancelled the call.
    #[error("cancelled")]
    Cancelled,
}

/// Returns an error and the chain of its causes in one line, for the log.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

impl Error {
    /// Returns what kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Spec(SpecError::NotFound { .. }) | Self::NoLog(_) | Self::NoLock(_) => ErrorKind::NotFound,
            Self::Spec(SpecError::Invalid { .. }) => ErrorKind::Spec,
            Self::Spec(SpecError::Store(_)) | Self::Store(_) => ErrorKind::Disk,
            Self::Spec(SpecError::Name(_) | SpecError::Relative(_))
            | Self::Home(_)
            | Self::Params { .. }
            | Self::PinRung(_)
            | Self::TooManyPins(_) => ErrorKind::Usage,
            Self::Import(error) => error.kind(),
            Self::Resolve(error) => error.kind(),
            Self::Side(error) => error.kind(),
            Self::Plan(error) => error.kind(),
            Self::Realize(JobError::Failed(error)) => error.kind(),
            Self::Realize(JobError::Cancelled(_)) | Self::Cancelled => ErrorKind::Cancelled,
            Self::Instance(error) => error.kind(),
            Self::Run(error) => error.kind(),
            Self::Leases => ErrorKind::Busy,
            Self::Answer(_) => ErrorKind::Internal,
        }
    }

    /// Returns what to do about it.
    pub fn hint(&self) -> Option<String> {
        let disk = || (self.kind() == ErrorKind::Disk).then(|| disk_remedy(self)).flatten();
        self.own_hint().or_else(|| disk().map(str::to_owned))
    }

    fn own_hint(&self) -> Option<String> {
        match self {
            Self::Spec(SpecError::NotFound { sought, .. }) => Some(format!(
                "there is no {}; `comfyctl list` shows the versions there are",
                sought.join(" and no ")
            )),
            Self::Home(_) => Some("set COMFY_HOME to an absolute path, or unset it".to_owned()),
            Self::Leases => Some("`release` ends a claim".to_owned()),
            Self::PinRung(_) => Some("pin it to `fetched` or to a higher rung".to_owned()),
            Self::TooManyPins(_) => Some("`comfyctl unpin` takes a pin back".to_owned()),
            Self::NoLog(version) => Some(format!("`comfyctl ui {version}` starts it")),
            Self::NoLock(version) => Some(format!("`comfyctl resolve {version}` pins it")),
            Self::Import(error) => error.hint(),
            Self::Resolve(error) => error.hint(),
            Self::Side(error) => error.hint(),
            Self::Plan(error) => error.hint(),
            Self::Realize(JobError::Failed(error)) => error.hint(),
            Self::Instance(error) => error.hint(),
            Self::Run(error) => error.hint(),
            _ => None,
        }
    }

    fn details(&self) -> Vec<String> {
        match self {
            Self::Instance(error) => error.details(),
            Self::Run(error) => error.details(),
            Self::Plan(error) => error.details(),
            Self::Realize(JobError::Failed(error)) => error.details(),
            _ => Vec::new(),
        }
    }

    /// Returns what is told beyond the message.
    pub fn data(&self) -> ErrorData {
        let diagnostics = match self {
            Self::Spec(SpecError::Invalid { diagnostics, .. }) => diagnostics.clone(),
            _ => Vec::new(),
        };
        let mut causes = Vec::new();
        let mut cause = self.source();
        while let Some(error) = cause {
            // A parser shows what it was given, and that may be long.
            causes.push(if matches!(self, Self::Params { .. }) {
                excerpt(&error.to_string())
            } else {
                error.to_string()
            });
            cause = error.source();
        }
        ErrorData { kind: self.kind(), causes, hint: self.hint(), diagnostics, details: self.details() }
    }
}

impl Failure for Error {
    fn kind(&self) -> ErrorKind {
        self.kind()
    }

    fn hint(&self) -> Option<String> {
        self.hint()
    }

    fn details(&self) -> Vec<String> {
        self.details()
    }
}
