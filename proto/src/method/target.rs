//! Which version a call is about.

use serde::{Deserialize, Serialize};

/// Which version, seen from where. Part of most parameters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
