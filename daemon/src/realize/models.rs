//! Models: fetched once, used by every version from one place.

use super::RealizeError;
use super::execute::{Work, blocking};
use crate::ctx::{Ctx, Task};
use crate::source::model::links::{self, Entry};
use crate::source::model::{Fetched, ModelError, Place};
use crate::store::StoreError;
use crate::store::commit::SecondName;
use futures_util::future::try_join_all;
use proto::event::{TaskKind, Unit};
use proto::plan::{ModelAction, ModelStep};
use proto::{Lock, ModelSource, Spec};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Semaphore;

/// Files that are fetched, or hosts that are asked, at the same time.
pub(super) const AT_ONCE: usize = 16;

/// A fetch loses its turn where its process stood still for half a minute; one that does so again and again
/// gives up.
const TURNS: usize = 5;

/// Fetches and links what the plan wants.
pub(super) async fn fetch(ctx: &Ctx, work: &Arc<Work>) -> Result<(), RealizeError> {
    link_standing(ctx, work).await?;
    let steps = &work.plan.models;
    let downloads = steps.iter().filter(|step| step.action == ModelAction::Download);
    fetch_all(ctx, work, downloads).await?;
    let made = steps.iter().filter_map(|step| Some((maker(work, step)?, step)));
    let (same_link, same_content): (Vec<_>, Vec<_>) =
        made.partition(|(maker, step)| maker.source == step.source);
    fetch_all(ctx, work, same_link.into_iter().map(|(_, step)| step)).await?;
    for (maker, step) in same_content {
        // Else it went away in this moment.
        if !share(ctx, work, step, &maker.source).await? {
            fetch_all(ctx, work, std::iter::once(step)).await?;
        }
    }
    Ok(())
}

/// Returns the other step of the same plan that brings the file that a step links: it comes from the same
/// link, or its host tells the same SHA-256.
fn maker<'a>(work: &'a Work, step: &ModelStep) -> Option<&'a ModelStep> {
    let ModelAction::Link { from } = &step.action else { return None };
    let sha256 = |step: &ModelStep| work.facts.models.get(step.source.as_str())?.sha256.as_deref();
    work.plan.models.iter().find(|other| {
        let same_content = || {
            other.action == ModelAction::Download
                && sha256(other).is_some_and(|told| Some(told) == sha256(step))
        };
        let brings = matches!(other.action, ModelAction::Download | ModelAction::Adopt { .. });
        other.target == *from && brings && (other.source == step.source || same_content())
    })
}

/// Gives files of this machine their second names. All names are made before the first is published: a
/// file that one step links may be replaced by another one.
async fn link_standing(ctx: &Ctx, work: &Arc<Work>) -> Result<(), RealizeError> {
    let names = blocking(work, |work| {
        let steps = &work.plan.models;
        let standing = steps.iter().enumerate().filter(|(_, step)| maker(work, step).is_none());
        let from = standing.filter_map(|(at, step)| Some((at, file_of(work, step)?)));
        from.map(|(at, from)| Ok((at, second_name(work, &from, &steps[at])?)))
            .collect::<Result<Vec<_>, StoreError>>()
    });
    for (at, name) in names.await? {
        let step = &work.plan.models[at];
        publish(ctx, work, step, entry(work, step), name).await?;
    }
    Ok(())
}

/// Returns the file that a step takes its own from.
fn file_of(work: &Work, step: &ModelStep) -> Option<PathBuf> {
    match &step.action {
        ModelAction::Link { from } => Some(work.layout.home.model(from)),
        ModelAction::Adopt { from } => Some(PathBuf::from(from)),
        _ => None,
    }
}

/// Returns the entry of the file that a step takes.
fn entry(work: &Work, step: &ModelStep) -> Entry {
    let source = step.source.clone();
    if let ModelAction::Link { from } = &step.action
        && let Some(entry) = work.disk.files.get(from)
    {
        return Entry { source, ..entry.clone() };
    }
    let found = work.facts.found(&work.disk, &step.source);
    let size = step.size_bytes.unwrap_or_default();
    let sha256 = found.and_then(|found| found.sha256.clone());
    Entry { source, size, sha256, commit: found.and_then(|found| found.commit.clone()), etag: None }
}

fn second_name(work: &Work, from: &Path, step: &ModelStep) -> Result<SecondName, StoreError> {
    let volume = work.sources.config.volume.as_deref();
    SecondName::of(from, &work.layout.home.model(&step.target), volume)
}

async fn publish(
    ctx: &Ctx,
    work: &Work,
    step: &ModelStep,
    entry: Entry,
    name: SecondName,
) -> Result<(), RealizeError> {
    let place = Place { models_dir: &work.layout.home.models, target: &step.target };
    Ok(links::publish(ctx, place, entry, || name.publish()).await?)
}

async fn fetch_all(
    ctx: &Ctx,
    work: &Arc<Work>,
    steps: impl Iterator<Item = &ModelStep>,
) -> Result<(), RealizeError> {
    let slots = Semaphore::new(AT_ONCE);
    let fetches = steps.map(|step| {
        let slots = &slots;
        async move {
            let task = ctx.progress.task(TaskKind::Model, step.target.as_str(), Unit::Bytes);
            let _slot = slots.acquire().await;
            fetch_one(ctx, work, step, &task).await?;
            task.done("");
            Ok::<(), RealizeError>(())
        }
    });
    try_join_all(fetches).await.map(drop)
}

/// Returns the link of a step: the spec's, which carries the signature that the lock leaves out; after a
/// rollback the spec may not have that link at all, and then the lock's will do.
pub(super) fn source_of<'a>(spec: &'a Spec, lock: &'a Lock, step: &ModelStep) -> Option<&'a ModelSource> {
    let specs = spec.models.iter().map(|model| &model.source);
    let locks = lock.models.iter().map(|model| &model.source);
    specs.chain(locks).find(|source| source.to_string() == step.source)
}

async fn fetch_one(ctx: &Ctx, work: &Arc<Work>, step: &ModelStep, task: &Task) -> Result<(), RealizeError> {
    let Some(source) = source_of(&work.spec, &work.lock, step) else { return Ok(()) };
    let place = Place { models_dir: &work.layout.home.models, target: &step.target };
    let failed = |source| RealizeError::Model { target: step.target.to_string(), source };
    let begun = Instant::now();
    let mut lost = 0;
    while lost < TURNS {
        // Without the claim, for which foreground work may wait.
        ctx.turn().await;
        let models = &work.sources.models;
        let turn = models.turn(ctx, source, place, task).await.map_err(failed)?;
        // Another version, or another daemon, may have fetched it meanwhile.
        if share(ctx, work, step, &step.source).await? {
            return Ok(());
        }
        let fetched = models.fetch(ctx, turn, task).await.map_err(failed)?;
        if let Fetched::Here { .. } = fetched {
            return Ok(());
        }
        lost += usize::from(!ctx.standing.is_background());
    }
    let (link, owner) = (step.source.clone(), "processes that took this one for dead".to_owned());
    Err(failed(ModelError::Busy { link, owner, waited: begun.elapsed() }))
}

/// Takes the file that came from a link, from where someone else has put it. Tells whether there is one.
async fn share(ctx: &Ctx, work: &Arc<Work>, step: &ModelStep, link: &str) -> Result<bool, RealizeError> {
    let (link, target) = (link.to_owned(), step.clone());
    let found = blocking(work, move |work| {
        let home = &work.layout.home;
        let Some((from, entry)) = links::find(&work.sources.config, home, &link) else {
            return Ok::<_, StoreError>(None);
        };
        let is_elsewhere = from != target.target;
        let name = is_elsewhere.then(|| second_name(work, &home.model(&from), &target)).transpose()?;
        Ok(Some((Entry { source: target.source, ..entry }, name)))
    });
    match found.await? {
        None => Ok(false),
        Some((_, None)) => Ok(true),
        Some((entry, Some(name))) => publish(ctx, work, step, entry, name).await.map(|()| true),
    }
}
