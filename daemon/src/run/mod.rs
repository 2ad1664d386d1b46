//! A workflow on a ready ComfyUI: inputs in, progress, outputs out.
//!
//! What ComfyUI's history says is the truth, and it is asked for again and again; the socket only
//! makes progress visible and the end prompt. So a lost socket loses no job. A process that dies ends
//! its jobs at once, since the instance's state is watched beside.

mod checks;
mod error;
mod follow;
mod graph;
mod outputs;

pub use checks::{checks, smoke};
pub use error::RunError;
pub use graph::Graph;

use crate::comfy::{Comfy, ComfyError, History, NodeErrors, Verdict};
use crate::ctx::Ctx;
use crate::supervise::Ready;
use proto::RelPath;
use proto::method::{InputSource, RunAnswer, RunInput};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long ComfyUI may take to let go of a prompt that is not wanted any more. It looks only between
/// two steps of a sampler.
const WITHDRAWAL: Duration = Duration::from_secs(10);

/// How long after a request that was cut off the death of the process may take to be known.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// What to run.
#[derive(Debug)]
pub struct RunRequest {
    /// The workflow.
    pub graph: Graph,
    /// Files to upload first.
    pub inputs: Vec<RunInput>,
    /// Directory that receives the outputs; they stay in the version's home when absent.
    pub output_dir: Option<PathBuf>,
    /// How long it may take from the upload to its end.
    pub timeout: Option<Duration>,
}

/// Runs a workflow on `ready` and returns its outputs. To give up, cancel `ctx`: dropping the future
/// leaves the workflow running in ComfyUI.
///
/// # Errors
/// See [`RunError`]. Outputs that ComfyUI leaves out while others succeed are warnings in the answer.
pub async fn workflow(ctx: &Ctx, ready: &Ready, request: RunRequest) -> Result<RunAnswer, RunError> {
    let graph = &request.graph;
    ctx.progress.phase("run");
    let prompt_id = uuid::Uuid::new_v4().to_string();
    let started = Instant::now();
    let execution = execute(ctx, ready, graph, &request.inputs, &prompt_id);
    let executed = tokio::select! {
        biased;
        executed = execution => executed,
        ended = ready.ended() => Err(RunError::died(ended)),
        () = ctx.cancel.cancelled() => Err(RunError::Cancelled),
        () = expiry(request.timeout) => Err(RunError::Timeout(request.timeout.unwrap_or_default())),
    };
    if matches!(executed, Err(RunError::Cancelled | RunError::Timeout(_))) {
        tokio::time::timeout(WITHDRAWAL, withdraw(&ready.comfy, &prompt_id)).await.ok();
    }
    let (history, mut warnings) = match executed {
        // A request was cut off: most likely the process is just being found dead, which explains more.
        Err(RunError::Comfy(error @ ComfyError::Unreachable { .. })) => {
            let ended = tokio::time::timeout(LAST_WORDS, ready.ended()).await;
            return Err(ended.map_or(error.into(), RunError::died));
        }
        executed => executed?,
    };
    let execute_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let home = PathBuf::from(&ready.info.home);
    let outputs = outputs::collect(&ready.comfy, &home, &history, request.output_dir.as_deref()).await?;
    if outputs.is_empty() {
        warnings.push("the workflow succeeded and put out nothing".to_owned());
    }
    for warning in &warnings {
        ctx.progress.warn(warning.clone());
    }
    Ok(RunAnswer {
        version_id: ready.info.version_id.clone(),
        job_id: prompt_id.clone(),
        prompt_id,
        outputs,
        cold: ready.started,
        how: None,
        queue_ms: 0,
        recoveries: Vec::new(),
        start_ms: ready.start_ms,
        execute_ms,
        warnings,
    })
}

async fn expiry(timeout: Option<Duration>) {
    match timeout {
        Some(timeout) => tokio::time::sleep(timeout).await,
        None => std::future::pending().await,
    }
}

/// Uploads, queues, follows; returns the history of a success, and warnings.
async fn execute(
    ctx: &Ctx,
    ready: &Ready,
    graph: &Graph,
    inputs: &[RunInput],
    prompt_id: &str,
) -> Result<(History, Vec<String>), RunError> {
    let comfy = &ready.comfy;
    upload(comfy, inputs).await?;
    let prompt = graph.for_job(&output_nodes(comfy, graph).await?, prompt_id);
    let client_id = uuid::Uuid::new_v4().to_string();
    let mut follow = follow::Follow::new(ctx, comfy, graph, &client_id, prompt_id).await;
    let accepted = match comfy.queue_prompt(&prompt, &client_id, prompt_id).await {
        Err(ComfyError::Rejected(mut rejection)) => {
            explain(comfy, &mut rejection.nodes).await;
            return Err(ComfyError::Rejected(rejection).into());
        }
        accepted => accepted?,
    };
    let mut left_out = accepted.node_errors;
    explain(comfy, &mut left_out).await;
    let skipped = left_out.iter().flat_map(NodeErrors::lines);
    let mut warnings: Vec<String> = skipped.map(|line| format!("skipped by ComfyUI: {line}")).collect();
    let history = follow.until_ended(&mut warnings).await?;
    match history.verdict() {
        Verdict::Succeeded => {
            follow.done();
            Ok((history, warnings))
        }
        Verdict::Failed(error) => Err(RunError::Failed(error)),
        Verdict::Interrupted => Err(RunError::Interrupted),
    }
}

async fn upload(comfy: &Comfy, inputs: &[RunInput]) -> Result<(), RunError> {
    for input in inputs {
        let refused = |reason: String| RunError::Input { name: input.name.clone(), reason };
        let name = RelPath::new(input.name.as_str()).map_err(|error| refused(error.to_string()))?;
        let InputSource::Path(path) = &input.source else {
            return Err(refused("this build takes only files".to_owned()));
        };
        let metadata = tokio::fs::metadata(path).await;
        let is_file = metadata.map_err(|error| refused(format!("`{path}`: {error}")))?.is_file();
        if !is_file {
            return Err(refused(format!("`{path}` is not a file")));
        }
        let subfolder = name.as_str().rsplit_once('/').map_or("", |(folder, _)| folder);
        comfy.upload_input(name.file_name(), subfolder, Path::new(path)).await?;
    }
    Ok(())
}

/// Returns the ids of the nodes that a prompt is executed for.
async fn output_nodes(comfy: &Comfy, graph: &Graph) -> Result<Vec<String>, RunError> {
    let mut outputs = Vec::new();
    for (node, class) in graph.nodes() {
        if comfy.class(class).await?.is_some_and(|class| class.output_node) {
            outputs.push(node.to_owned());
        }
    }
    Ok(outputs)
}

/// Adds to ComfyUI's errors the values that it would have accepted.
async fn explain(comfy: &Comfy, nodes: &mut [NodeErrors]) {
    for node in nodes {
        // Without the class the error still says what ComfyUI said.
        let Ok(Some(class)) = comfy.class(&node.class_type).await else { continue };
        for error in &mut node.errors {
            let choices = error.input().map(|input| class.choices(input)).unwrap_or_default();
            error.allow(&choices);
        }
    }
}

/// Takes a prompt back, waiting or running. Said again and again: ComfyUI forgets an interruption
/// that comes just before a prompt's first node.
async fn withdraw(comfy: &Comfy, prompt_id: &str) {
    loop {
        // Errors are ComfyUI's trouble: the deadline of the caller ends this.
        comfy.delete_queued(prompt_id).await.ok();
        comfy.interrupt(prompt_id).await.ok();
        if matches!(comfy.position(prompt_id).await, Ok(crate::comfy::Position::Absent)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
