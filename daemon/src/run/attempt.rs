//! One run of a workflow on one process: posted, followed to its end, taken back when it is not wanted
//! any more.
//!
//! What ComfyUI's history says is the truth, and it is asked for again and again; the socket only makes
//! progress visible and the end prompt. So a lost socket loses no job. A process that dies ends its jobs
//! at once, since the instance's state is watched beside.

use super::follow::Follow;
use super::{Graph, RunError, preflight};
use crate::comfy::{Accepted, Comfy, ComfyError, History, NodeErrors, Position, Verdict};
use crate::ctx::Ctx;
use crate::supervise::Ready;
use proto::method::Secret;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// How long after a request that was cut off the death of the process may take to be known.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// How long ComfyUI may take to let go of a prompt that is not wanted any more. It looks only between two
/// steps of a sampler.
const LETTING_GO: Duration = Duration::from_secs(60);

/// What is run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Prompt<'a> {
    /// The workflow.
    pub(super) graph: &'a Graph,
    /// ComfyUI's name for this run of it.
    pub(super) id: &'a str,
    /// Whether ComfyUI has it already: an earlier daemon posted it.
    pub(super) is_posted: bool,
    /// The user's key for paid services.
    pub(super) api_key: Option<&'a Secret>,
    /// When it is not wanted any more.
    pub(super) deadline: Option<(Instant, Duration)>,
}

/// What a prompt came to.
#[derive(Debug)]
pub(super) struct Executed {
    /// What ComfyUI remembers of it.
    pub(super) history: History,
    /// What people should know.
    pub(super) warnings: Vec<String>,
}

/// Runs a prompt. To give up, cancel `ctx`: dropping the future leaves it running in ComfyUI, as do
/// [`RunError::Cancelled`] and [`RunError::Timeout`]; see [`let_go`].
///
/// # Errors
/// See [`RunError`]. Outputs that ComfyUI leaves out while others succeed are warnings.
pub(super) async fn attempt(ctx: &Ctx, ready: &Ready, prompt: Prompt<'_>) -> Result<Executed, RunError> {
    let executed = tokio::select! {
        biased;
        executed = execute(ctx, ready, prompt) => executed,
        ended = ready.ended() => Err(RunError::died(ended)),
        error = unwanted(ctx, prompt.deadline) => Err(error),
    };
    match executed {
        // A request was cut off: most likely the process is just being found dead, which explains more.
        Err(RunError::Comfy(error @ ComfyError::Unreachable { .. })) => {
            let ended = timeout(LAST_WORDS, ready.ended()).await;
            Err(ended.map_or(error.into(), RunError::died))
        }
        executed => executed,
    }
}

/// Waits until a job is not wanted any more, and says why. Cancel-safe.
pub(super) async fn unwanted(ctx: &Ctx, deadline: Option<(Instant, Duration)>) -> RunError {
    let expiry = async {
        match deadline {
            Some((at, limit)) => {
                sleep_until(at).await;
                limit
            }
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = ctx.cancel.cancelled() => RunError::Cancelled,
        limit = expiry => RunError::Timeout(limit),
    }
}

/// Takes a prompt back, waiting or running, and ends the process if it does not let go of it.
pub(super) async fn let_go(ready: &Ready, prompt_id: &str) {
    tokio::select! {
        biased;
        _ = ready.ended() => {}
        withdrawn = timeout(LETTING_GO, withdraw(&ready.comfy, prompt_id)) => if withdrawn.is_err() {
            ready.condemn("it did not let go of a workflow that was not wanted any more").await;
        },
    }
}

/// Said again and again: ComfyUI forgets an interruption that comes just before a prompt's first node.
async fn withdraw(comfy: &Comfy, prompt_id: &str) {
    loop {
        // Errors are ComfyUI's trouble: the deadline of the caller ends this.
        comfy.delete_queued(prompt_id).await.ok();
        comfy.interrupt(prompt_id).await.ok();
        if matches!(comfy.position(prompt_id).await, Ok(Position::Absent)) {
            return;
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// Tells whether ComfyUI knows a prompt: it waits, runs, or has ended.
///
/// # Errors
/// ComfyUI cannot be asked.
pub(super) async fn is_known(comfy: &Comfy, prompt_id: &str) -> Result<bool, ComfyError> {
    // The history a second time: it may have ended between the first look and the queue's answer.
    Ok(comfy.history(prompt_id).await?.is_some()
        || comfy.position(prompt_id).await? != Position::Absent
        || comfy.history(prompt_id).await?.is_some())
}

async fn execute(ctx: &Ctx, ready: &Ready, prompt: Prompt<'_>) -> Result<Executed, RunError> {
    let comfy = &ready.comfy;
    let mut follow;
    let mut warnings = Vec::new();
    if prompt.is_posted {
        follow = Follow::new(ctx, comfy, prompt.graph, prompt.id).await;
    } else {
        let outputs = preflight::check(ready, prompt.graph).await?;
        follow = Follow::new(ctx, comfy, prompt.graph, prompt.id).await;
        let mut left_out = post(comfy, prompt, &outputs).await?.node_errors;
        explain(comfy, &mut left_out).await;
        let skipped = left_out.iter().flat_map(NodeErrors::lines);
        warnings.extend(skipped.map(|line| format!("skipped by ComfyUI: {line}")));
    }
    let history = follow.until_ended(&mut warnings).await?;
    match history.verdict() {
        Verdict::Succeeded => {
            follow.done();
            Ok(Executed { history, warnings })
        }
        Verdict::Failed(error) => Err(RunError::Failed(error)),
        Verdict::Interrupted => Err(RunError::Interrupted),
    }
}

/// Posts a prompt once: a request without an answer may have arrived, and ComfyUI would run it twice.
async fn post(comfy: &Comfy, prompt: Prompt<'_>, outputs: &[String]) -> Result<Accepted, RunError> {
    let body = prompt.graph.for_job(outputs, prompt.id);
    let mut answer = comfy.queue_prompt(&body, prompt.id, prompt.api_key).await;
    if matches!(answer, Err(ComfyError::Unreachable { .. })) {
        if is_known(comfy, prompt.id).await? {
            return Ok(Accepted { prompt_id: prompt.id.to_owned(), node_errors: Vec::new() });
        }
        answer = comfy.queue_prompt(&body, prompt.id, prompt.api_key).await;
    }
    if let Err(ComfyError::Rejected(rejection)) = &mut answer {
        explain(comfy, &mut rejection.nodes).await;
    }
    Ok(answer?)
}

/// Adds to ComfyUI's errors the values that it would have accepted.
async fn explain(comfy: &Comfy, nodes: &mut [NodeErrors]) {
    for node in nodes {
        // Without the class the error still says what ComfyUI said.
        let Ok(Some(class)) = comfy.class(&node.class_type).await else { continue };
        for error in &mut node.errors {
            let choices = error.input().and_then(|input| class.list(input)).unwrap_or_default();
            error.allow(&choices);
        }
    }
}
