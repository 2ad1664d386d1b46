//! `new`: a spec from what people have.

use super::Method;
use super::target::Target;
use crate::VersionId;
use crate::spec::Spec;
use serde::{Deserialize, Serialize};

/// Makes a spec from what people have, and writes it among the daemon's specs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct New {
    /// Which version: an id, never a path.
    #[serde(flatten)]
    pub target: Target,
    /// What it is made from; ComfyUI's newest release alone when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Origin>,
    /// Ask no host: what only hosts know stays unknown.
    #[serde(default)]
    pub offline: bool,
    /// Replace the spec that stands there.
    #[serde(default)]
    pub force: bool,
    /// Only answer with the spec: whoever asks writes it, or only wants to see it.
    #[serde(default)]
    pub no_write: bool,
}
method!(New, "new", NewAnswer);

/// What a spec is made from. Files come with their content, because the daemon may be another user's: it reads
/// nothing for a caller that the caller could not read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "content")]
pub enum Origin {
    /// The text of a snapshot: of ComfyUI-Manager (JSON or YAML), of ComfyUI Desktop, or of comfy-pack.
    Snapshot(String),
    /// The text of a workflow, as ComfyUI saves it or in API format.
    Workflow(String),
    /// A picture that ComfyUI made, as [`without_pixels`](crate::picture::without_pixels) leaves it: each byte a
    /// character, U+0000 to U+00FF. What is left is mostly ASCII, and takes less room so than in base64.
    Picture(String),
    /// The directory of an installed ComfyUI, by absolute path. Only for the daemon's own user and for root.
    Comfyui(String),
}

/// Answer to [`New`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewAnswer {
    /// The version.
    pub version_id: VersionId,
    /// Where the spec was written; none where it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The spec file's text.
    pub text: String,
    /// What it says.
    pub spec: Spec,
    /// What is not in it, because nobody here knows enough of it.
    pub unknown: Vec<Unknown>,
    /// What is in it and was guessed, or is less exact than what it was made from; a line each.
    pub warnings: Vec<String>,
}

/// Something that the origin names, and the spec does not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Unknown {
    /// What it is.
    pub kind: UnknownKind,
    /// Its name in the origin.
    pub name: String,
    /// Why it is not in the spec, as a short sentence.
    pub reason: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// What an [`Unknown`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownKind {
    /// ComfyUI itself.
    Comfyui,
    /// A pack of custom nodes.
    CustomNode,
    /// A class of nodes, whose pack is not known.
    NodeClass,
    /// A model.
    Model,
    /// A Python package.
    Package,
}
