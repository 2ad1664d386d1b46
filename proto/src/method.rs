//! The verbs: each type of parameters names its method and the type of its answer.

use crate::lock::Lock;
use crate::plan::Plan;
use crate::spec::{Diagnostic, Spec};
use crate::{NodeDir, VersionId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// A verb. Implemented by the type of its parameters.
pub trait Method: Serialize + DeserializeOwned {
    /// Name on the wire, and on the command line.
    const NAME: &'static str;
    /// The answer.
    type Answer: Serialize + DeserializeOwned;
}

macro_rules! method {
    ($params:ty, $name:literal, $answer:ty) => {
        impl Method for $params {
            const NAME: &'static str = $name;
            type Answer = $answer;
        }
    };
}

/// Which version, seen from where. Part of most parameters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// A version id, or the path of a spec that ends in `.json`.
    pub version: String,
    /// The client's working directory: relative spec paths and `./versions` are sought there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// The client's `COMFY_HOME`, which may hold `{version_id}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comfy_home: Option<String>,
}

/// First call on a connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// [`crate::PROTOCOL`] of the client.
    pub protocol: u32,
    /// [`crate::FEATURES`] of the client.
    pub features: Vec<String>,
    /// Name and version of the client program.
    pub client: String,
    /// Variables that are the daemon's to decide (`MODELS_DIR`, …), as set for the client: a
    /// difference is told. Values of tokens are never sent, only `""` for "set".
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
}
method!(Hello, "hello", HelloAnswer);

/// Answer to [`Hello`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HelloAnswer {
    /// [`crate::PROTOCOL`] of the daemon.
    pub protocol: u32,
    /// [`crate::FEATURES`] of the daemon.
    pub features: Vec<String>,
    /// The daemon's version.
    pub version: String,
    /// The daemon's process id.
    pub pid: u32,
    /// Where the client's environment differs from the daemon's.
    pub warnings: Vec<String>,
}

/// Pins a version: writes its lock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Resolve {
    /// Which version.
    #[serde(flatten)]
    pub target: Target,
    /// Pin everything anew instead of keeping what did not change in the spec.
    #[serde(default)]
    pub update: bool,
}
method!(Resolve, "resolve", ResolveAnswer);

/// Answer to [`Resolve`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResolveAnswer {
    /// The lock.
    pub lock: Lock,
    /// Where it was written.
    pub path: String,
    /// What differs from the lock that stood there before, a line each; empty when nothing does.
    pub changes: Vec<String>,
    /// Warnings of the spec and of the resolution.
    pub warnings: Vec<String>,
}

/// Tells what `realize` would do: `realize --dry-run`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GetPlan {
    /// Which version.
    #[serde(flatten)]
    pub target: Target,
    /// As in [`Realize`].
    #[serde(default)]
    pub offline: bool,
    /// As in [`Realize`].
    #[serde(default)]
    pub update: bool,
}
method!(GetPlan, "plan", Plan);

/// Makes a version's home complete.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Realize {
    /// Which version.
    #[serde(flatten)]
    pub target: Target,
    /// Use only what is cached.
    #[serde(default)]
    pub offline: bool,
    /// Pin everything anew first.
    #[serde(default)]
    pub update: bool,
    /// Answer at once and go on when the client leaves.
    #[serde(default)]
    pub detach: bool,
}
method!(Realize, "realize", RealizeAnswer);

/// Answer to [`Realize`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RealizeAnswer {
    /// The version.
    pub version_id: VersionId,
    /// How it ended.
    pub outcome: RealizeOutcome,
    /// The version's home.
    pub home: String,
    /// The generation that is current.
    pub generation: String,
    /// What offline mode could not find.
    pub missing: Vec<String>,
    /// Warnings of the spec, the resolution and the plan.
    pub warnings: Vec<String>,
    /// Time it took, in milliseconds.
    pub elapsed_ms: u64,
}

/// How a realize ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RealizeOutcome {
    /// It was ready before: nothing was touched.
    Ready,
    /// A new generation is current.
    Realized,
    /// The current generation was completed in place (a model or a link was missing).
    Repaired,
    /// It goes on in the background (`detach`).
    Detached,
}

/// Starts ComfyUI for a person and leaves it running.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ui {
    /// Which version.
    #[serde(flatten)]
    pub target: Target,
    /// Port; a free one when absent.
    #[serde(default)]
    pub port: Option<u16>,
    /// Address to listen on; loopback when absent.
    #[serde(default)]
    pub listen: Option<String>,
    /// As in [`Realize`].
    #[serde(default)]
    pub offline: bool,
}
method!(Ui, "ui", UiAnswer);

/// Answer to [`Ui`], once ComfyUI answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UiAnswer {
    /// The running process.
    pub instance: InstanceInfo,
    /// Whether it ran before this call.
    pub already_running: bool,
}

/// Proves that a version works.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Test {
    /// Which version.
    #[serde(flatten)]
    pub target: Target,
    /// As in [`Realize`].
    #[serde(default)]
    pub offline: bool,
}
method!(Test, "test", TestAnswer);

/// Answer to [`Test`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TestAnswer {
    /// The version.
    pub version_id: VersionId,
    /// Whether every check passed.
    pub passed: bool,
    /// The checks, in the order they were made.
    pub checks: Vec<Check>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// What was looked at, such as `custom node ComfyUI-KJNodes`.
    pub name: String,
    /// How it went.
    pub outcome: CheckOutcome,
    /// Why, or a figure; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckOutcome {
    /// As it should be.
    Passed,
    /// Not as it should be.
    Failed,
    /// Could not be looked at, and need not be.
    Skipped,
}

/// Runs a workflow.
#[derive(Debug, Serialize, Deserialize)]
pub struct Run {
    /// Which version.
    #[serde(flatten)]
    pub target: Target,
    /// The workflow in API format.
    pub workflow: Box<RawValue>,
    /// Files to upload first.
    #[serde(default)]
    pub inputs: Vec<RunInput>,
    /// Directory that receives the outputs; they stay in the version's `output` when absent.
    #[serde(default)]
    pub output_dir: Option<String>,
    /// Seconds the workflow may take once ComfyUI is ready; no limit when absent.
    #[serde(default)]
    pub timeout_s: Option<u64>,
    /// As in [`Realize`].
    #[serde(default)]
    pub offline: bool,
}
method!(Run, "run", RunAnswer);

/// A file for a workflow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunInput {
    /// The name that the workflow uses.
    pub name: String,
    /// The file, by absolute path.
    pub path: String,
}

/// Answer to [`Run`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunAnswer {
    /// The version.
    pub version_id: VersionId,
    /// ComfyUI's id of the prompt.
    pub prompt_id: String,
    /// Everything the workflow put out, by node.
    pub outputs: Vec<Output>,
    /// Whether ComfyUI had to be started for it.
    pub cold: bool,
    /// Milliseconds until ComfyUI was ready.
    pub start_ms: u64,
    /// Milliseconds from posting the workflow to its end.
    pub execute_ms: u64,
    /// Warnings, such as outputs that ComfyUI skipped.
    pub warnings: Vec<String>,
}

/// One output of a workflow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// The node's id in the workflow.
    pub node: String,
    /// The key it came under: `images`, `gifs`, `audio`, `text`, …
    pub kind: String,
    /// The file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<OutputFile>,
    /// The value, for outputs that are no file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<serde_json::Value>,
}

/// A file that a workflow made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutputFile {
    /// Where it lies now.
    pub path: String,
    /// Its name as ComfyUI gave it.
    pub filename: String,
    /// Its folder under the output directory; may be empty.
    pub subfolder: String,
    /// `output`, `temp` or `input`.
    #[serde(rename = "type")]
    pub place: String,
    /// Media type, by its name.
    pub mime: String,
    /// Size.
    pub bytes: u64,
}

/// Tells what the daemon is doing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {}
method!(Status, "status", StatusAnswer);

/// Answer to [`Status`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusAnswer {
    /// The daemon's version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime_s: u64,
    /// Its socket.
    pub socket: String,
    /// The places it uses, by name.
    pub places: BTreeMap<String, String>,
    /// Realizes under way.
    pub jobs: Vec<JobInfo>,
    /// ComfyUI processes.
    pub instances: Vec<InstanceInfo>,
}

/// A realize under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobInfo {
    /// The version.
    pub version_id: VersionId,
    /// Its home.
    pub home: String,
    /// What it does.
    pub phase: String,
    /// Number of clients that wait for it.
    pub waiting: usize,
}

/// A ComfyUI process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceInfo {
    /// The version.
    pub version_id: VersionId,
    /// Its home.
    pub home: String,
    /// The generation it runs.
    pub generation: String,
    /// How it stands.
    pub state: InstanceState,
    /// Base URL of its API.
    pub url: String,
    /// Its log file.
    pub log: String,
}

/// How a ComfyUI process stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum InstanceState {
    /// Loading.
    Starting {
        /// Process id.
        pid: u32,
        /// Milliseconds since its start.
        for_ms: u64,
    },
    /// Answering.
    Ready {
        /// Process id.
        pid: u32,
        /// Milliseconds it took to become ready.
        start_ms: u64,
    },
    /// Asked to end.
    Stopping {
        /// Process id.
        pid: u32,
    },
    /// Ended after it was asked to.
    Exited,
    /// Ended by itself.
    Failed {
        /// Why, with its exit status.
        reason: String,
    },
}

/// Lists the versions there are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct List {
    /// The client's working directory, for `./versions`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// The client's `COMFY_HOME`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comfy_home: Option<String>,
}
method!(List, "list", ListAnswer);

/// Answer to [`List`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ListAnswer {
    /// The directories that were searched.
    pub searched: Vec<String>,
    /// What was found, by id.
    pub versions: Vec<ListedVersion>,
}

/// A version in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ListedVersion {
    /// The id: the file's name.
    pub version_id: VersionId,
    /// The spec file.
    pub path: String,
    /// How far it is.
    pub state: VersionState,
    /// Number of errors in the spec.
    pub errors: usize,
}

/// How far a version is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VersionState {
    /// The spec has errors.
    Invalid,
    /// No lock, or the spec changed since.
    Unresolved,
    /// Pinned.
    Resolved,
    /// Its home is complete.
    Realized,
    /// ComfyUI answers.
    Running,
}

/// Shows spec, lock and state side by side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Show {
    /// Which version.
    #[serde(flatten)]
    pub target: Target,
}
method!(Show, "show", ShowAnswer);

/// Answer to [`Show`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShowAnswer {
    /// The spec file.
    pub spec_path: String,
    /// The spec, with the values of `env` hidden.
    pub spec: Spec,
    /// Its warnings.
    pub diagnostics: Vec<Diagnostic>,
    /// The lock's place.
    pub lock_path: String,
    /// The lock, if there is one for this spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<Lock>,
    /// The version's home.
    pub home: String,
    /// The current generation, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<String>,
    /// How far it is.
    pub state: VersionState,
    /// What keeps it from being realized, a line each.
    pub lacks: Vec<String>,
    /// Custom nodes whose directory is linked.
    pub linked_nodes: Vec<NodeDir>,
    /// Its ComfyUI process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceInfo>,
}

/// Reads an instance's log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Logs {
    /// Which version.
    #[serde(flatten)]
    pub target: Target,
    /// Read on from this byte; the last `lines` lines when absent.
    #[serde(default)]
    pub from: Option<u64>,
    /// Number of lines from the end.
    #[serde(default)]
    pub lines: usize,
}
method!(Logs, "logs", LogsAnswer);

/// Answer to [`Logs`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogsAnswer {
    /// The log file.
    pub path: String,
    /// What was read; bytes that are no UTF-8 are replaced.
    pub text: String,
    /// Where to read on.
    pub next: u64,
    /// Whether more may come.
    pub running: bool,
}

/// Stops a version's ComfyUI.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stop {
    /// Which version.
    #[serde(flatten)]
    pub target: Target,
}
method!(Stop, "stop", StopAnswer);

/// Answer to [`Stop`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StopAnswer {
    /// Whether something ran.
    pub stopped: bool,
}

/// Stops the daemon, its realizes and its ComfyUI processes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shutdown {}
method!(Shutdown, "shutdown", ShutdownAnswer);

/// Answer to [`Shutdown`], given when the stop begins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShutdownAnswer {
    /// The daemon's process id, for those who want to await its end.
    pub pid: u32,
}
