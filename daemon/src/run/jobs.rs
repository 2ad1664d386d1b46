//! The workflows that were asked for: each is run once, however often it is asked for.
//!
//! A job is a task of its own. Askers hold it and the map of jobs holds it weakly: who asks for a job that
//! is under way joins it, the last one to leave cancels it, and a failure is not remembered. A success is,
//! on disk (`record`). Progress and result travel on watches: a late joiner sees the present, a slow one
//! holds nobody up.

use super::inputs::Inputs;
use super::load::load;
use super::record::Records;
use super::work::{Finished, Work};
use super::{RunError, RunRequest, Start, deliver};
use crate::config::Config;
use crate::ctx::{Ctx, Foreground, blocking, millis};
use crate::source::http::Http;
use crate::store::digest;
use proto::VersionId;
use proto::method::{InputSource, RunAnswer, RunInput, WorkflowInfo, WorkflowState};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How many workflows of a home ComfyUI has at a time: one runs, and one waits so that the GPU never does.
const IN_COMFYUI: usize = 2;

/// How many jobs begin between two sweeps of the records.
const BETWEEN_SWEEPS: u64 = 100;

/// All workflows that wait or run. Cheap to clone.
#[derive(Clone)]
pub struct Workflows {
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    config: Arc<Config>,
    pub(super) http: Http,
    pub(super) records: Records,
    live: Mutex<Live>,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
    foreground: Foreground,
}

#[derive(Default)]
struct Live {
    /// Jobs, by the key of their records.
    jobs: HashMap<String, Weak<Job>>,
    /// Entries stay: there are as many as homes.
    turns: HashMap<PathBuf, Arc<Semaphore>>,
    begun: u64,
}

/// A result as all who asked see it.
type Shown = Result<Arc<Finished>, Arc<RunError>>;

/// A workflow that waits or runs, or whose outputs are being delivered.
struct Job {
    version_id: VersionId,
    name: String,
    home: PathBuf,
    content: String,
    since: Instant,
    ctx: Ctx,
    state: Arc<Mutex<WorkflowState>>,
    result: watch::Receiver<Option<Shown>>,
}

impl Drop for Job {
    fn drop(&mut self) {
        self.ctx.cancel.cancel();
    }
}

impl Workflows {
    /// Returns an empty set of jobs, which count as foreground work. `stop` cancels them all.
    pub fn new(config: Arc<Config>, http: Http, foreground: Foreground, stop: CancellationToken) -> Self {
        let records = Records::new(config.state_dir.join("jobs"));
        let (live, tasks) = (Mutex::default(), TaskTracker::new());
        Self { shared: Arc::new(Shared { config, http, records, live, tasks, stop, foreground }) }
    }

    /// Runs a workflow, joins the job that does, or returns what it put out while that is known; then brings
    /// the outputs where this asker wants them. `start` makes ComfyUI ready, as often as it must be. `ctx`
    /// follows the job's progress; cancelling it, or dropping the future, leaves the job, which ends when
    /// nobody is left.
    ///
    /// # Errors
    /// See [`RunError`]. Those of a job are shared by all who asked for it.
    pub async fn run(
        &self,
        ctx: &Ctx,
        request: RunRequest,
        start: Start,
    ) -> Result<RunAnswer, Arc<RunError>> {
        let shared = &self.shared;
        let mut request = request;
        let graph = tokio::select! {
            () = ctx.cancel.cancelled() => return Err(RunError::Cancelled.into()),
            graph = load(ctx, &shared.http, &request.workflow) => graph?,
        };
        let is_named = request.job_id.is_some();
        let job_id = request.job_id.take().unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        let key = Records::key(&request.home, &job_id);
        let deliver_to = request.deliver.take();
        let work = Work {
            content: content(&graph, &request.inputs),
            inputs: Inputs::new(request.input_dir.clone(), &key, std::mem::take(&mut request.inputs))?,
            key,
            job_id,
            is_named,
            graph,
            request,
            start,
        };
        let job = self.join(work)?;
        let followed = ctx.follow(&job.ctx.progress, job.result.clone()).await;
        let finished = followed.unwrap_or_else(|| Err(RunError::Cancelled.into()))?;
        *lock(&job.state) = WorkflowState::Delivering;
        let answer = finished.answer.clone();
        let delivered = deliver::deliver(ctx, &shared.config.hosts, deliver_to.as_ref(), answer).await;
        Ok(delivered?)
    }

    /// Lists the workflows that wait or run, oldest first.
    pub fn list(&self) -> Vec<WorkflowInfo> {
        let mut jobs: Vec<_> = lock(&self.shared.live).jobs.values().filter_map(Weak::upgrade).collect();
        jobs.sort_by_key(|job| job.since);
        let info = |job: &Arc<Job>| WorkflowInfo {
            job_id: job.name.clone(),
            version_id: job.version_id.clone(),
            state: *lock(&job.state),
            for_ms: millis(job.since.elapsed()),
            waits: job.ctx.progress.waits(),
            work: job.ctx.progress.work(),
        };
        jobs.iter().map(info).collect()
    }

    /// Waits until every job has ended; the stop token must have been cancelled.
    pub async fn ended(&self) {
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    fn join(&self, work: Work) -> Result<Arc<Job>, RunError> {
        let mut live = lock(&self.shared.live);
        live.jobs.retain(|_, job| job.strong_count() > 0);
        if let Some(job) = live.jobs.get(&work.key).and_then(Weak::upgrade).filter(|job| !job.has_failed()) {
            let same = job.content == work.content;
            return if same { Ok(job) } else { Err(RunError::Conflict(work.job_id)) };
        }
        let waiting = live.jobs.values().filter_map(Weak::upgrade);
        let waiting = waiting.filter(|job| job.home == work.request.home && job.waits()).count();
        if waiting >= self.shared.config.max_queue {
            return Err(RunError::Busy(waiting));
        }
        let turns = live.turns.entry(work.request.home.clone());
        let turns = Arc::clone(turns.or_insert_with(|| Arc::new(Semaphore::new(IN_COMFYUI))));
        let (sender, result) = watch::channel(None);
        let job = Arc::new(Job {
            version_id: work.request.version_id.clone(),
            name: work.job_id.clone(),
            home: work.request.home.clone(),
            content: work.content.clone(),
            since: Instant::now(),
            ctx: Ctx { cancel: self.shared.stop.child_token(), ..Ctx::new() },
            state: Arc::new(Mutex::new(WorkflowState::Preparing)),
            result,
        });
        live.jobs.insert(work.key.clone(), Arc::downgrade(&job));
        live.begun += 1;
        let sweeps = live.begun % BETWEEN_SWEEPS == 1;
        drop(live);
        let (shared, ctx, state) = (Arc::clone(&self.shared), job.ctx.clone(), Arc::clone(&job.state));
        let busy = self.shared.foreground.busy();
        self.shared.tasks.spawn(async move {
            let worked = work.run(&ctx, &shared, &turns, |now| *lock(&state) = now).await;
            sender.send_replace(Some(worked.map(Arc::new).map_err(Arc::new)));
            drop(busy);
            if sweeps {
                let live = lock(&shared.live).jobs.keys().cloned().collect();
                blocking(move || shared.records.sweep(&live)).await;
            }
        });
        Ok(job)
    }
}

impl Job {
    fn has_failed(&self) -> bool {
        self.ctx.cancel.is_cancelled() || matches!(*self.result.borrow(), Some(Err(_)))
    }

    fn waits(&self) -> bool {
        matches!(*lock(&self.state), WorkflowState::Preparing | WorkflowState::Queued)
    }
}

/// Returns a digest of what makes a job the same job. Links may be signed anew each time they are told.
fn content(graph: &super::Graph, inputs: &[RunInput]) -> String {
    let source = |input: &RunInput| match &input.source {
        InputSource::Url(url) => url.split(['?', '#']).next().unwrap_or_default().to_owned(),
        InputSource::Path(text) | InputSource::Data(text) => text.clone(),
    };
    let inputs: Vec<_> = inputs.iter().map(|input| (input.name.clone(), source(input))).collect();
    digest(&(graph.prompt(), inputs))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whole between any two statements: a panic elsewhere cannot have torn it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
