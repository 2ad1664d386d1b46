//! Lock → Realization: a complete, proved home.
//!
//! `layout` says how a lock lies on disk, `snapshot` looks at what is there, `plan` compares the two,
//! `execute` makes the difference go away; `job` lets all who ask at once share one such run.

use crate::config::Config;
use crate::ctx::Ctx;
use crate::resolve::{Mode, Resolution, resolve};
use crate::source::Sources;
use crate::source::model::links::{self, Known};
use crate::store::file_lock::FileLock;
use crate::store::places::Home;
use crate::store::places::generation as names;
use crate::store::{self, StoreError};
pub use clean::clean;
pub use current::tidy;
pub use error::RealizeError;
pub use in_use::InUse;
pub use rollback::{RolledBack, rollback};

use execute::{Work, execute};
use layout::Layout;
use plan::{Disk, Facts, Rules, is_built};
use proto::method::RealizeOutcome;
use proto::plan::RepositoryAction;
use proto::{Lock, NodeDir, Plan, Rung, Spec};
use record::Record;
use std::sync::Arc;
use std::time::Duration;

mod asking;
pub mod bytecode;
mod clean;
mod current;
mod error;
pub mod execute;
mod fetch;
mod generation;
mod in_use;
pub mod job;
pub mod layout;
mod model_paths;
mod models;
pub mod plan;
pub mod record;
mod repositories;
mod rollback;
pub mod snapshot;

/// How long a realize waits for another one: of the same home, or of a version with the same model.
const LOCK_DEADLINE: Duration = Duration::from_secs(60 * 60);

/// How often a realize begins that loses its lock each time.
const BEGINNINGS: usize = 3;

/// What is to be realized.
#[derive(Debug, Clone)]
pub struct Request {
    /// The version.
    pub spec: Arc<Spec>,
    /// Its home.
    pub home: Home,
    /// What is allowed.
    pub mode: Mode,
    /// What runs, whenever it is asked.
    pub in_use: InUse,
    /// Whether all other work goes first.
    pub background: bool,
    /// How far: [`Rung::Realized`], or less, and then its home stays as it is.
    pub until: Rung,
}

/// A finished home.
#[derive(Debug, Clone)]
pub struct Realization {
    /// How it came about.
    pub outcome: RealizeOutcome,
    /// What it was pinned to.
    pub lock: Arc<Lock>,
    /// Where it lies.
    pub layout: Layout,
    /// What offline mode could not find.
    pub missing: Vec<String>,
    /// Custom nodes whose `install.py` was not run, as was asked.
    pub skipped_install_scripts: Vec<NodeDir>,
    /// What people should know.
    pub warnings: Vec<String>,
}

/// Makes a version's home complete, or goes as far as the request says. A home that is ready is answered without network and without a
/// subprocess. One that loses its home's lock, because its process was frozen, begins anew behind whoever took it.
/// Cancel-safe.
///
/// # Errors
/// The first thing that could not be done; the home is as it was before.
pub async fn realize(ctx: &Ctx, sources: &Sources, request: &Request) -> Result<Realization, RealizeError> {
    let mut warning = None;
    for _ in 1..BEGINNINGS {
        match realize_once(ctx, sources, request).await {
            Err(error @ RealizeError::TakenOver(_)) => warning = Some(format!("{error}: it began anew")),
            Err(error) => return Err(error),
            Ok(mut realization) => {
                realization.warnings.extend(warning);
                return Ok(realization);
            }
        }
    }
    realize_once(ctx, sources, request).await
}

async fn realize_once(ctx: &Ctx, sources: &Sources, request: &Request) -> Result<Realization, RealizeError> {
    let first = look(ctx, sources, request, request.mode).await?;
    first.resolution.save(sources)?;
    links::adopt(ctx, &request.home.models, &first.known).await;
    if first.plan.ready {
        return first.finish(RealizeOutcome::Ready);
    }
    if request.until < Rung::Realized {
        return fetch_once(ctx, sources, request, first).await;
    }
    let path = request.home.lock();
    let what = request.home.root.display().to_string();
    let lock = FileLock::take(ctx, path, &what, LOCK_DEADLINE).await;
    let lock = lock.map_err(|source| RealizeError::Locked { what, source })?;
    // Whoever held the lock may have done the work; what was pinned above stays pinned.
    let pinned = Mode { update: false, ..request.mode };
    let mut second = look(ctx, sources, request, pinned).await?;
    second.resolution.is_new = first.resolution.is_new;
    second.resolution.warnings = first.resolution.warnings;
    // The index has been rebuilt since; that it had to be is still worth a warning.
    second.known.warning = first.known.warning;
    if second.plan.ready {
        return second.finish(RealizeOutcome::Ready);
    }
    if second.plan.repositories[0].action == RepositoryAction::Missing {
        return Err(RealizeError::NoComfy { commit: second.resolution.lock.comfy.commit.short().to_owned() });
    }
    let view = second.with_facts(ctx, sources, request).await?;
    if !view.plan.problems.is_empty() {
        return Err(RealizeError::Refused(view.plan.problems));
    }
    // The last link is `current`: an earlier generation may become it again.
    let is_current = view.plan.links.last().is_some_and(|link| link.present);
    let is_same = is_current && !is_built(&view.plan);
    let outcome = if is_same { RealizeOutcome::Repaired } else { RealizeOutcome::Realized };
    execute(ctx, Arc::new(view.work(sources, request, Some(lock)))).await?;
    view.finish(outcome)
}

/// Fetches what a version lacks, without its home.
async fn fetch_once(
    ctx: &Ctx,
    sources: &Sources,
    request: &Request,
    first: View,
) -> Result<Realization, RealizeError> {
    let view = first.with_facts(ctx, sources, request).await?;
    // All of them count: what would not fit as a whole is not begun.
    if !view.plan.problems.is_empty() {
        return Err(RealizeError::Refused(view.plan.problems));
    }
    fetch::fetch(ctx, view.work(sources, request, None)).await?;
    view.finish(RealizeOutcome::Realized)
}

/// Tells what [`realize`] would do, with sizes, and what it would refuse for. Writes nothing but caches of git objects.
///
/// # Errors
/// When the version cannot be pinned or the disk cannot be looked at.
pub async fn dry_run(ctx: &Ctx, sources: &Sources, request: &Request) -> Result<Plan, RealizeError> {
    let view = look(ctx, sources, request, request.mode).await?.with_facts(ctx, sources, request).await?;
    let mut plan = view.plan;
    plan.warnings.extend(view.known.warning);
    plan.missing.extend(view.resolution.missing);
    plan.warnings.extend(view.resolution.warnings);
    Ok(plan)
}

/// A version compared with the disk.
struct View {
    resolution: Resolution,
    layout: Layout,
    disk: Disk,
    known: Known,
    facts: Facts,
    plan: Plan,
}

/// Pins the version and compares it with the disk.
async fn look(ctx: &Ctx, sources: &Sources, request: &Request, mode: Mode) -> Result<View, RealizeError> {
    check_owner(&request.home, &request.spec)?;
    let resolution = resolve(ctx, sources, &request.spec, &request.home, mode).await?;
    let view = View::take(sources, request, resolution, Facts::default()).await?;
    if view.plan.ready || !view.resolution.missing.is_empty() {
        return Ok(view);
    }
    // Another machine may have updated the home, or rolled it back, since the lock was written here.
    let resolution = view.resolution.or_later(&request.spec, &request.home)?;
    View::take(sources, request, resolution, Facts::default()).await
}

fn check_owner(home: &Home, spec: &Spec) -> Result<(), RealizeError> {
    match Record::current(home)? {
        Some(record) if record.version_id != spec.version_id => Err(RealizeError::OtherVersion {
            home: home.root.display().to_string(),
            other: record.version_id,
            wanted: spec.version_id.clone(),
        }),
        _ => Ok(()),
    }
}

fn rules(request: &Request) -> Rules {
    let Mode { offline, no_install_scripts, .. } = request.mode;
    Rules { offline, no_install_scripts, skip_models: request.spec.options.skip_models }
}

impl View {
    async fn take(
        sources: &Sources,
        request: &Request,
        resolution: Resolution,
        facts: Facts,
    ) -> Result<Self, RealizeError> {
        let (sources, home, rules) = (sources.clone(), request.home.clone(), rules(request));
        let compare = move || {
            let lock = &resolution.lock;
            let layout = Layout::new(&sources.config, home, lock, rules.no_install_scripts);
            let (disk, known) = snapshot::snapshot(&sources, lock, &layout, rules)?;
            let plan = plan::plan(lock, &layout, &disk, rules, &facts);
            Ok(Self { resolution, layout, disk, known, facts, plan })
        };
        tokio::task::spawn_blocking(compare).await.map_err(RealizeError::Crashed)?
    }

    /// Asks hosts about models that are to be downloaded and compares again, where anything is to be done.
    async fn with_facts(self, ctx: &Ctx, sources: &Sources, request: &Request) -> Result<Self, RealizeError> {
        if self.plan.ready {
            return Ok(self);
        }
        ctx.progress.phase("plan");
        let facts = asking::ask(ctx, sources, request, (&self.resolution.lock, &self.plan)).await?;
        let warning = self.known.warning;
        let mut view = Self::take(sources, request, self.resolution, facts).await?;
        view.known.warning = warning;
        Ok(view)
    }

    /// Returns what is to be done, under the home's lock where the home is changed.
    fn work(&self, sources: &Sources, request: &Request, home_lock: Option<FileLock>) -> Work {
        Work {
            home_lock,
            sources: sources.clone(),
            spec: Arc::clone(&request.spec),
            lock: Arc::new(self.resolution.lock.clone()),
            layout: self.layout.clone(),
            plan: self.plan.clone(),
            disk: self.disk.clone(),
            facts: self.facts.clone(),
            in_use: request.in_use.clone(),
            offline: request.mode.offline,
        }
    }

    fn finish(self, outcome: RealizeOutcome) -> Result<Realization, RealizeError> {
        let Self { resolution, layout, plan, known, .. } = self;
        if resolution.missing.is_empty() && !is_built(&plan) {
            // The generation stays. The lock it carries for other machines may be an older one, or damaged.
            let path = layout.generation_dir().join(names::LOCK);
            if resolution.is_new || store::read_json::<Lock>(&path)?.is_none() {
                store::write_json(&path, &resolution.lock)?;
            }
        }
        let mut missing = plan.missing;
        missing.extend(resolution.missing);
        let mut warnings = resolution.warnings;
        warnings.extend(plan.warnings);
        warnings.extend(known.warning);
        let skipped_install_scripts = plan.skipped_install_scripts;
        let lock = Arc::new(resolution.lock);
        Ok(Realization { outcome, lock, layout, missing, skipped_install_scripts, warnings })
    }
}

/// Tells whether the daemon or the spec says that no `install.py` is run.
pub fn skips_scripts(config: &Config, spec: &Spec) -> bool {
    config.no_install_scripts || spec.options.no_install_scripts
}

/// Compares a pinned version with the disk. Asks nobody: sizes of what is missing are not known. No network, no
/// subprocess. Blocks, shortly.
///
/// # Errors
/// When the disk cannot be looked at.
pub fn compare(sources: &Sources, spec: &Spec, home: &Home, lock: &Lock) -> Result<Plan, StoreError> {
    let no_install_scripts = skips_scripts(&sources.config, spec);
    let rules =
        Rules { offline: spec.options.offline, skip_models: spec.options.skip_models, no_install_scripts };
    let layout = Layout::new(&sources.config, home.clone(), lock, no_install_scripts);
    let (disk, _) = snapshot::snapshot(sources, lock, &layout, rules)?;
    Ok(plan::plan(lock, &layout, &disk, rules, &Facts::default()))
}
