//! Lock → Realization: a complete, proved home.
//!
//! `layout` says how a lock lies on disk, `snapshot` looks at what is there, `plan` compares the two,
//! `execute` makes the difference go away; `job` lets all who ask at once share one such run.

use crate::ctx::Ctx;
use crate::resolve::{Mode, Resolution, ResolveError, resolve};
use crate::source::Sources;
use crate::source::git::GitError;
use crate::source::model::ModelError;
use crate::source::python::PythonError;
use crate::store::flock::{FileLock, LockError};
use crate::store::places::Home;
use crate::store::places::generation as names;
use crate::store::{self, StoreError};
use execute::{Work, execute};
use layout::Layout;
use plan::{Rules, Sizes};
use proto::method::RealizeOutcome;
use proto::plan::{DiskNeed, PackagesAction, RepositoryAction};
use proto::{ErrorKind, Lock, Plan, Spec, VersionId};
use record::Record;
use std::sync::Arc;
use std::time::Duration;

pub mod execute;
mod generation;
pub mod job;
pub mod layout;
mod model_paths;
mod models;
pub mod plan;
pub mod record;
mod repositories;
pub mod snapshot;

/// How long a realize waits for another one of the same home, in another daemon.
const LOCK_DEADLINE: Duration = Duration::from_secs(60 * 60);

/// What is to be realized.
#[derive(Debug, Clone)]
pub struct Request {
    /// The version.
    pub spec: Arc<Spec>,
    /// Its home.
    pub home: Home,
    /// What is allowed.
    pub mode: Mode,
    /// Generations that running processes use.
    pub in_use: Vec<String>,
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
    /// What people should know.
    pub warnings: Vec<String>,
}

/// Why a home is not complete.
#[derive(Debug, thiserror::Error)]
pub enum RealizeError {
    /// The version could not be pinned.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The home belongs to another version.
    #[error("`{home}` is the home of `{other}`, not of `{wanted}`")]
    OtherVersion {
        /// The home.
        home: String,
        /// Whose it is.
        other: VersionId,
        /// Who asked.
        wanted: VersionId,
    },
    /// Someone else works on the home.
    #[error("failed to lock `{home}`")]
    Locked {
        /// The home.
        home: String,
        /// Who and how long.
        source: LockError,
    },
    /// The disk is too small for the plan.
    #[error("`{}` has {} free, and {} are needed", .0.path, bytes(.0.available_bytes), bytes(.0.needed_bytes))]
    NoSpace(DiskNeed),
    /// ComfyUI is needed, not cached, and nothing may be fetched.
    #[error("ComfyUI at {commit} is not cached")]
    NoComfy {
        /// Its commit.
        commit: String,
    },
    /// A repository could not be checked out.
    #[error("failed to check out `{name}`")]
    Repository {
        /// `ComfyUI` or the node's directory.
        name: String,
        /// Why.
        source: GitError,
    },
    /// A model could not be fetched.
    #[error("failed to fetch the model `{target}`")]
    Model {
        /// Its place.
        target: String,
        /// Why.
        source: ModelError,
    },
    /// The environment could not be made.
    #[error("failed to make the Python environment")]
    Packages(#[source] PythonError),
    /// A custom node's `install.py` failed.
    #[error("`install.py` of `{node}` failed")]
    InstallScript {
        /// The custom node.
        node: String,
        /// Why.
        source: PythonError,
    },
    /// The disk refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A bug: disk work panicked.
    #[error("disk work crashed")]
    Crashed(#[source] tokio::task::JoinError),
}

impl RealizeError {
    /// Returns what kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Resolve(error) => error.kind(),
            Self::OtherVersion { .. } => ErrorKind::Conflict,
            Self::Locked { source: LockError::Cancelled(_), .. } => ErrorKind::Cancelled,
            Self::Locked { source: LockError::Store(_), .. } | Self::NoSpace(_) | Self::Store(_) => {
                ErrorKind::Disk
            }
            Self::Locked { source: LockError::Timeout { .. }, .. } => ErrorKind::Busy,
            Self::NoComfy { .. } => ErrorKind::Offline,
            Self::Repository { source, .. } => source.kind(),
            Self::Model { source, .. } => source.kind(),
            Self::Packages(source) | Self::InstallScript { source, .. } => source.kind(),
            Self::Crashed(_) => ErrorKind::Internal,
        }
    }

    /// Returns what to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Resolve(error) => error.hint(),
            Self::OtherVersion { .. } => Some("put `{version_id}` into COMFY_HOME, or unset it".to_owned()),
            Self::NoSpace(_) => {
                Some("free some space, or set COMFY_VOLUME or MODELS_DIR to a larger disk".to_owned())
            }
            Self::NoComfy { .. } => Some("realize it once without `offline`".to_owned()),
            Self::Repository { source, .. } => source.hint(),
            Self::Model { source, .. } => source.hint(),
            Self::Packages(source) | Self::InstallScript { source, .. } => source.hint(),
            Self::Locked { .. } | Self::Store(_) | Self::Crashed(_) => None,
        }
    }
}

/// Figures for an error people read.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
fn bytes(count: u64) -> String {
    let gigabytes = count as f64 / 1e9;
    if gigabytes < 0.1 { format!("{:.1} MB", count as f64 / 1e6) } else { format!("{gigabytes:.1} GB") }
}

/// Makes a version's home complete. A home that is ready is answered without network and without a
/// subprocess. Cancel-safe.
///
/// # Errors
/// The first thing that could not be done; the home is as it was before.
pub async fn realize(ctx: &Ctx, sources: &Sources, request: &Request) -> Result<Realization, RealizeError> {
    let first = look(ctx, sources, request, request.mode).await?;
    first.resolution.save(sources)?;
    if first.plan.ready {
        return first.finish(RealizeOutcome::Ready);
    }
    let path = request.home.lock();
    let what = request.home.root.display().to_string();
    let lock = FileLock::take(ctx, path, &what, LOCK_DEADLINE).await;
    let _lock = lock.map_err(|source| RealizeError::Locked { home: what, source })?;
    // Whoever held the lock may have done the work; what was pinned above stays pinned.
    let pinned = Mode { update: false, ..request.mode };
    let mut second = look(ctx, sources, request, pinned).await?;
    second.resolution.is_new = first.resolution.is_new;
    second.resolution.warnings = first.resolution.warnings;
    if second.plan.ready {
        return second.finish(RealizeOutcome::Ready);
    }
    if second.plan.repositories[0].action == RepositoryAction::Missing {
        return Err(RealizeError::NoComfy { commit: second.resolution.lock.comfy.commit.short().to_owned() });
    }
    let view = second.with_sizes(ctx, sources, request).await?;
    let outcome = match view.plan.packages.action {
        PackagesAction::Present | PackagesAction::Repair => RealizeOutcome::Repaired,
        PackagesAction::Reuse { .. } | PackagesAction::Install => RealizeOutcome::Realized,
    };
    let work = Work {
        sources: sources.clone(),
        spec: Arc::clone(&request.spec),
        lock: Arc::new(view.resolution.lock.clone()),
        layout: view.layout.clone(),
        plan: view.plan.clone(),
        in_use: request.in_use.clone(),
        offline: request.mode.offline,
    };
    execute(ctx, Arc::new(work)).await?;
    view.finish(outcome)
}

/// Tells what [`realize`] would do, sizes included. Writes nothing but caches of git objects.
///
/// # Errors
/// When the version cannot be pinned or the disk cannot be looked at.
pub async fn dry_run(ctx: &Ctx, sources: &Sources, request: &Request) -> Result<Plan, RealizeError> {
    let view = look(ctx, sources, request, request.mode).await?.with_sizes(ctx, sources, request).await?;
    let mut plan = view.plan;
    plan.missing.extend(view.resolution.missing);
    plan.warnings.extend(view.resolution.warnings);
    Ok(plan)
}

/// A version compared with the disk.
struct View {
    resolution: Resolution,
    layout: Layout,
    plan: Plan,
}

/// Pins the version and compares it with the disk.
async fn look(ctx: &Ctx, sources: &Sources, request: &Request, mode: Mode) -> Result<View, RealizeError> {
    check_owner(request)?;
    let resolution = resolve(ctx, sources, &request.spec, &request.home, mode).await?;
    let layout = Layout::new(&sources.config, request.home.clone(), &resolution.lock);
    let disk = snapshot::snapshot(sources, &resolution.lock, &layout)?;
    let plan = plan::plan(&resolution.lock, &layout, &disk, rules(request), &Sizes::new());
    Ok(View { resolution, layout, plan })
}

fn check_owner(request: &Request) -> Result<(), RealizeError> {
    match Record::current(&request.home)? {
        Some(record) if record.version_id != request.spec.version_id => Err(RealizeError::OtherVersion {
            home: request.home.root.display().to_string(),
            other: record.version_id,
            wanted: request.spec.version_id.clone(),
        }),
        _ => Ok(()),
    }
}

fn rules(request: &Request) -> Rules {
    Rules { offline: request.mode.offline, skip_models: request.spec.options.skip_models }
}

impl View {
    /// Asks the models' hosts for sizes, where something is to be downloaded.
    async fn with_sizes(
        mut self,
        ctx: &Ctx,
        sources: &Sources,
        request: &Request,
    ) -> Result<Self, RealizeError> {
        if request.mode.offline || self.plan.ready {
            return Ok(self);
        }
        ctx.progress.phase("plan");
        let (sizes, warnings) = models::sizes(ctx, sources, &request.spec, &self.plan).await;
        let disk = snapshot::snapshot(sources, &self.resolution.lock, &self.layout)?;
        self.plan = plan::plan(&self.resolution.lock, &self.layout, &disk, rules(request), &sizes);
        self.plan.warnings = warnings;
        Ok(self)
    }

    fn finish(self, outcome: RealizeOutcome) -> Result<Realization, RealizeError> {
        let Self { resolution, layout, plan } = self;
        if resolution.is_new && outcome != RealizeOutcome::Realized {
            // The generation stays; the lock it carries for other machines is a newer one.
            store::write_json(&layout.generation_dir().join(names::LOCK), &resolution.lock)?;
        }
        let mut missing = plan.missing;
        missing.extend(resolution.missing);
        let mut warnings = resolution.warnings;
        warnings.extend(plan.warnings);
        Ok(Realization { outcome, lock: Arc::new(resolution.lock), layout, missing, warnings })
    }
}

/// Tells in words what keeps a pinned version from being realized; nothing when it is. No network, no
/// subprocess. Blocks, shortly.
///
/// # Errors
/// When the disk cannot be looked at.
pub fn lacks(sources: &Sources, spec: &Spec, home: &Home, lock: &Lock) -> Result<Vec<String>, StoreError> {
    let layout = Layout::new(&sources.config, home.clone(), lock);
    let disk = snapshot::snapshot(sources, lock, &layout)?;
    let rules = Rules { offline: spec.options.offline, skip_models: spec.options.skip_models };
    let plan = plan::plan(lock, &layout, &disk, rules, &Sizes::new());
    Ok(plan::lacks(&plan))
}
