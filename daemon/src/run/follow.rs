//! Follows a prompt to its end and shows how far it is.

use super::{Graph, RunError};
use crate::comfy::{Comfy, Event, Events, History, Position};
use crate::ctx::{Ctx, Task};
use proto::event::{TaskKind, Unit};
use std::collections::BTreeSet;
use std::time::Duration;

/// Pause between looks at the history while the socket tells what happens.
const SLOW_LOOK: Duration = Duration::from_secs(1);

/// The same while there is no socket.
const FAST_LOOK: Duration = Duration::from_millis(250);

/// After how many fruitless looks the queue is asked for the prompt as well. Its answer holds the
/// whole of every waiting prompt.
const LOOKS_AT_QUEUE: u32 = 3;

/// A prompt on its way.
pub(super) struct Follow<'a> {
    comfy: &'a Comfy,
    graph: &'a Graph,
    prompt_id: &'a str,
    task: Task,
    socket: Option<Events>,
    begun: BTreeSet<String>,
}

impl<'a> Follow<'a> {
    /// Opens the socket, before the prompt is queued: what ComfyUI tells nobody is lost.
    pub(super) async fn new(ctx: &Ctx, comfy: &'a Comfy, graph: &'a Graph, prompt_id: &'a str) -> Self {
        let task = ctx.progress.task(TaskKind::Workflow, "workflow", Unit::Steps);
        let socket = comfy.events(prompt_id).await.ok();
        Self { comfy, graph, prompt_id, task, socket, begun: BTreeSet::new() }
    }

    /// Waits until the prompt has ended and returns its history. Adds to `warnings` what the history
    /// does not tell. Fails only when ComfyUI has lost the prompt: while the process lives, requests
    /// that fail are made again.
    pub(super) async fn until_ended(&mut self, warnings: &mut Vec<String>) -> Result<History, RunError> {
        let (mut fruitless, mut absent) = (0, false);
        loop {
            let pause = if self.socket.is_some() { SLOW_LOOK } else { FAST_LOOK };
            // Ends early when the socket says that there is something to look at, or is lost.
            tokio::time::timeout(pause, self.listen(warnings)).await.ok();
            if let Ok(Some(history)) = self.comfy.history(self.prompt_id).await {
                return Ok(history);
            }
            fruitless += 1;
            if fruitless % LOOKS_AT_QUEUE == 0 {
                // Twice in a row, with a look at the history between: it may just have ended.
                absent = match self.comfy.position(self.prompt_id).await {
                    Ok(Position::Absent) if absent => return Err(RunError::Lost),
                    Ok(Position::Absent) => true,
                    Ok(Position::Waiting(before)) => {
                        self.task.waiting(format!("behind {before} in ComfyUI's queue"));
                        false
                    }
                    Ok(Position::Running) | Err(_) => false,
                };
            }
            if self.socket.is_none() {
                self.socket = self.comfy.events(self.prompt_id).await.ok();
            }
        }
    }

    pub(super) fn done(self) {
        self.task.done("");
    }

    /// Shows what the socket tells until the prompt has ended or the socket is lost. Cancel-safe.
    async fn listen(&mut self, warnings: &mut Vec<String>) {
        let Some(socket) = &mut self.socket else { return std::future::pending().await };
        while let Some(event) = socket.next().await {
            let (Event::Cached { prompt_id, .. }
            | Event::Executing { prompt_id, .. }
            | Event::Progress { prompt_id, .. }
            | Event::Blocked { prompt_id, .. }) = &event;
            if prompt_id != self.prompt_id {
                continue;
            }
            match event {
                Event::Executing { node: None, .. } => return,
                Event::Executing { node: Some(node), .. } => {
                    self.task.detail(self.graph.class(&node));
                    self.begun.insert(node);
                    // The node that has just begun is not done.
                    self.task.set(self.begun.len() as u64 - 1, Some(self.graph.nodes().len() as u64));
                }
                Event::Cached { nodes, .. } => {
                    self.begun.extend(nodes);
                    self.task.set(self.begun.len() as u64, Some(self.graph.nodes().len() as u64));
                }
                Event::Progress { node, value, max, .. } => {
                    self.task.detail(format!("{} {value}/{max}", self.graph.class(&node)));
                }
                Event::Blocked { node, message, .. } => {
                    warnings.push(format!("node {node} ({}): {message}", self.graph.class(&node)));
                }
            }
        }
        self.socket = None;
    }
}
