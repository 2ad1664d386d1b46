//! Why there is no ComfyUI to work with.

use super::policy;
use crate::comfy::ComfyError;
use crate::process::ProcessError;
use crate::store::commit::StoreError;
use proto::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

/// Why there is no ComfyUI to work with. Clones go to all who waited for one start.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SuperviseError {
    /// It ended before it answered.
    #[error("ComfyUI of `{version}` died while it started: {status}")]
    Died {
        /// The version.
        version: String,
        /// How it ended: exit status or signal.
        status: String,
        /// The last lines of its log.
        tail: Vec<String>,
    },
    /// It lives and does not answer.
    #[error("ComfyUI of `{version}` did not answer within {} min", after.as_secs() / 60)]
    NeverReady {
        /// The version.
        version: String,
        /// How long it was waited for.
        after: Duration,
        /// The last lines of its log.
        tail: Vec<String>,
    },
    /// It has died so often lately that it is not started again for a while.
    #[error("ComfyUI of `{version}` keeps dying: {deaths} times within the last {} min, at last: {status}", policy::WINDOW.as_secs() / 60)]
    KeepsDying {
        /// The version.
        version: String,
        /// How often.
        deaths: usize,
        /// How it ended the last time.
        status: String,
        /// How long until it may be started again.
        wait: Duration,
        /// The last lines of its log.
        tail: Vec<String>,
    },
    /// Someone stopped it, or asked for another generation, while it started.
    #[error("ComfyUI of `{0}` was stopped while it started")]
    Stopped(String),
    /// Others need all there is.
    #[error(
        "there was no room for ComfyUI of `{version}` within {} s: {} in use",
        after.as_secs(),
        are(holders)
    )]
    NoRoom {
        /// The version.
        version: String,
        /// The versions that have the room.
        holders: Vec<String>,
        /// How long it was waited for.
        after: Duration,
    },
    /// It runs, but not where it was asked for.
    #[error("ComfyUI of `{version}` runs already, at {address}")]
    ElsewhereAlready {
        /// The version.
        version: String,
        /// Where it listens.
        address: String,
    },
    /// The address that was asked for is taken.
    #[error("`{address}` is in use by another program")]
    AddressTaken {
        /// The address.
        address: String,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on `{address}`")]
    Address {
        /// The address.
        address: String,
        /// Why.
        source: Arc<std::io::Error>,
    },
    /// A directory or file of the version or its log.
    #[error(transparent)]
    Store(#[from] Arc<StoreError>),
    /// Python could not be started.
    #[error(transparent)]
    Process(#[from] Arc<ProcessError>),
    /// No client for the address.
    #[error(transparent)]
    Comfy(#[from] Arc<ComfyError>),
    /// The caller does not want it any more.
    #[error("the start of ComfyUI of `{0}` was cancelled")]
    Cancelled(String),
    /// The daemon ends.
    #[error("the daemon is shutting down")]
    ShuttingDown,
}

impl SuperviseError {
    /// Returns the kind of failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Died { .. } | Self::NeverReady { .. } | Self::KeepsDying { .. } => ErrorKind::Instance,
            Self::ElsewhereAlready { .. } | Self::AddressTaken { .. } => ErrorKind::Conflict,
            Self::NoRoom { .. } => ErrorKind::Busy,
            Self::Address { .. } => ErrorKind::Usage,
            Self::Store(_) => ErrorKind::Disk,
            Self::Process(_) => ErrorKind::Toolchain,
            Self::Comfy(error) => error.kind(),
            Self::Cancelled(_) | Self::Stopped(_) | Self::ShuttingDown => ErrorKind::Cancelled,
        }
    }

    /// Returns a remedy.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Died { version, status, tail } => Some(remedy(version, status, tail)),
            Self::NeverReady { version, .. } => Some(format!("`comfyctl logs {version}` shows what it does")),
            Self::KeepsDying { version, wait, .. } => Some(format!(
                "`comfyctl logs {version}` shows why; `comfyctl stop {version}` lets it be started at once, and \
                 so does a change of its spec; else it may be started again in {} min",
                wait.as_secs().div_ceil(60)
            )),
            Self::NoRoom { .. } => Some(
                "`comfyctl status` shows who works with what; `comfyctl stop <id>` ends one, and \
                 COMFYD_MAX_INSTANCES bounds them"
                    .to_owned(),
            ),
            Self::ElsewhereAlready { version, .. } => Some(format!("`comfyctl stop {version}` first")),
            Self::AddressTaken { .. } => Some("choose another port, or none to get a free one".to_owned()),
            Self::Process(_) => Some("`comfyctl realize` repairs the version's environment".to_owned()),
            _ => None,
        }
    }

    /// Returns more lines that explain it: the end of ComfyUI's log.
    pub fn details(&self) -> Vec<String> {
        match self {
            Self::Died { tail, .. } | Self::NeverReady { tail, .. } | Self::KeepsDying { tail, .. } => {
                tail.clone()
            }
            _ => Vec::new(),
        }
    }
}

fn are(holders: &[String]) -> String {
    match holders {
        [] => "another start is".to_owned(),
        [one] => format!("`{one}` is"),
        many => format!("`{}` are", many.join("`, `")),
    }
}

fn remedy(version: &str, status: &str, tail: &[String]) -> String {
    // Only the last line: earlier ones tell of custom nodes that ComfyUI does without.
    let last_says = |text: &str| tail.last().is_some_and(|line| line.contains(text));
    if last_says("ModuleNotFoundError") {
        return "add the missing package to the spec's `python_packages`, then realize again".to_owned();
    }
    if last_says("unrecognized arguments") {
        return "this ComfyUI does not know one of the arguments that the spec gives it".to_owned();
    }
    if status.contains("SIGKILL") {
        return "most likely the machine ran out of memory, and the kernel killed it".to_owned();
    }
    format!("`comfyctl logs {version}` shows the whole log")
}
