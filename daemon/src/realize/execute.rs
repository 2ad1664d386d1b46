//! Makes a plan true.
//!
//! Repositories, models and the environment are made side by side; the first error stops the siblings.
//! A new generation is assembled under a staging name, proved, and published by one rename; the last
//! link makes it current. Killed anywhere, the old generation is still current and complete.

use super::generation;
use super::layout::Layout;
use super::plan::{Disk, Facts, is_built};
use super::{InUse, RealizeError, clean, current, models, repositories};
use crate::ctx::Ctx;
use crate::source::Sources;
use crate::source::python::{self, Build, InstallScript};
use crate::store::commit::StagingDir;
use crate::store::file_lock::FileLock;
use crate::store::places::generation as names;
use crate::store::uses::Use;
use crate::store::{StoreError, tree};
use futures_util::FutureExt as _;
use proto::event::{TaskKind, Unit};
use proto::plan::PackagesAction;
use proto::{Lock, Plan, Spec};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

/// Everything that stays the same while a plan is made true.
pub struct Work {
    /// Held while the home is changed; none where it is not.
    pub home_lock: Option<FileLock>,
    /// The outside.
    pub sources: Sources,
    /// What was asked for; its model links carry the signatures that the lock leaves out.
    pub spec: Arc<Spec>,
    /// What it was pinned to.
    pub lock: Arc<Lock>,
    /// Where it goes.
    pub layout: Layout,
    /// What is to be done.
    pub plan: Plan,
    /// What the plan was made from.
    pub disk: Disk,
    /// What was asked for it.
    pub facts: Facts,
    /// What runs: neither removed nor cleaned.
    pub in_use: InUse,
    /// Nothing may be fetched.
    pub offline: bool,
}

/// Makes the plan true. Cancel-safe: what is half done is found again
/// or thrown away by the next call.
///
/// # Errors
/// The first thing that could not be done.
pub async fn execute(ctx: &Ctx, work: Arc<Work>) -> Result<(), RealizeError> {
    ctx.progress.phase("execute");
    let ctx = ctx.child();
    // Fires on the first error, or when nobody waits any more: blocking siblings see it too.
    let _stop = ctx.cancel.clone().drop_guard();
    let _use = using(&work, work.layout.generation.clone()).await?;
    tokio::try_join!(code(&ctx, &work), models::fetch(&ctx, &work))?;
    still_ours(&work).await?;
    blocking(&work, generation::make_links).await?;
    blocking(&work, |work| current::prune(&work.layout.home, &work.in_use)).await
}

/// Makes ComfyUI, the custom nodes and the environment.
async fn code(ctx: &Ctx, work: &Arc<Work>) -> Result<(), RealizeError> {
    let dir = work.layout.generation_dir();
    if !is_built(&work.plan) {
        return complete(ctx, work, &dir).await;
    }
    blocking(work, generation::check_unused).await?;
    blocking(work, generation::prepare).await?;
    let is_fresh = work.plan.packages.action == PackagesAction::Install && !work.offline;
    let mut forgotten = BTreeSet::new();
    loop {
        let staging = StagingDir::beside(&dir);
        let error = match build(ctx, work, &staging).await {
            Err(RealizeError::Packages(error)) if is_fresh => error,
            other => return other,
        };
        let damaged = error.damaged_package().filter(|package| !forgotten.contains(*package));
        let Some(package) = damaged else { return Err(RealizeError::Packages(error)) };
        let venv = staging.path().join(names::VENV);
        let forget = async {
            let uv = work.sources.uv(ctx).await?;
            python::forget_damaged(ctx, uv, (package, &venv), &work.lock.python).await
        };
        forgotten.extend(forget.await.map_err(RealizeError::Packages)?);
        forgotten.insert(package.to_owned());
        ctx.progress.note(format!("fetching anew what uv's cache has in pieces: {error}"));
    }
}

/// Builds a generation aside and publishes it.
async fn build(ctx: &Ctx, work: &Arc<Work>, staging: &StagingDir) -> Result<(), RealizeError> {
    let venv = staging.path().join(names::VENV);
    tokio::try_join!(
        repositories::comfy(ctx, work, staging.path()),
        repositories::custom_nodes(ctx, work),
        clean::standing(ctx, work).map(Ok),
        environment(ctx, work, &venv),
    )?;
    let place = staging.path().to_owned();
    blocking(work, move |work| generation::assemble(work, &place)).await?;
    install_scripts(ctx, work, staging.path()).await?;
    let task = ctx.progress.task(TaskKind::Generation, "generation", Unit::Nothing);
    task.detail("proving the packages");
    let uv = work.sources.uv(ctx).await.map_err(RealizeError::Packages)?;
    let proof = python::prove(ctx, uv, &venv, &work.lock.python).await.map_err(RealizeError::Packages)?;
    task.detail("publishing");
    still_ours(work).await?;
    let place = staging.path().to_owned();
    blocking(work, move |work| generation::publish(work, &place, &proof)).await?;
    task.done(work.layout.generation.clone());
    Ok(())
}

/// The generation stands; only its interpreter or custom nodes are missing.
async fn complete(ctx: &Ctx, work: &Arc<Work>, dir: &Path) -> Result<(), RealizeError> {
    if work.plan.packages.action == PackagesAction::Repair {
        let task = ctx.progress.task(TaskKind::Packages, "packages", Unit::Nothing);
        task.detail("leading the environment to this machine's Python");
        let uv = work.sources.uv(ctx).await.map_err(RealizeError::Packages)?;
        let repaired = python::repair(ctx, uv, &dir.join(names::VENV), &work.lock.python.version).await;
        repaired.map_err(RealizeError::Packages)?;
        task.done("");
    }
    still_ours(work).await?;
    blocking(work, generation::unlink_unfinished).await?;
    tokio::try_join!(repositories::custom_nodes(ctx, work), clean::standing(ctx, work).map(Ok))?;
    install_scripts(ctx, work, dir).await
}

async fn environment(ctx: &Ctx, work: &Arc<Work>, venv: &Path) -> Result<(), RealizeError> {
    let task = ctx.progress.task(TaskKind::Packages, "packages", Unit::Packages);
    if let PackagesAction::Reuse { generation: other } = &work.plan.packages.action {
        task.detail("linking the packages of an earlier generation");
        let from = work.layout.home.generation(other).join(names::VENV);
        let to = venv.to_owned();
        let _use = using(work, other.clone()).await?;
        blocking(work, move |_| tree::link_tree(&from, &to)).await?;
        task.done(format!("{} packages, shared with generation {other}", work.plan.packages.count));
        return Ok(());
    }
    ctx.turn().await;
    let install = async {
        let uv = work.sources.uv(ctx).await?;
        let wanted = work.spec.env.get(python::INTERPRETER).unwrap_or(&work.lock.python.version);
        let interpreter = python::find_interpreter(ctx, uv, Some(wanted), None).await?;
        let (python, offline) = (&work.lock.python, work.offline);
        let build = Build { python, interpreter: &interpreter, staging: venv, offline };
        python::install(ctx, uv, &build, &task).await
    };
    install.await.map_err(RealizeError::Packages)?;
    task.done(format!("{} packages", work.plan.packages.count));
    Ok(())
}

/// Runs the custom nodes' `install.py`, one after the other: they change one environment.
async fn install_scripts(ctx: &Ctx, work: &Work, generation_dir: &Path) -> Result<(), RealizeError> {
    let (venv, comfy) = (generation_dir.join(names::VENV), generation_dir.join(names::COMFY));
    let nodes = work.lock.custom_nodes.iter().zip(&work.layout.checkouts);
    for (node, checkout) in nodes.filter(|(node, _)| work.plan.install_scripts.contains(&node.dir)) {
        ctx.turn().await;
        let task = ctx.progress.task(TaskKind::InstallScript, node.dir.as_str(), Unit::Nothing);
        task.detail("running install.py");
        let script =
            InstallScript { venv: &venv, node_dir: checkout, comfy_dir: &comfy, python: &work.lock.python };
        let ran = python::run_install_script(ctx, &work.sources.config, &script).await;
        ran.map_err(|source| RealizeError::InstallScript { node: node.dir.to_string(), source })?;
        task.done("");
    }
    Ok(())
}

/// Keeps a generation from being removed while it is made current or copied from.
async fn using(work: &Arc<Work>, generation: String) -> Result<Option<Use>, RealizeError> {
    let take =
        move |work: &Work| Ok::<_, StoreError>(Use::take(&work.layout.home, &generation, std::process::id()));
    blocking(work, take).await
}

/// Asks before what others would notice: who stood still for long may have been passed over.
async fn still_ours(work: &Arc<Work>) -> Result<(), RealizeError> {
    let home = &work.layout.home.root;
    if blocking(work, |work| work.home_lock.as_ref().map_or(Ok(true), FileLock::is_mine)).await? {
        return Ok(());
    }
    Err(RealizeError::TakenOver(home.display().to_string()))
}

/// Runs disk work where it may block.
pub(super) async fn blocking<T: Send + 'static, E: Into<RealizeError> + Send + 'static>(
    work: &Arc<Work>,
    job: impl FnOnce(&Work) -> Result<T, E> + Send + 'static,
) -> Result<T, RealizeError> {
    let work = Arc::clone(work);
    match tokio::task::spawn_blocking(move || job(&work)).await {
        Ok(result) => result.map_err(Into::into),
        Err(error) => Err(RealizeError::Crashed(error)),
    }
}
