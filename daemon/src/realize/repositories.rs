//! Checkouts: ComfyUI into the generation, custom nodes into the cache that all versions share.

use super::clean::{self, comfy_place, node_place};
use super::execute::{Work, blocking};
use super::{LOCK_DEADLINE, RealizeError};
use crate::ctx::Ctx;
use crate::source::git::Tracked;
use crate::store::commit::{self, StagingDir};
use crate::store::file_lock::FileLock;
use crate::store::places::{self, generation::COMFY};
use crate::store::sweep::sweep;
use futures_util::future::try_join_all;
use proto::event::{TaskKind, Unit};
use proto::lock::LockedRepo;
use proto::plan::RepositoryAction;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Repositories that are fetched and checked out at the same time: most of that time they wait for hosts.
const AT_ONCE: usize = 16;

/// Checks ComfyUI out into a generation's directory, which is not published yet.
pub(super) async fn comfy(ctx: &Ctx, work: &Arc<Work>, staging: &Path) -> Result<(), RealizeError> {
    ctx.turn().await;
    let place = comfy_place(&work.lock, staging);
    let tracked = checkout(ctx, work, COMFY, &work.lock.comfy, &place.dir).await?;
    blocking(work, move |_| tracked.save(&place)).await
}

/// Fetches ComfyUI's objects, where the plan wants it.
pub(super) async fn comfy_objects(ctx: &Ctx, work: &Work) -> Result<(), RealizeError> {
    if work.plan.repositories[0].action != RepositoryAction::Fetch {
        return Ok(());
    }
    ctx.turn().await;
    let (task, repo) = (ctx.progress.task(TaskKind::Repository, COMFY, Unit::Objects), &work.lock.comfy);
    let wanted = (repo.repo.as_str(), &repo.commit);
    let fetched = work.sources.git.fetch(ctx, wanted, repo.git_ref.as_deref(), &task).await;
    fetched.map_err(|source| RealizeError::Repository { name: COMFY.to_owned(), source })?;
    task.done(format!("objects of {}", repo.commit.short()));
    Ok(())
}

/// Makes every custom node's checkout that the plan wants.
pub(super) async fn custom_nodes(ctx: &Ctx, work: &Arc<Work>) -> Result<(), RealizeError> {
    let slots = Semaphore::new(AT_ONCE);
    let steps = work.plan.repositories[1..].iter().zip(&work.lock.custom_nodes).zip(&work.layout.checkouts);
    let wanted = steps
        .filter(|((step, _), _)| matches!(step.action, RepositoryAction::Checkout | RepositoryAction::Fetch));
    let checkouts = wanted.map(|((step, node), place)| {
        let slots = &slots;
        async move {
            let _slot = slots.acquire().await;
            ctx.turn().await;
            publish_checkout(ctx, work, &step.name, &node.repo, place).await
        }
    });
    try_join_all(checkouts).await.map(drop)
}

/// Checks a custom node out beside its place and publishes it there: one for all versions that want it at once.
/// Where locks do not hold, whoever is faster wins: the commit names the content.
async fn publish_checkout(
    ctx: &Ctx,
    work: &Arc<Work>,
    name: &str,
    repo: &LockedRepo,
    place: &Path,
) -> Result<(), RealizeError> {
    let what = place.display().to_string();
    let lock = FileLock::take(ctx, places::node_lock(place), &what, LOCK_DEADLINE).await;
    let _lock = lock.map_err(|source| RealizeError::Locked { what, source })?;
    if place.is_dir() {
        ctx.progress.task(TaskKind::Repository, name, Unit::Objects).done("checked out for another version");
        return Ok(());
    }
    let staging = StagingDir::beside(place);
    let tracked = checkout(ctx, work, name, repo, staging.path()).await?;
    let (from, to) = (staging.path().to_owned(), place.to_owned());
    let published = blocking(work, move |work| {
        sweep(&work.sources.config.nodes_cache);
        // First: where someone else is faster, its entries are suspects of the next look and no more.
        commit::step("checkout.index", "keep the index of", &to)?;
        tracked.save(&node_place(&to))?;
        commit::step("checkout.sync", "sync", &from)?;
        commit::sync_tree(&from)?;
        commit::step("checkout.publish", "publish", &to)?;
        commit::publish(&from, &to)
    });
    match published.await {
        Err(_) if place.is_dir() => Ok(()),
        other => other,
    }
}

async fn checkout(
    ctx: &Ctx,
    work: &Work,
    name: &str,
    repo: &LockedRepo,
    to: &Path,
) -> Result<Tracked, RealizeError> {
    let at = |source| RealizeError::Repository { name: name.to_owned(), source };
    let task = ctx.progress.task(TaskKind::Repository, name, Unit::Objects);
    let git = &work.sources.git;
    git.fetch(ctx, (&repo.repo, &repo.commit), repo.git_ref.as_deref(), &task).await.map_err(at)?;
    let done = git.checkout(ctx, (&repo.repo, &repo.commit), to, &task).await.map_err(at)?;
    commit::step("checkout.lfs", "fetch Git LFS files into", to)?;
    let done = git.fetch_lfs(ctx, (to, !work.offline), done, &task).await.map_err(at)?;
    if let Some(text) = clean::unfetched(name, &done.unfetched) {
        ctx.progress.warn(text);
    }
    for link in &done.left_out {
        ctx.progress.warn(format!("`{link}` of {name} is a link out of its repository: it was left out"));
    }
    task.done(format!("{} files at {}", done.files, repo.commit.short()));
    Ok(done.tracked)
}
