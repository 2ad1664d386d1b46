//! Single flight: all who ask for the same home at once share one realize.
//!
//! The map holds weak references and the askers hold the job, so the last one to leave cancels the work,
//! and neither a result nor a failure is remembered. Progress and result travel on watches: a late
//! joiner sees the present, a slow one holds nobody up.

use super::{Realization, RealizeError, Request, realize};
use crate::ctx::{Ctx, Foreground};
use crate::resolve::Mode;
use crate::source::Sources;
use crate::store;
use proto::method::JobInfo;
use proto::{Rung, VersionId};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Result of a job, shared by all who wait.
type Shared = Result<Arc<Realization>, Arc<RealizeError>>;

/// Tells requests apart: those that are equal share a job.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    home: PathBuf,
    models: PathBuf,
    spec: String,
    mode: Mode,
    until: Rung,
}

/// The realizes under way. Cheap to clone.
#[derive(Clone)]
pub struct Jobs {
    sources: Sources,
    live: Arc<Mutex<HashMap<Key, Live>>>,
    tasks: TaskTracker,
    stop: CancellationToken,
    foreground: Foreground,
}

/// An entry of the map; the number tells a job from its successor of the same key.
struct Live {
    number: u64,
    job: Weak<Job>,
}

/// A realize in flight.
struct Job {
    version_id: VersionId,
    ctx: Ctx,
    result: watch::Receiver<Option<Shared>>,
}

impl Drop for Job {
    fn drop(&mut self) {
        self.ctx.cancel.cancel();
    }
}

/// Why a caller got no realization.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JobError {
    /// The realize failed.
    #[error(transparent)]
    Failed(#[from] Arc<RealizeError>),
    /// The caller was cancelled; the job may go on for others.
    #[error("realizing `{0}` was cancelled")]
    Cancelled(VersionId),
}

impl Jobs {
    /// Returns an empty set of jobs. `stop` cancels them all.
    pub fn new(sources: Sources, stop: CancellationToken) -> Self {
        let (tasks, foreground) = (TaskTracker::new(), Foreground::default());
        Self { sources, live: Arc::default(), tasks, stop, foreground }
    }

    /// Returns the foreground work of this daemon, for which background jobs stand aside.
    pub fn foreground(&self) -> &Foreground {
        &self.foreground
    }

    /// Realizes a version, or joins the job that does. `ctx` follows the job's progress; cancelling it,
    /// or dropping the future, leaves the job, which ends when nobody is left.
    ///
    /// # Errors
    /// The job's failure, shared by all who waited for it.
    pub async fn realize(&self, ctx: &Ctx, request: Request) -> Result<Arc<Realization>, JobError> {
        let job = self.join(request);
        let cancelled = || JobError::Cancelled(job.version_id.clone());
        let shared = ctx.follow(&job.ctx.progress, job.result.clone()).await.ok_or_else(cancelled)?;
        shared.map_err(|error| match error.kind() {
            proto::ErrorKind::Cancelled => cancelled(),
            _ => JobError::Failed(error),
        })
    }

    /// Realizes a version and lets nobody's leaving stop it. Returns at once.
    pub fn realize_detached(&self, request: Request) {
        let job = self.join(request);
        self.tasks.spawn(async move {
            let mut result = job.result.clone();
            let ended = result.wait_for(Option::is_some).await;
            if let Ok(Some(Err(error))) = ended.as_deref() {
                tracing::warn!(version = %job.version_id, %error, "a detached realize failed");
            }
        });
    }

    /// Lists the jobs under way, by home.
    pub fn list(&self) -> Vec<JobInfo> {
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        let jobs = live.iter().filter_map(|(key, live)| Some((key, live.job.upgrade()?)));
        let jobs = jobs.map(|(key, job)| JobInfo {
            version_id: job.version_id.clone(),
            home: key.home.display().to_string(),
            phase: job.ctx.progress.subscribe().borrow().phase.clone(),
            // This look at the job holds it as well.
            waiting: Arc::strong_count(&job) - 1,
            background: job.ctx.standing.is_background(),
            waits: job.ctx.progress.waits(),
            work: job.ctx.progress.work(),
        });
        let mut jobs: Vec<JobInfo> = jobs.collect();
        jobs.sort_by(|a, b| (&a.home, &a.phase).cmp(&(&b.home, &b.phase)));
        jobs
    }

    /// Waits until every job has ended; the stop token must have been cancelled.
    pub async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn join(&self, request: Request) -> Arc<Job> {
        let key = Key {
            home: request.home.root.clone(),
            models: request.home.models.clone(),
            spec: store::digest(&*request.spec),
            mode: request.mode,
            until: request.until,
        };
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        if !request.background {
            // A job of the same home holds its lock, for which this one would wait.
            let same_home = live.iter().filter(|(other, _)| other.home == key.home);
            same_home.filter_map(|(_, live)| live.job.upgrade()).for_each(|job| job.ctx.standing.lift());
        }
        let number = live.get(&key).map_or(0, |live| live.number + 1);
        if let Some(job) = live.get(&key).and_then(|live| live.job.upgrade()).filter(|job| !job.is_over()) {
            return job;
        }
        let standing = self.foreground.standing(request.background);
        let ctx = Ctx { cancel: self.stop.child_token(), standing, ..Ctx::new() };
        let (sender, result) = watch::channel(None);
        let job = Arc::new(Job { version_id: request.spec.version_id.clone(), ctx: ctx.clone(), result });
        live.insert(key.clone(), Live { number, job: Arc::downgrade(&job) });
        let (sources, live) = (self.sources.clone(), Arc::clone(&self.live));
        self.tasks.spawn(async move {
            let outcome = tokio::select! {
                outcome = realize(&ctx, &sources, &request) => outcome,
                never = ctx.standing.hold() => match never {},
            };
            // Forgotten before it is told: who asks after the end gets a look at the disk of its own.
            let mut live = live.lock().unwrap_or_else(PoisonError::into_inner);
            if live.get(&key).is_some_and(|live| live.number == number) {
                live.remove(&key);
            }
            drop(live);
            sender.send_replace(Some(outcome.map(Arc::new).map_err(Arc::new)));
        });
        job
    }
}

impl Job {
    fn is_over(&self) -> bool {
        self.ctx.cancel.is_cancelled() || self.result.borrow().is_some()
    }
}
