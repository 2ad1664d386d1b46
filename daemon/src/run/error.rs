//! Why a workflow has no outputs.

use crate::comfy::{ComfyError, ExecutionError, NodeErrors};
use crate::source::bucket::BucketError;
use crate::source::link::LinkError;
use crate::store::commit::StoreError;
use crate::supervise::{Ended, SuperviseError};
use proto::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

/// A failure of the rooms above this one, as far as it is told.
pub trait Failure: std::error::Error + Send + Sync {
    /// Returns the kind of failure.
    fn kind(&self) -> ErrorKind;
    /// Returns a remedy.
    fn hint(&self) -> Option<String>;
    /// Returns more lines that explain it.
    fn details(&self) -> Vec<String>;
}

/// Why a workflow has no outputs.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There is no ComfyUI to run it on.
    #[error(transparent)]
    Start(Arc<dyn Failure>),
    /// The GPU did not become free for it.
    #[error(transparent)]
    Turn(SuperviseError),
    /// Too many workflows wait for this version.
    #[error("{0} workflows wait for this version already")]
    Busy(usize),
    /// The job's name is taken.
    #[error("job `{0}` is another workflow, or has other inputs")]
    Conflict(String),
    /// The workflow's link brought nothing.
    #[error("failed to fetch the workflow")]
    Link(#[source] LinkError),
    /// The workflow's file cannot be read.
    #[error("failed to read the workflow `{path}`")]
    File {
        /// Its path.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// It asks for what this ComfyUI does not have.
    #[error("the workflow does not fit this version: {}{}", .findings[0], more(.findings))]
    Unfit {
        /// What is missing; at least one line.
        findings: Vec<String>,
        /// A remedy.
        hint: String,
    },
    /// It was saved for ComfyUI's editor.
    #[error("the workflow is in the format of ComfyUI's editor, not in API format")]
    EditorFormat,
    /// It is no workflow.
    #[error("this is no workflow in API format: {0}")]
    NotAWorkflow(String),
    /// An input file cannot be used.
    #[error("input `{name}` cannot be used: {reason}")]
    Input {
        /// Its name in the workflow.
        name: String,
        /// The kind of failure.
        kind: ErrorKind,
        /// Why.
        reason: String,
    },
    /// ComfyUI refused the workflow or a request.
    #[error(transparent)]
    Comfy(#[from] ComfyError),
    /// A node raised an exception.
    #[error("node {} ({}) failed: {}: {}", .0.node_id, .0.node_type, .0.exception_type, .0.exception_message.trim())]
    Failed(ExecutionError),
    /// Someone interrupted it, in ComfyUI's own pages for instance.
    #[error("the workflow was interrupted in ComfyUI")]
    Interrupted,
    /// ComfyUI neither has it in its queue nor in its history.
    #[error("ComfyUI has lost the workflow")]
    Lost,
    /// The process ended.
    #[error("ComfyUI ended while the workflow ran: {reason}")]
    Died {
        /// How it ended.
        reason: String,
        /// Whether someone asked for it.
        asked: bool,
        /// The last lines of its log.
        tail: Vec<String>,
    },
    /// It took too long.
    #[error("the workflow did not end within {} s", .0.as_secs())]
    Timeout(Duration),
    /// The caller does not want it any more.
    #[error("the workflow was cancelled")]
    Cancelled,
    /// A file that the workflow should have made is not to be had.
    #[error("output `{file}` of node {node} cannot be used: {reason}")]
    Output {
        /// The node.
        node: String,
        /// The file.
        file: String,
        /// Why.
        reason: String,
    },
    /// ComfyUI took an output from its cache, and the file is gone.
    #[error("output `{file}` of node {node} is an earlier job's, and gone")]
    Stale {
        /// The node.
        node: String,
        /// The file.
        file: String,
    },
    /// An output is too large for an answer.
    #[error("output `{file}` is larger than {mib} MiB, which is too much for an answer")]
    TooLarge {
        /// The file.
        file: String,
        /// What an answer may hold.
        mib: u64,
    },
    /// An output could not be put where it was asked for.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// An output could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RunError {
    pub(super) fn died(ended: Ended) -> Self {
        Self::Died { reason: ended.reason, asked: ended.asked, tail: ended.tail }
    }

    /// Returns the kind of failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Start(failure) => failure.kind(),
            Self::Turn(error) => error.kind(),
            Self::Busy(_) => ErrorKind::Busy,
            Self::Conflict(_) => ErrorKind::Conflict,
            Self::Link(error) => error.kind(),
            Self::File { source, .. } if source.kind() == std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            Self::EditorFormat | Self::NotAWorkflow(_) | Self::Unfit { .. } => ErrorKind::Workflow,
            Self::File { .. } | Self::TooLarge { .. } => ErrorKind::Usage,
            Self::Input { kind, .. } => *kind,
            Self::Bucket(error) => error.kind(),
            Self::Comfy(error) => error.kind(),
            Self::Failed(_) | Self::Interrupted | Self::Output { .. } | Self::Stale { .. } => {
                ErrorKind::Execution
            }
            Self::Lost | Self::Died { .. } => ErrorKind::Instance,
            Self::Timeout(_) => ErrorKind::Timeout,
            Self::Cancelled => ErrorKind::Cancelled,
            Self::Store(_) => ErrorKind::Disk,
        }
    }

    /// Returns a remedy.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::EditorFormat => Some("in ComfyUI choose File → Export (API) and use that file".to_owned()),
            Self::NotAWorkflow(_) => Some(
                "a workflow maps node ids to `class_type` and `inputs`, as File → Export (API) writes it"
                    .to_owned(),
            ),
            Self::Start(failure) => failure.hint(),
            Self::Turn(error) => error.hint(),
            Self::Busy(_) => Some("ask again when some have ended, or raise COMFYD_MAX_QUEUE".to_owned()),
            Self::Conflict(_) => Some("give each job a name of its own".to_owned()),
            Self::TooLarge { .. } => Some("let it be put into a bucket, or take it from its path".to_owned()),
            Self::Unfit { hint, .. } => Some(hint.clone()),
            Self::Bucket(error) => error.hint(),
            Self::Comfy(error) => error.hint(),
            Self::Failed(error) if error.exception_type.contains("OutOfMemory") => {
                Some("make the image or the batch smaller, or choose smaller models".to_owned())
            }
            Self::Lost => {
                Some("it was restarted, or its queue was cleared; run the workflow again".to_owned())
            }
            Self::Timeout(_) => Some("allow more time with `--timeout`".to_owned()),
            _ => None,
        }
    }

    /// Returns more lines that explain it: what is wrong with each node, a traceback, a log's end.
    pub fn details(&self) -> Vec<String> {
        match self {
            Self::Start(failure) => failure.details(),
            Self::Unfit { findings, .. } => findings.clone(),
            Self::Comfy(ComfyError::Rejected(rejection)) => {
                rejection.nodes.iter().flat_map(NodeErrors::lines).collect()
            }
            Self::Failed(error) => {
                let lines = error.traceback.iter().flat_map(|frame| frame.lines());
                lines.map(|line| line.trim_end().to_owned()).collect()
            }
            Self::Died { tail, .. } => tail.clone(),
            _ => Vec::new(),
        }
    }
}

fn more(findings: &[String]) -> String {
    match findings.len() {
        0 | 1 => String::new(),
        count => format!(" (and {} more)", count - 1),
    }
}

/// A cancelled wait is a cancelled workflow.
impl From<SuperviseError> for RunError {
    fn from(error: SuperviseError) -> Self {
        if error.kind() == ErrorKind::Cancelled { Self::Cancelled } else { Self::Turn(error) }
    }
}
