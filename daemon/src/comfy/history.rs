//! Where a prompt stands and how it ended. Shapes as of ComfyUI 0.3.75, `execution.py`.

use super::Position;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

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
    /// Tells whether a node was not run: its result, or that of all that it puts out, was known.
    pub fn was_cached(&self, node: &str) -> bool {
        let messages = self.status.iter().flat_map(|status| &status.messages);
        messages.filter(|(name, _)| name == "execution_cached").any(|(_, data)| {
            let nodes = data.get("nodes").and_then(Value::as_array);
            nodes.is_some_and(|nodes| nodes.iter().any(|cached| cached == node))
        })
    }

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

/// `GET /queue`: items are `[number, prompt id, prompt, …]`.
#[derive(Deserialize)]
pub(super) struct Queue {
    queue_running: Vec<Vec<Value>>,
    queue_pending: Vec<Vec<Value>>,
}

/// `GET /prompt`.
#[derive(Deserialize)]
pub(super) struct Info {
    pub(super) exec_info: ExecInfo,
}

/// How much ComfyUI has to do.
#[derive(Deserialize)]
pub(super) struct ExecInfo {
    /// Prompts that wait or run.
    pub(super) queue_remaining: usize,
}

impl Queue {
    /// Returns how many prompts run and how many wait.
    pub(super) fn lengths(&self) -> (usize, usize) {
        (self.queue_running.len(), self.queue_pending.len())
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn history(status: &Value) -> History {
        serde_json::from_value(json!({"outputs": {}, "status": status})).unwrap()
    }

    #[test]
    fn the_messages_decide_how_a_prompt_ended() {
        let ended = |name: &str, completed: bool| {
            let data = json!({"node_id": "3", "node_type": "KSampler", "exception_type": "ValueError",
                "exception_message": "no", "traceback": ["a"], "executed": []});
            history(&json!({"status_str": "error", "completed": completed, "messages": [
                ["execution_start", {}], [name, data]]}))
            .verdict()
        };
        assert_eq!(ended("execution_success", false), Verdict::Succeeded);
        assert_eq!(ended("execution_interrupted", true), Verdict::Interrupted);
        let Verdict::Failed(error) = ended("execution_error", true) else { panic!("a failure") };
        assert_eq!((error.node_id.as_str(), error.exception_message.as_str()), ("3", "no"));
        assert_eq!(ended("something_new", true), Verdict::Succeeded);
        assert!(matches!(ended("something_new", false), Verdict::Failed(_)));
        assert!(matches!(history(&Value::Null).verdict(), Verdict::Failed(_)));
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
