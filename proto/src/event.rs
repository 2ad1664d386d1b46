//! What the daemon says while a call is under way.
//!
//! Progress is level-triggered: each notification carries the whole present state, at a bounded
//! rate, so a late or slow listener misses nothing that still matters. Results never travel here.

use crate::rpc::RequestId;
use serde::{Deserialize, Serialize};

/// Method name of the progress notification.
pub const PROGRESS: &str = "progress";

/// Parameters of the progress notification.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProgressEvent {
    /// The call it belongs to.
    pub id: RequestId,
    /// The present state.
    #[serde(flatten)]
    pub state: ProgressState,
}

/// Everything that is going on for a call, at one moment.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ProgressState {
    /// What the work is about at present: `resolve`, `plan`, `execute`, `start`, `run`.
    pub phase: String,
    /// The pieces of work, in the order they began.
    pub tasks: Vec<TaskProgress>,
    /// Sentences for people, oldest first; the newest [`NOTES_KEPT`] are kept.
    pub notes: Vec<Note>,
    /// What it waits for that someone else has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits: Vec<Wait>,
}

/// Number of notes that a progress state holds at most.
pub const NOTES_KEPT: usize = 64;

/// A sentence for people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Note {
    /// Counts up from 1 within a call: a listener shows what is newer than the last it showed.
    pub seq: u64,
    /// Whether it is a warning.
    pub warning: bool,
    /// The sentence.
    pub text: String,
}

/// How far work is, in short: what `status` tells of it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Work {
    /// Number of its pieces that have ended.
    pub ended: usize,
    /// Number of its pieces that are known so far.
    pub known: usize,
    /// The pieces that are under way, or that say what they wait for, [`TASKS_TOLD`] at most.
    pub tasks: Vec<TaskProgress>,
}

/// Number of pieces of work that [`Work`] tells of one by one.
pub const TASKS_TOLD: usize = 32;

impl Work {
    /// Returns whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.known == 0
    }
}

impl From<&ProgressState> for Work {
    fn from(state: &ProgressState) -> Self {
        let has_ended = |task: &&TaskProgress| matches!(task.state, TaskState::Done | TaskState::Failed);
        let is_told = |task: &&TaskProgress| match task.state {
            TaskState::Running => true,
            TaskState::Waiting => !task.detail.is_empty(),
            TaskState::Done | TaskState::Failed => false,
        };
        Self {
            ended: state.tasks.iter().filter(has_ended).count(),
            known: state.tasks.len(),
            tasks: state.tasks.iter().filter(is_told).take(TASKS_TOLD).cloned().collect(),
        }
    }
}

/// A wait for what someone else has. Its times are told anew about once a second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// Unique within a daemon.
    pub id: u64,
    /// What is waited for, as people call it.
    pub for_what: String,
    /// Who has it: a process and its host, or a version; empty where nobody knows.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub holder: String,
    /// Milliseconds that it was waited.
    pub for_ms: u64,
    /// Milliseconds until it is given up.
    pub left_ms: u64,
}

/// One piece of work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskProgress {
    /// Unique within a call.
    pub id: u64,
    /// What it works on.
    pub kind: TaskKind,
    /// Its name: a repository, a model's target, a node of a workflow.
    pub label: String,
    /// How it stands.
    pub state: TaskState,
    /// Units done.
    pub done: u64,
    /// Units in all, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// What is counted.
    pub unit: Unit,
    /// A few words on what it does right now; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// What a piece of work is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskKind {
    /// A git repository.
    Repository,
    /// The Python environment.
    Packages,
    /// A model file.
    Model,
    /// A custom node's `install.py`.
    InstallScript,
    /// Assembling and proving a generation.
    Generation,
    /// A ComfyUI process.
    Instance,
    /// A workflow.
    Workflow,
}

/// How a piece of work stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// Waits for a slot or a lock.
    Waiting,
    /// Works.
    Running,
    /// Ended well.
    Done,
    /// Ended badly.
    Failed,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Git objects.
    Objects,
    /// Files.
    Files,
    /// Python packages.
    Packages,
    /// Steps of a sampler or nodes of a workflow.
    Steps,
    /// Nothing: it just runs.
    Nothing,
}
