//! The spec as people write it, for its JSON Schema and for programs that write specs.
//!
//! [`super::parse()`] does not read through these types, because serde stops at the first error and
//! knows no places. A test keeps the fields of both the same.

use super::Conflicts;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One version of a ComfyUI setup: the file `versions/<id>.json`. The file's name is the version's id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "comfyd version")]
pub struct SpecFile {
    /// The JSON Schema of this file, for editors. Ignored.
    #[serde(rename = "$schema", default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// The format of this file: always 2.
    #[schemars(extend("const" = 2))]
    pub schema_version: u64,
    /// ComfyUI itself.
    pub comfy: ComfyEntry,
    /// Custom nodes, each with a directory of its own under `custom_nodes`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub custom_nodes: Vec<NodeEntry>,
    /// Models, each with a place of its own under the models directory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<ModelEntry>,
    /// Additional Python packages, one pip requirement each: `numpy<2`, `name @ git+https://…`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub python_packages: Vec<String>,
    /// Environment variables of the ComfyUI process. `COMFY_PYTHON` names the interpreter, such as
    /// `python3.11`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, EnvValue>,
    /// Switches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<OptionsEntry>,
    /// The version's id. The file's name says it, and wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("deprecated" = true))]
    pub version_id: Option<String>,
    /// Another name of `version_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("deprecated" = true))]
    pub id: Option<String>,
}

/// ComfyUI's repository and what to take from it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ComfyEntry {
    /// URL of the repository: https, http, ssh, git, file, `git@host:path`, or an absolute path. No
    /// user names, passwords or tokens.
    pub repo: String,
    /// Branch or tag; the repository's default branch when absent. The lock pins its commit.
    #[serde(rename = "ref", default, skip_serializing_if = "Option::is_none")]
    pub git_ref: Option<String>,
    /// Exact commit, all 40 hex digits; wins over `ref`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

/// A custom node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeEntry {
    /// URL of the repository: https, http, ssh, git, file, `git@host:path`, or an absolute path. No
    /// user names, passwords or tokens.
    pub repo: String,
    /// Branch or tag; the repository's default branch when absent. The lock pins its commit.
    #[serde(rename = "ref", default, skip_serializing_if = "Option::is_none")]
    pub git_ref: Option<String>,
    /// Exact commit, all 40 hex digits; wins over `ref`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Directory under `custom_nodes`; the last part of the URL when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Whether its requirements are installed and its `install.py` is run; yes when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub install_requirements: Option<bool>,
    /// Another name of `path`: a directory's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("deprecated" = true))]
    pub name: Option<String>,
    /// Another name of `path`, which may start with `$COMFY_HOME/ComfyUI/custom_nodes/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("deprecated" = true))]
    pub target_dir: Option<String>,
}

/// A model file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelEntry {
    /// Link of one file: `https://…`, `hf://owner/repo[@revision]/path`, `civitai://models/<version id>`,
    /// `urn:air:…`, `s3://bucket/key`, `gs://bucket/key`, `file:///…`, or an absolute path.
    pub source: String,
    /// Folder under the models directory, such as `checkpoints` or `loras/wan`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_subdir: Option<String>,
    /// The file's name; the one in the link when absent. Civitai links have none. Beside `target_path`
    /// a label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// SHA-256 of the file, `sha256:<64 hex digits>`. Recorded, never verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
    /// Folder and name in one, such as `loras/x.safetensors`; may start with `$MODELS_DIR/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("deprecated" = true))]
    pub target_path: Option<String>,
    /// Another name of `target_path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("deprecated" = true))]
    pub path: Option<String>,
}

/// Value of an environment variable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum EnvValue {
    /// The value.
    Text(String),
    /// Taken as text, with a warning.
    Number(serde_json::Number),
    /// Taken as text, with a warning.
    Boolean(bool),
}

/// Switches of a version.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OptionsEntry {
    /// Use only what is cached; what is missing is listed, not fetched. No when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offline: Option<bool>,
    /// Leave the models alone. No when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip_models: Option<bool>,
    /// Run no custom node's `install.py`. No when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_install_scripts: Option<bool>,
    /// As of when packages are resolved; `auto` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclude_newer: Option<ExcludeNewerEntry>,
    /// What to do when requirements contradict each other: `error` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conflicts: Option<Conflicts>,
    /// Additional arguments of ComfyUI's `main.py`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra_args: Option<Vec<String>>,
}

/// As of when packages are resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ExcludeNewerEntry {
    /// `auto`: the newest commit of the version plus a few days. `off`: today's packages. A date such as
    /// `2025-11-30` (all of that day, UTC) or a moment such as `2025-11-30T12:00:00Z`.
    Text(String),
    /// `false` is `off`, `true` is `auto`.
    Switch(bool),
}

/// Returns the JSON Schema of a spec, pretty-printed, with a newline at its end: the text of
/// `versions/spec.schema.json`.
pub fn json_schema() -> String {
    format!("{:#}\n", schemars::schema_for!(SpecFile).to_value())
}

#[cfg(test)]
mod tests {
    use super::super::{models, nodes, options, parse};
    use serde_json::Value;
    use std::collections::BTreeSet;

    /// What `parse` knows and what the schema shows are written in two places.
    #[test]
    fn the_parser_and_the_schema_know_the_same_fields() {
        let schema: Value = serde_json::from_str(&super::json_schema()).unwrap();
        let table = [
            ("", parse::FIELDS),
            ("/$defs/ComfyEntry", parse::COMFY_FIELDS),
            ("/$defs/NodeEntry", nodes::FIELDS),
            ("/$defs/ModelEntry", models::FIELDS),
            ("/$defs/OptionsEntry", options::FIELDS),
        ];
        for (pointer, known) in table {
            let object = schema.pointer(pointer).unwrap();
            let properties = object["properties"].as_object().unwrap();
            let shown: BTreeSet<&str> = properties.keys().map(String::as_str).collect();
            assert_eq!(shown, known.iter().copied().collect(), "{pointer}");
            assert_eq!(object["additionalProperties"], false, "{pointer}");
            for (name, property) in properties {
                assert!(property["description"].is_string(), "{pointer} {name} has no description");
            }
        }
    }
}
