//! What is asked before the plan is made for good: the hosts of models that would be downloaded, Hugging
//! Face caches by what these hosts say, and how much of its quota the volume has left.

use super::models::{AT_ONCE, source_of};
use super::plan::{Facts, Told};
use super::{RealizeError, Request};
use crate::ctx::Ctx;
use crate::source::Sources;
use crate::source::model::hub_cache::{self, Cached, Word};
use crate::source::model::{Identity, ModelError, Probed};
use crate::store::inspect::{self, Quota};
use crate::store::places;
use futures_util::future::join_all;
use proto::plan::{ModelAction, PackagesAction, Problem};
use proto::{ErrorKind, Lock, ModelSource, Plan, RelPath};
use std::path::Path;
use tokio::sync::Semaphore;

/// Asks for all that `plan` leaves open, side by side. Offline, no host is asked.
pub(super) async fn ask(
    ctx: &Ctx,
    sources: &Sources,
    request: &Request,
    (lock, plan): (&Lock, &Plan),
) -> Result<Facts, RealizeError> {
    let downloads = plan.models.iter().filter(|step| step.action == ModelAction::Download);
    let wanted = downloads.filter_map(|step| Some((&step.target, source_of(&request.spec, lock, step)?)));
    let slots = Semaphore::new(AT_ONCE);
    let asked = wanted.filter(|_| !request.mode.offline).map(|model| {
        let slots = &slots;
        async move {
            let _slot = slots.acquire().await;
            let (target, link) = (model.0, model.1.to_string());
            let held = held(&request.home.models, target, &link).await;
            let (told, warning) = ask_host(ctx, sources, model).await;
            (link, (Told { held, ..told }, warning))
        }
    });
    let (answers, quota) = tokio::join!(join_all(asked), quota(ctx, sources, plan));
    let mut facts = Facts { quota: quota?, ..Facts::default() };
    for (link, (told, warning)) in answers {
        facts.models.insert(link, told);
        facts.warnings.extend(warning);
    }
    Ok(facts)
}

/// Where a model is to lie, and its link.
type Model<'a> = (&'a RelPath, &'a ModelSource);

/// Asks for one model. What a host does not tell is a warning; what it will not give is a problem.
async fn ask_host(ctx: &Ctx, sources: &Sources, model: Model<'_>) -> (Told, Option<String>) {
    let (target, source) = model;
    let error = match sources.models.probe(ctx, source).await {
        Ok(Probed { identity }) => {
            let (size, sha256) = (identity.size, identity.sha256.clone());
            let cached = cached(sources, model, Some(identity)).await;
            let is_unknown = size.is_none() && cached.is_none();
            let warning = is_unknown.then(|| format!("the host does not tell the size of `{target}`"));
            return (Told { size, sha256, cached, ..Told::default() }, warning);
        }
        Err(error) => error,
    };
    // RunPod fills its cache with a token that its workers do not have.
    if let Some(cached) = cached(sources, model, None).await.filter(|_| is_silent(&error)) {
        let warning = format!(
            "`{target}` is taken from the cache as it is, since its host does not tell whether it is the newest: {}",
            error.in_one_line()
        );
        return (Told { cached: Some(cached), ..Told::default() }, Some(warning));
    }
    if !is_definite(&error) {
        return (Told::default(), Some(format!("`{target}` cannot be looked at: {}", error.in_one_line())));
    }
    let problem = Problem {
        kind: error.kind(),
        message: format!("the model `{target}` cannot be fetched: {}", error.in_one_line()),
        hint: error.hint(),
    };
    (Told { problem: Some(problem), ..Told::default() }, None)
}

/// Tells whether asking again would give the same answer.
fn is_definite(error: &ModelError) -> bool {
    matches!(error.kind(), ErrorKind::Access | ErrorKind::NotFound | ErrorKind::Spec)
}

/// Tells whether the host may well have the file, but does not speak of it.
fn is_silent(error: &ModelError) -> bool {
    matches!(error.kind(), ErrorKind::Access | ErrorKind::Network)
}

async fn cached(sources: &Sources, (target, source): Model<'_>, told: Option<Identity>) -> Option<Cached> {
    let (caches, source) = (sources.config.hub_caches.clone(), source.clone());
    let name = target.file_name().to_owned();
    let find = move || hub_cache::find(&caches, &source, &name, told.as_ref().map_or(Word::Ref, Word::Host));
    // A search that crashed found nothing.
    tokio::task::spawn_blocking(find).await.ok().flatten()
}

/// Returns what an earlier attempt holds on the disk for a link.
async fn held(models_dir: &Path, target: &RelPath, link: &str) -> u64 {
    let mut dirs = places::hidden(models_dir, target).map(|hidden| places::parts(&hidden, link)).to_vec();
    dirs.dedup();
    let held = move || dirs.iter().map(|dir| inspect::held(dir)).sum();
    // A look that crashed found nothing.
    tokio::task::spawn_blocking(held).await.unwrap_or(0)
}

/// Measures the volume, where there is a quota and bytes are to be written.
async fn quota(ctx: &Ctx, sources: &Sources, plan: &Plan) -> Result<Option<Quota>, RealizeError> {
    let config = &sources.config;
    let (Some(volume), Some(bytes)) = (config.volume.clone(), config.volume_quota) else { return Ok(None) };
    let writes = plan.packages.action == PackagesAction::Install
        || plan.models.iter().any(|step| step.action == ModelAction::Download);
    if !writes {
        return Ok(None);
    }
    ctx.progress.note(format!("measuring what `{}` holds of its quota", volume.display()));
    let cancel = ctx.cancel.clone();
    let measured =
        tokio::task::spawn_blocking(move || inspect::quota(&volume, bytes, || cancel.is_cancelled()));
    Ok(measured.await.map_err(RealizeError::Crashed)??)
}
