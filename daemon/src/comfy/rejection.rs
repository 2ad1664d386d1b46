//! Why ComfyUI does not take a prompt, or a part of it. Shapes as of ComfyUI 0.3.75, `execution.py`.

use super::class::plain;
use serde::Deserialize;
use serde_json::Value;

/// How many of the allowed values an error shows.
const ALLOWED_SHOWN: usize = 5;

/// Answer to a queued prompt.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Accepted {
    /// The prompt's id.
    pub prompt_id: String,
    /// Nodes that ComfyUI leaves out, with the outputs that depend on them, because they are invalid.
    #[serde(default, deserialize_with = "node_errors")]
    pub node_errors: Vec<NodeErrors>,
}

/// Why ComfyUI does not take a prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Rejection {
    /// ComfyUI's word for the whole, such as `prompt_outputs_failed_validation`.
    pub reason: String,
    /// ComfyUI's sentence on the whole.
    pub summary: String,
    /// What it says of single nodes.
    pub nodes: Vec<NodeErrors>,
}

/// What is wrong with one node of a prompt.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct NodeErrors {
    /// The node's id.
    #[serde(skip)]
    pub node: String,
    /// Its class.
    #[serde(default)]
    pub class_type: String,
    /// The errors.
    #[serde(default)]
    pub errors: Vec<NodeError>,
}

/// One thing that is wrong with a node, in ComfyUI's words.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct NodeError {
    /// ComfyUI's word for it, such as `value_not_in_list`.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// A sentence.
    #[serde(default)]
    pub message: String,
    /// The input it is about, and more.
    #[serde(default)]
    pub details: String,
    /// `input_name`, `received_value`, `input_config`, where known.
    #[serde(default)]
    pub extra_info: Value,
}

impl Rejection {
    /// Reads the body of a 400. None if it has another shape.
    pub(super) fn parse(text: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Body {
            error: Value,
            #[serde(default, deserialize_with = "node_errors")]
            node_errors: Vec<NodeErrors>,
        }
        let body: Body = super::json::parse(text).ok()?;
        // Extensions answer with a plain sentence instead of an object.
        let Ok(error) = NodeError::deserialize(&body.error) else {
            let summary = body.error.as_str()?.to_owned();
            return Some(Self { reason: String::new(), summary, nodes: body.node_errors });
        };
        // With nodes, the details repeat what is said of each.
        let alone = body.node_errors.is_empty() && !error.details.is_empty();
        let summary = if alone { format!("{} {}", error.message, error.details) } else { error.message };
        Some(Self { reason: error.kind, summary, nodes: body.node_errors })
    }

    pub(super) fn hint(&self) -> Option<String> {
        let any =
            |kind: &str| self.nodes.iter().flat_map(|node| &node.errors).any(|error| error.kind == kind);
        if self.summary.contains("does not exist") {
            return Some("add the custom node that brings this class to the version's spec".to_owned());
        }
        if any("value_not_in_list") {
            return Some(
                "a model that is not in the list must be in the version's `models`, under this name"
                    .to_owned(),
            );
        }
        (self.reason == "prompt_no_outputs").then(|| "add an output node, such as SaveImage".to_owned())
    }
}

impl NodeErrors {
    /// Returns one line for each error.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let of = format!("node {} ({})", self.node, self.class_type);
        self.errors.iter().map(move |error| format!("{of}: {}", error.line()))
    }
}

impl NodeError {
    /// Returns the input it is about, where it is about one.
    pub fn input(&self) -> Option<&str> {
        self.extra_info.get("input_name")?.as_str()
    }

    /// Adds the values that would have been allowed. ComfyUI itself leaves out lists of more than 20.
    pub fn allow(&mut self, choices: &[String]) {
        if choices.is_empty() || self.kind != "value_not_in_list" {
            return;
        }
        let shown = choices.iter().take(ALLOWED_SHOWN).map(|choice| format!("`{choice}`"));
        let shown = shown.collect::<Vec<_>>().join(", ");
        let rest = if choices.len() > ALLOWED_SHOWN { ", …" } else { "" };
        let received = self.extra_info.get("received_value").map(plain).unwrap_or_default();
        let input = self.input().unwrap_or_default();
        self.details = format!("{input}: `{received}`; of {} allowed: {shown}{rest}", choices.len());
    }

    fn line(&self) -> String {
        if self.details.is_empty() {
            return self.message.clone();
        }
        format!("{}: {}", self.message, self.details)
    }
}

/// `{id: {errors, class_type}}`, or an empty list where some extension says "none" so.
fn node_errors<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<NodeErrors>, D::Error> {
    let Value::Object(by_id) = Value::deserialize(deserializer)? else { return Ok(Vec::new()) };
    let read = |(node, value): (String, Value)| {
        let errors = NodeErrors::deserialize(value).map_err(serde::de::Error::custom)?;
        Ok(NodeErrors { node, ..errors })
    };
    by_id.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_rejection_keeps_comfyui_s_words_and_adds_what_is_allowed() {
        let body = json!({
            "error": {"type": "prompt_outputs_failed_validation", "message": "Prompt outputs failed validation",
                "details": "…", "extra_info": {}},
            "node_errors": {"4": {"class_type": "CheckpointLoaderSimple", "dependent_outputs": ["9"], "errors": [{
                "type": "value_not_in_list", "message": "Value not in list",
                "details": "ckpt_name: 'a' not in (list of length 30)",
                "extra_info": {"input_name": "ckpt_name", "input_config": null, "received_value": "a"}}]}},
        });
        let mut rejection = Rejection::parse(&body.to_string()).unwrap();
        assert_eq!(rejection.summary, "Prompt outputs failed validation");
        let error = &mut rejection.nodes[0].errors[0];
        error.allow(&(0..30).map(|n| format!("m{n}")).collect::<Vec<_>>());
        assert_eq!(
            rejection.nodes[0].lines().collect::<Vec<_>>(),
            [
                "node 4 (CheckpointLoaderSimple): Value not in list: ckpt_name: `a`; of 30 allowed: `m0`, `m1`, \
              `m2`, `m3`, `m4`, …"
            ]
        );
        assert!(rejection.hint().unwrap().contains("models"));
    }

    #[test]
    fn a_rejection_of_the_whole_says_why() {
        let body = json!({"error": {"type": "invalid_prompt",
            "message": "Cannot execute because node Foo does not exist.", "details": "Node ID '#1'",
            "extra_info": {}}, "node_errors": []});
        let rejection = Rejection::parse(&body.to_string()).unwrap();
        assert_eq!(rejection.summary, "Cannot execute because node Foo does not exist. Node ID '#1'");
        assert!(Rejection::parse("<html>").is_none());
    }
}
