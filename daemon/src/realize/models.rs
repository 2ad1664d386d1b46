//! Models: downloaded once, used by every version from one place.

use super::execute::{Work, blocking};
use super::plan::Sizes;
use super::{LOCK_DEADLINE, RealizeError};
use crate::ctx::{Ctx, Task};
use crate::source::Sources;
use crate::source::model::{Identity, Place, Probed};
use crate::store::commit;
use crate::store::flock::{FileLock, LockError};
use crate::store::inspect::file_size;
use futures_util::future::try_join_all;
use futures_util::{StreamExt as _, stream};
use proto::event::{TaskKind, Unit};
use proto::plan::{ModelAction, ModelStep};
use proto::{Plan, RelPath, Spec};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Models that are downloaded, or hosts that are asked for a size, at the same time.
const AT_ONCE: usize = 4;

/// Downloads what the plan wants, then gives files their second names.
pub(super) async fn fetch(ctx: &Ctx, work: &Arc<Work>) -> Result<(), RealizeError> {
    let slots = Semaphore::new(AT_ONCE);
    let downloads = downloads(&work.plan).map(|step| {
        let slots = &slots;
        async move {
            let task = ctx.progress.task(TaskKind::Model, step.target.as_str(), Unit::Bytes);
            let _slot = slots.acquire().await;
            fetch_one(ctx, work, &step.target, &task).await?;
            task.done("");
            Ok::<(), RealizeError>(())
        }
    });
    try_join_all(downloads).await?;
    blocking(work, |work| {
        work.plan.models.iter().try_for_each(|step| match &step.action {
            ModelAction::Link { from } => {
                commit::hard_link(&work.layout.home.model(from), &work.layout.home.model(&step.target))
            }
            _ => Ok(()),
        })
    })
    .await
}

fn downloads(plan: &Plan) -> impl Iterator<Item = &ModelStep> {
    plan.models.iter().filter(|step| step.action == ModelAction::Download)
}

async fn fetch_one(ctx: &Ctx, work: &Work, target: &RelPath, task: &Task) -> Result<(), RealizeError> {
    // The lock was made from this spec: the target is there.
    let Some(model) = work.spec.models.iter().find(|model| model.target == *target) else { return Ok(()) };
    let place = Place { models_dir: &work.layout.home.models, target };
    let lock = work.layout.home.model_lock(target);
    let _lock = match FileLock::take(ctx, lock, target.as_str(), LOCK_DEADLINE).await {
        Ok(lock) => Some(lock),
        // It only saves work: each download has a name of its own until it is whole.
        Err(LockError::Timeout { .. }) => None,
        Err(source) => return Err(RealizeError::Locked { home: target.to_string(), source }),
    };
    // Another version may have fetched it meanwhile.
    if file_size(&place.path()).is_some() {
        return Ok(());
    }
    let fetched = work.sources.models.fetch(ctx, &model.source, place, task).await;
    fetched.map(drop).map_err(|source| RealizeError::Model { target: target.to_string(), source })
}

/// Asks hosts for the sizes of models that are to be downloaded, for the plan's sums. What a host does
/// not tell is a warning of the plan, not an error: the download itself will say more.
pub(super) async fn sizes(ctx: &Ctx, sources: &Sources, spec: &Spec, plan: &Plan) -> (Sizes, Vec<String>) {
    let wanted =
        downloads(plan).filter_map(|step| spec.models.iter().find(|model| model.target == step.target));
    let asked: Vec<_> =
        wanted.map(|model| async move { (model, sources.models.probe(ctx, &model.source).await) }).collect();
    let answers: Vec<_> = stream::iter(asked).buffered(AT_ONCE).collect().await;
    let (mut sizes, mut warnings) = (Sizes::new(), Vec::new());
    for (model, answer) in answers {
        match answer {
            Ok(Probed { identity: Identity { size: Some(bytes), .. } }) => {
                sizes.insert(model.target.clone(), bytes);
            }
            Ok(_) => warnings.push(format!("the host does not tell the size of `{}`", model.target)),
            Err(error) => warnings.push(format!("`{}` cannot be looked at: {error}", model.target)),
        }
    }
    (sizes, warnings)
}
