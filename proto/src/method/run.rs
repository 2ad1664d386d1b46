//! `run`: a workflow and what it puts out.

use super::Method;
use super::target::Target;
use crate::VersionId;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

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
    /// As in [`Realize`](super::Realize).
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
