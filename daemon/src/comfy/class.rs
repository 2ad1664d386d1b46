//! What ComfyUI knows of a node class. Shapes as of ComfyUI 0.3.75, `server.py`.

use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// What ComfyUI knows of a node class.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub struct Class {
    /// Whether its nodes are outputs, which is what a prompt is executed for.
    #[serde(default)]
    pub output_node: bool,
    /// Where it comes from: `nodes`, `comfy_extras.<file>` or `custom_nodes.<dir>`.
    #[serde(default)]
    pub python_module: String,
    #[serde(default)]
    input: BTreeMap<String, Value>,
}

impl Class {
    /// Returns the values that an input accepts, or none when it takes no value from a list.
    pub fn list(&self, input: &str) -> Option<Vec<String>> {
        let config = self.input.values().find_map(|group| group.get(input));
        let kind = config.and_then(|config| config.get(0));
        // Nodes of the third generation say `["COMBO", {"options": [...]}]`.
        let list = match kind {
            Some(Value::String(_)) => config.and_then(|config| config.get(1)?.get("options")),
            kind => kind,
        };
        Some(list?.as_array()?.iter().map(plain).collect())
    }
}

/// Returns a value as a person would write it.
pub(super) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn choices_are_read_in_both_generations() {
        let class: Class = serde_json::from_value(json!({"output_node": true, "input": {
            "required": {"a": [["x", 1], {}], "n": ["INT", {"min": 0}]},
            "optional": {"b": ["COMBO", {"options": ["y"]}]}}}))
        .unwrap();
        let list = |input| class.list(input).unwrap_or_default().join(",");
        assert_eq!((list("a").as_str(), list("b").as_str()), ("x,1", "y"));
        assert!(class.list("n").is_none() && class.list("none").is_none());
    }
}
