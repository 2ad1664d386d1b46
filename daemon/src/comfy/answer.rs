//! What ComfyUI answers, as far as comfyd looks at it. Pure: text and JSON in, values out.
//!
//! Shapes as of ComfyUI 0.3.75, `execution.py` and `server.py`.

use super::Position;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

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

/// What became of a prompt.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct History {
    /// By node, then by key.
    #[serde(default)]
    pub outputs: BTreeMap<String, Map<String, Value>>,
    #[serde(default)]
    status: Option<Status>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Status {
    #[serde(default)]
    completed: bool,
    #[serde(default)]
    messages: Vec<(String, Value)>,
}

/// How a prompt ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// All its outputs were made.
    Succeeded,
    /// A node raised an exception, or ComfyUI does not say what happened.
    Failed(ExecutionError),
    /// Someone interrupted it.
    Interrupted,
}

/// The exception that ended a prompt.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct ExecutionError {
    /// The node's id.
    pub node_id: String,
    /// Its class.
    pub node_type: String,
    /// What Python calls the exception.
    pub exception_type: String,
    /// What the exception says.
    pub exception_message: String,
    /// Where it was raised, outermost first.
    pub traceback: Vec<String>,
}

impl History {
    /// Tells how the prompt ended. The messages are looked at first: ComfyUI does not reset
    /// `completed` when a prompt fails before its first node.
    pub fn verdict(&self) -> Verdict {
        let messages = self.status.iter().flat_map(|status| &status.messages);
        for (name, data) in messages {
            match name.as_str() {
                "execution_success" => return Verdict::Succeeded,
                "execution_interrupted" => return Verdict::Interrupted,
                "execution_error" => {
                    return Verdict::Failed(ExecutionError::deserialize(data).unwrap_or_default());
                }
                _ => {}
            }
        }
        // Before August 2024 ComfyUI had no `execution_success`.
        if self.status.as_ref().is_some_and(|status| status.completed) {
            return Verdict::Succeeded;
        }
        let exception_message = "ComfyUI ended the workflow and did not say how".to_owned();
        Verdict::Failed(ExecutionError { exception_message, ..ExecutionError::default() })
    }
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

impl Class {
    /// Returns the values that an input accepts; empty when it takes no value from a list.
    pub fn choices(&self, input: &str) -> Vec<String> {
        let config = self.input.values().find_map(|group| group.get(input));
        let kind = config.and_then(|config| config.get(0));
        // Nodes of the third generation say `["COMBO", {"options": [...]}]`.
        let list = match kind {
            Some(Value::String(_)) => config.and_then(|config| config.get(1)?.get("options")),
            kind => kind,
        };
        list.and_then(Value::as_array).map(|list| list.iter().map(plain).collect()).unwrap_or_default()
    }
}

/// `GET /queue`: items are `[number, prompt id, prompt, …]`.
#[derive(Deserialize)]
pub(super) struct Queue {
    queue_running: Vec<Vec<Value>>,
    queue_pending: Vec<Vec<Value>>,
}

impl Queue {
    pub(super) fn position(&self, prompt_id: &str) -> Position {
        let is_it = |item: &&Vec<Value>| item.get(1).and_then(Value::as_str) == Some(prompt_id);
        if self.queue_running.iter().any(|item| is_it(&item)) {
            return Position::Running;
        }
        let Some(ours) = self.queue_pending.iter().find(is_it) else { return Position::Absent };
        let number = |item: &[Value]| item.first().and_then(Value::as_f64).unwrap_or(f64::MAX);
        // The list is a heap, not sorted.
        let before = self.queue_pending.iter().filter(|item| number(item) < number(ours)).count();
        Position::Waiting(self.queue_running.len() + before)
    }
}

/// Returns a value as a person would write it.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
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

    fn history(status: Value) -> History {
        serde_json::from_value(json!({"outputs": {}, "status": status})).unwrap()
    }

    #[test]
    fn the_messages_decide_how_a_prompt_ended() {
        let ended = |name: &str, completed: bool| {
            let data = json!({"node_id": "3", "node_type": "KSampler", "exception_type": "ValueError",
                "exception_message": "no", "traceback": ["a"], "executed": []});
            history(json!({"status_str": "error", "completed": completed, "messages": [
                ["execution_start", {}], [name, data]]}))
            .verdict()
        };
        assert_eq!(ended("execution_success", false), Verdict::Succeeded);
        assert_eq!(ended("execution_interrupted", true), Verdict::Interrupted);
        let Verdict::Failed(error) = ended("execution_error", true) else { panic!("a failure") };
        assert_eq!((error.node_id.as_str(), error.exception_message.as_str()), ("3", "no"));
        assert_eq!(ended("something_new", true), Verdict::Succeeded);
        assert!(matches!(ended("something_new", false), Verdict::Failed(_)));
        assert!(matches!(history(Value::Null).verdict(), Verdict::Failed(_)));
    }

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

    #[test]
    fn choices_are_read_in_both_generations() {
        let class: Class = serde_json::from_value(json!({"output_node": true, "input": {
            "required": {"a": [["x", 1], {}], "n": ["INT", {"min": 0}]},
            "optional": {"b": ["COMBO", {"options": ["y"]}]}}}))
        .unwrap();
        assert_eq!(class.choices("a"), ["x", "1"]);
        assert_eq!(class.choices("b"), ["y"]);
        assert!(class.choices("n").is_empty() && class.choices("none").is_empty());
    }

    #[test]
    fn a_queue_is_a_heap() {
        let queue: Queue = serde_json::from_value(json!({
            "queue_running": [[1, "r", {}, {}, []]],
            "queue_pending": [[2, "a", {}, {}, []], [9, "c", {}, {}, []], [3, "b", {}, {}, []]]}))
        .unwrap();
        let position = |id| queue.position(id);
        assert_eq!(position("r"), Position::Running);
        assert_eq!(
            (position("a"), position("b"), position("c")),
            (Position::Waiting(1), Position::Waiting(2), Position::Waiting(3))
        );
        assert_eq!(position("x"), Position::Absent);
    }
}
