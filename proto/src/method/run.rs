//! `run`: a workflow and what it puts out.

use super::Method;
use super::secret::Secret;
use super::target::Target;
use super::warm::Warmth;
use crate::VersionId;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Runs a workflow.
#[derive(Debug, Serialize, Deserialize)]
pub struct Run {
    /// Which version.
    #[serde(flatten)]
    pub target: Target,
    /// The workflow in API format: an object, or as a text its absolute path or link.
    pub workflow: Box<RawValue>,
    /// Names the job. Whoever asks for the same version's job again gets the first one's result while it is
    /// known, or waits for it. One is made up when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_id: Option<String>,
    /// Files that the workflow reads.
    #[serde(default)]
    pub inputs: Vec<RunInput>,
    /// The user's key for nodes of ComfyUI that ask for paid services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comfy_org_api_key: Option<Secret>,
    /// Where files go besides; nowhere when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deliver: Option<Delivery>,
    /// Directory that receives the outputs; they stay in the version's `output` when absent.
    #[serde(default)]
    pub output_dir: Option<String>,
    /// Seconds the workflow may take once ComfyUI is ready; no limit when absent.
    #[serde(default)]
    pub timeout_s: Option<u64>,
    /// As in [`Realize`](super::Realize).
    #[serde(default)]
    pub offline: bool,
    /// As in [`Realize`](super::Realize).
    #[serde(default)]
    pub no_install_scripts: bool,
}
method!(Run, "run", RunAnswer);

/// A file for a workflow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunInput {
    /// The name that the workflow uses.
    pub name: String,
    /// Its content.
    #[serde(flatten)]
    pub source: InputSource,
}

/// Where the content of an input comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputSource {
    /// A file, by absolute path.
    Path(String),
    /// Base64, or a `data:` URI.
    Data(String),
    /// An `https` link.
    Url(String),
}

/// Where output files go besides the version's home; previews (`temp`) do not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Delivery {
    /// Into the answer.
    Base64,
    /// Into a bucket.
    Bucket(BucketTarget),
}

/// A bucket that receives files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketTarget {
    /// `s3://bucket/prefix` or `gs://bucket/prefix`; the prefix may be empty.
    pub url: String,
    /// A store that speaks S3's language; S3 itself, or the daemon's `AWS_ENDPOINT_URL`, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Where the bucket lies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// A key; the daemon's own credentials when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<String>,
    /// Its secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_access_key: Option<Secret>,
    /// How long the links in the answer are good for, in seconds.
    pub link_s: u64,
}

/// Answer to [`Run`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunAnswer {
    /// The version.
    pub version_id: VersionId,
    /// The job.
    #[serde(default)]
    pub job_id: String,
    /// ComfyUI's id of the prompt.
    pub prompt_id: String,
    /// Everything the workflow put out, by node.
    pub outputs: Vec<Output>,
    /// Whether ComfyUI had to be started for it.
    pub cold: bool,
    /// How ComfyUI became ready for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub how: Option<Warmth>,
    /// Milliseconds that it waited behind other workflows.
    #[serde(default)]
    pub queue_ms: u64,
    /// What went wrong before it succeeded, and what was done about it; a line each.
    #[serde(default)]
    pub recoveries: Vec<String>,
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
    /// Its content in base64, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// A link that is good for a while, where it was put into a bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}
