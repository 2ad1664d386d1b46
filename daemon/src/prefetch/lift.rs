//! Lifts one version, from rung to rung, in the background.
//!
//! Each rung is the work that a request would have to do, done by the same code. What it may change is less: a
//! home whose `current` names another generation stays as it is, since only a request makes the change, and what
//! `rollback` goes to is kept.

use crate::boot::Boot;
use crate::config::Budgets;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::realize::job::Jobs;
use crate::realize::plan::figure;
use crate::realize::{self, Realization, Request, bytecode};
use crate::resolve::Mode;
use crate::source::Sources;
use crate::start::{Address, Starter, Wanted};
use crate::store::inspect::space;
use crate::supervise::Purpose;
use proto::method::Target;
use proto::plan::Plan;
use proto::{ErrorKind, Rung};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What lifts versions. Cheap to clone.
#[derive(Clone)]
pub struct Lifter {
    /// The outside.
    pub sources: Sources,
    /// How versions are realized.
    pub jobs: Jobs,
    /// How they are started.
    pub starter: Starter,
    /// What makes starts quick.
    pub boot: Boot,
}

/// Why a version was lifted no higher.
#[derive(Debug, thiserror::Error)]
pub enum LiftError {
    /// The work failed.
    #[error(transparent)]
    Failed(#[from] Error),
    /// A disk would be too full afterwards.
    #[error("{} are to be fetched, `{path}` has {} free, and {} have to stay free (COMFYD_PREFETCH_DISK)",
        figure(*needed), figure(*free), figure(*reserve))]
    Disk {
        /// Where.
        path: String,
        /// Bytes that the work would take.
        needed: u64,
        /// Bytes that are free.
        free: u64,
        /// Bytes that have to stay free.
        reserve: u64,
    },
    /// It cannot be primed for now.
    #[error("{0}")]
    NotYet(String),
}

impl LiftError {
    /// Returns what kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Failed(error) => error.kind(),
            Self::Disk { .. } => ErrorKind::Disk,
            Self::NotYet(_) => ErrorKind::Instance,
        }
    }

    /// Returns what to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Failed(error) => error.hint(),
            Self::Disk { .. } => Some("free some space, or lower COMFYD_PREFETCH_DISK".to_owned()),
            Self::NotYet(_) => None,
        }
    }
}

impl Lifter {
    /// Lifts a version from one rung to a higher one. `ctx` is in the background. Cancel-safe: what is half
    /// done is gone on with by whoever does it next.
    ///
    /// # Errors
    /// What keeps it where it is, or on a rung between; it is as whole as it was.
    pub async fn lift(&self, ctx: &Ctx, target: &Target, (from, to): (Rung, Rung)) -> Result<(), LiftError> {
        if from < to.min(Rung::Realized) {
            let request = self.request(target, to.min(Rung::Realized))?;
            let plan = realize::dry_run(ctx, &self.sources, &request).await.map_err(Error::from)?;
            self.check_room(&plan).await?;
            let realized = self.jobs.realize(ctx, request).await.map_err(Error::from)?;
            if to >= Rung::Realized {
                self.compile(ctx, &realized).await?;
            }
        }
        match to {
            Rung::Primed => self.prime(ctx, target).await?,
            Rung::Running => {
                let (mode, address) = (Mode::default(), Address::default());
                let wanted = Wanted {
                    target: target.clone(),
                    mode,
                    address,
                    purpose: Purpose::Lease,
                    models: Vec::new(),
                };
                self.starter.start(ctx, wanted).await?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Asks hosts how many bytes a version lacks. Cancel-safe.
    ///
    /// # Errors
    /// When the version cannot be pinned, or the disk cannot be looked at.
    pub async fn weigh(&self, ctx: &Ctx, target: &Target) -> Result<u64, Error> {
        let request = self.request(target, Rung::Realized)?;
        Ok(bytes(&realize::dry_run(ctx, &self.sources, &request).await?))
    }

    /// Has a zygote of a realized version wait, with what its start reads in the page cache. Cancel-safe.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn prime(&self, ctx: &Ctx, target: &Target) -> Result<(), LiftError> {
        let realized = self.jobs.realize(ctx, self.request(target, Rung::Realized)?).await;
        let realized = realized.map_err(Error::from)?;
        let dir = realized.layout.generation_dir();
        self.boot.read_start_ahead(ctx, &dir).await;
        if let Some(reason) = self.starter.prime(ctx, target, &realized).await? {
            return Err(LiftError::NotYet(reason));
        }
        // Last: they are the largest, and what was read before is not to make room for them.
        self.boot.read_ahead(ctx, models(&realized)).await;
        Ok(())
    }

    /// Packs what a recorded start of a generation read, where that is of use. Cancel-safe.
    pub async fn pack(&self, ctx: &Ctx, generation_dir: &Path) {
        match self.boot.pack(ctx, generation_dir).await {
            Ok(packed) => {
                tracing::debug!(dir = %generation_dir.display(), ?packed, "packed the files of a start");
            }
            Err(error) => tracing::warn!(%error, "the files of a start are not packed"),
        }
    }

    fn request(&self, target: &Target, until: Rung) -> Result<Request, Error> {
        let (loaded, home) = self.starter.load(target)?;
        let request = self.starter.request(&loaded, home, Mode::default());
        Ok(Request { background: true, until, ..request })
    }

    /// Compiles bytecode for a version that was never started; a start has compiled what it imports.
    async fn compile(&self, ctx: &Ctx, realized: &Arc<Realization>) -> Result<(), LiftError> {
        let dir = realized.layout.generation_dir();
        let was_started = move || crate::boot::StartRecord::read(&dir).is_some();
        if !tokio::task::spawn_blocking(was_started).await.unwrap_or(true) {
            bytecode::compile(ctx, &self.sources, realized).await.map_err(Error::from)?;
        }
        Ok(())
    }

    async fn check_room(&self, plan: &Plan) -> Result<(), LiftError> {
        let (needs, budgets) = (plan.disk.clone(), self.sources.config.prefetch.clone());
        let check = move || needs.iter().find_map(|need| too_full(need, &budgets));
        tokio::task::spawn_blocking(check).await.ok().flatten().map_or(Ok(()), Err)
    }
}

fn too_full(need: &proto::plan::DiskNeed, budgets: &Budgets) -> Option<LiftError> {
    let total = need.quota_bytes.or_else(|| Some(space(Path::new(&need.path)).ok()?.total_bytes));
    let reserve = budgets.reserve(total?);
    let (needed, free) = (need.needed_bytes, need.available_bytes);
    let is_too_full = needed > 0 && free.saturating_sub(needed) < reserve;
    is_too_full.then(|| LiftError::Disk { path: need.path.clone(), needed, free, reserve })
}

/// What a plan has to fetch, as far as that is known.
fn bytes(plan: &Plan) -> u64 {
    plan.disk.iter().map(|need| need.needed_bytes).sum()
}

fn models(realized: &Realization) -> Vec<PathBuf> {
    realized.lock.models.iter().map(|model| realized.layout.home.model(&model.target)).collect()
}
