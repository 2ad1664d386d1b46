//! Proves that a running version works: its custom nodes are imported, its models listed, and a
//! workflow that needs none of them makes an image.

use super::attempt::{Prompt, attempt, let_go};
use super::{Graph, RunError, outputs};
use crate::comfy::{Class, ComfyError};
use crate::ctx::Ctx;
use crate::supervise::Ready;
use proto::lock::{Lock, LockedModel, LockedNode};
use proto::method::{Check, CheckOutcome};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// How long the built-in workflow may take; it needs milliseconds, and its first run imports more code.
const SMOKE: Duration = Duration::from_secs(5 * 60);

/// How long it is waited for ComfyUI to let go of it when it is not wanted any more.
const LETTING_GO: Duration = Duration::from_secs(10);

/// Names of model folders that ComfyUI still takes in a path and no longer lists
/// (`folder_paths.py`, `map_legacy`, and the folders that share one list).
const RENAMED: &[(&str, &str)] =
    &[("unet", "diffusion_models"), ("clip", "text_encoders"), ("t2i_adapter", "controlnet")];

/// Checks every custom node and model of `lock`, then that an image is made. What fails is in the
/// answer; an error means that the checks themselves could not be made.
///
/// # Errors
/// ComfyUI cannot be asked, or `ctx` was cancelled.
pub async fn checks(ctx: &Ctx, ready: &Ready, lock: &Lock) -> Result<Vec<Check>, RunError> {
    ctx.progress.phase("test");
    let classes = ready.comfy.object_info().await?;
    let mut checks: Vec<Check> =
        lock.custom_nodes.iter().map(|node| check_node(ready, node, &classes)).collect();
    let mut folders = BTreeMap::new();
    for model in &lock.models {
        checks.push(check_model(ready, model, &mut folders).await?);
    }
    let (outcome, detail) = match smoke(ctx, ready).await {
        Ok(result) => result,
        Err(RunError::Cancelled) => return Err(RunError::Cancelled),
        Err(error) => (CheckOutcome::Failed, error.to_string()),
    };
    checks.push(Check { name: "built-in workflow".to_owned(), outcome, detail });
    Ok(checks)
}

/// Runs a workflow that needs no model and no custom node, and tells whether it made an image.
async fn smoke(ctx: &Ctx, ready: &Ready) -> Result<(CheckOutcome, String), RunError> {
    let image = json!({"width": 64, "height": 64, "batch_size": 1, "color": 0x33_66_99});
    let graph = Graph::parse(json!({
        "1": {"class_type": "EmptyImage", "inputs": image},
        "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    }))?;
    let (id, began) = (uuid::Uuid::new_v4().to_string(), Instant::now());
    let deadline = Some((began + SMOKE, SMOKE));
    let prompt = Prompt { graph: &graph, id: &id, is_posted: false, api_key: None, deadline };
    let executed = attempt(ctx, ready, prompt).await;
    if matches!(executed, Err(RunError::Cancelled | RunError::Timeout(_))) {
        timeout(LETTING_GO, let_go(ready, &id)).await.ok();
    }
    let history = executed?.history;
    let outputs = outputs::collect(&ready.comfy, Path::new(&ready.info.home), &history, None).await?;
    Ok(match outputs.iter().find_map(|output| output.file.as_ref()) {
        Some(file) if file.bytes > 0 => {
            (CheckOutcome::Passed, format!("{} bytes in {} ms", file.bytes, began.elapsed().as_millis()))
        }
        _ => (CheckOutcome::Failed, "it made no image".to_owned()),
    })
}

fn check_node(ready: &Ready, node: &LockedNode, classes: &BTreeMap<String, Class>) -> Check {
    let dir = node.dir.as_str();
    let named = |path: &str| Path::new(path).file_name().is_some_and(|name| name.to_string_lossy() == dir);
    let import = ready.node_imports.iter().find(|import| named(&import.path));
    let module = format!("custom_nodes.{dir}");
    let count = classes.values().filter(|class| class.python_module == module).count();
    let (outcome, detail) = match import.map(|import| import.failure.as_deref()) {
        None if count == 0 => (CheckOutcome::Failed, "ComfyUI did not look at it".to_owned()),
        Some(Some("")) => (CheckOutcome::Failed, "ComfyUI could not import it".to_owned()),
        Some(Some(reason)) => (CheckOutcome::Failed, reason.to_owned()),
        // A node may bring only pages or hooks.
        Some(None) if count == 0 => (CheckOutcome::Passed, "imported, adds no classes".to_owned()),
        _ if count == 1 => (CheckOutcome::Passed, "adds 1 class".to_owned()),
        _ => (CheckOutcome::Passed, format!("adds {count} classes")),
    };
    Check { name: format!("custom node {dir}"), outcome, detail }
}

async fn check_model(
    ready: &Ready,
    model: &LockedModel,
    folders: &mut BTreeMap<String, Option<BTreeSet<String>>>,
) -> Result<Check, ComfyError> {
    let name = format!("model {}", model.target);
    let Some((folder, file)) = model.target.as_str().split_once('/') else {
        let detail = "it lies in no model folder, where ComfyUI looks for none".to_owned();
        return Ok(Check { name, outcome: CheckOutcome::Skipped, detail });
    };
    let folder = RENAMED.iter().find(|(old, _)| *old == folder).map_or(folder, |(_, new)| new);
    if !folders.contains_key(folder) {
        let listed = ready.comfy.models(folder).await?.map(BTreeSet::from_iter);
        folders.insert(folder.to_owned(), listed);
    }
    let (outcome, detail) = match folders.get(folder).and_then(Option::as_ref) {
        // Custom nodes read folders of their own, which ComfyUI need not know.
        None => (CheckOutcome::Skipped, format!("ComfyUI has no model folder `{folder}`")),
        Some(listed) if listed.contains(file) => (CheckOutcome::Passed, String::new()),
        Some(_) => (CheckOutcome::Failed, format!("ComfyUI does not list it in `{folder}`")),
    };
    Ok(Check { name, outcome, detail })
}
