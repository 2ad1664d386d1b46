//! What one job does: make ComfyUI ready and bring its inputs, wait for its turn, run, recover, collect.

use super::attempt::{Executed, Prompt, attempt, is_known, let_go, unwanted};
use super::inputs::{self, Inputs};
use super::jobs::Shared;
use super::outputs;
use super::record::Record;
use super::recovery::{self, Ladder, Remedy};
use super::{Graph, RunError, RunRequest, Start, Up};
use crate::ctx::{Ctx, Overdue, blocking, millis};
use crate::store::commit::step;
use crate::supervise::{Held, Ready};
use futures_util::FutureExt as _;
use proto::method::{RunAnswer, Warmth, WorkflowState};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// How long a job waits for those of its version that were asked for before.
const QUEUE_DEADLINE: Duration = Duration::from_secs(24 * 3600);

/// A job that is to be done.
pub(super) struct Work {
    /// Names its record and its inputs.
    pub(super) key: String,
    pub(super) job_id: String,
    /// Whether the asker named it: only then anybody can ask for it again.
    pub(super) is_named: bool,
    /// Digest of the workflow and its inputs.
    pub(super) content: String,
    pub(super) graph: Graph,
    pub(super) inputs: Inputs,
    pub(super) request: RunRequest,
    pub(super) start: Start,
}

/// A job that was done.
#[derive(Debug)]
pub(super) struct Finished {
    /// Without the files' content or links.
    pub(super) answer: RunAnswer,
    /// Keeps the process, and so its temporary files, while outputs are delivered.
    _held: Option<Held>,
}

/// How a job has come along.
struct Course {
    ladder: Ladder,
    recoveries: Vec<String>,
    how: Warmth,
    start_ms: u64,
    queue_ms: u64,
    /// ComfyUI's name for the run under way.
    prompt_id: String,
    is_posted: bool,
}

impl Work {
    /// Does the job. `tell` is told how far it is.
    pub(super) async fn run(
        mut self,
        ctx: &Ctx,
        shared: &Arc<Shared>,
        turns: &Arc<Semaphore>,
        tell: impl Fn(WorkflowState),
    ) -> Result<Finished, RunError> {
        let known = if self.is_named { self.known(shared).await? } else { None };
        let earlier = match known {
            Some(Record { answer: Some(answer), .. }) if are_there(&answer).await => {
                return Ok(Finished { answer, _held: None });
            }
            // What it made is gone: it is made again.
            Some(Record { answer: Some(_), .. }) | None => None,
            Some(posted) => Some(posted.prompt_id),
        };
        let done = self.run_anew(ctx, shared, (turns, &tell), earlier).await;
        let (paths, records, key) = (self.inputs.paths(), shared.records.clone(), self.key.clone());
        let succeeded = done.as_ref().ok().filter(|_| self.is_named);
        let record = succeeded.map(|done| Record::finished(self.content.clone(), done.answer.clone()));
        blocking(move || {
            inputs::remove(&paths);
            match record {
                Some(record) => records.write(&key, &record),
                None => records.remove(&key),
            }
        })
        .await;
        done
    }

    /// Returns what is known of the job from before.
    async fn known(&self, shared: &Shared) -> Result<Option<Record>, RunError> {
        let (records, key) = (shared.records.clone(), self.key.clone());
        let known = blocking(move || records.find(&key)).await;
        match known {
            Some(record) if record.content != self.content => Err(RunError::Conflict(self.job_id.clone())),
            known => Ok(known),
        }
    }

    async fn run_anew(
        &mut self,
        ctx: &Ctx,
        shared: &Arc<Shared>,
        (turns, tell): (&Arc<Semaphore>, &impl Fn(WorkflowState)),
        earlier: Option<String>,
    ) -> Result<Finished, RunError> {
        let mut up = self.up(ctx).await?;
        let mut course = Course::new(&up);
        if let Some(prompt_id) = earlier
            && is_known(&up.ready.comfy, &prompt_id).await?
        {
            (course.prompt_id, course.is_posted) = (prompt_id, true);
        }
        self.graph.rename(&self.inputs.names());
        if !course.is_posted {
            self.inputs.bring(ctx, &shared.http).await?;
        }
        let deadline = self.request.timeout.map(|limit| (Instant::now() + limit, limit));
        let began = Instant::now();
        tell(WorkflowState::Queued);
        let turn = self.turn(ctx, turns, deadline).await?;
        course.queue_ms = millis(began.elapsed());
        tell(WorkflowState::Running);
        ctx.progress.phase("run");
        // It may have ended while others ran, which is no failure of this job.
        if up.ready.ended().now_or_never().is_some() {
            up = self.up(ctx).await?;
        }
        loop {
            let asked = Instant::now();
            let mut gpu = tokio::select! {
                error = unwanted(ctx, deadline) => return Err(error),
                gpu = up.ready.turn(ctx) => Some(gpu?),
            };
            let posted = Instant::now();
            course.queue_ms += millis(posted - asked);
            self.remember(shared, &course).await;
            let prompt = Prompt {
                graph: &self.graph,
                id: &course.prompt_id,
                is_posted: course.is_posted,
                api_key: self.request.api_key.as_ref(),
                deadline,
            };
            let done = match attempt(ctx, &up.ready, prompt).await {
                Ok(executed) => {
                    // Others may compute while this one's outputs are copied.
                    drop(gpu.take());
                    self.answer(ctx, &up.ready, &course, (executed, posted)).await
                }
                Err(error) => Err(error),
            };
            let error = match done {
                Ok(answer) => return Ok(Finished { answer, _held: Some(up.held) }),
                Err(error) => error,
            };
            if matches!(error, RunError::Cancelled | RunError::Timeout(_)) {
                leave(shared, up.ready, course.prompt_id, (turn, gpu, up.held));
                return Err(error);
            }
            drop(gpu);
            self.recover(ctx, &up.ready, &mut course, error).await?;
            up = self.up(ctx).await?;
            course.how = course.how.max(up.how);
        }
    }

    async fn up(&self, ctx: &Ctx) -> Result<Up, RunError> {
        let texts = self.graph.texts_in_order().into_iter().map(str::to_owned).collect();
        (self.start)(ctx.clone(), texts).await.map_err(RunError::Start)
    }

    /// Waits until it is this job's turn, behind those that asked before.
    async fn turn(
        &self,
        ctx: &Ctx,
        turns: &Arc<Semaphore>,
        deadline: Option<(Instant, Duration)>,
    ) -> Result<OwnedSemaphorePermit, RunError> {
        if let Ok(turn) = Arc::clone(turns).try_acquire_owned() {
            return Ok(turn);
        }
        ctx.progress.phase("wait for other workflows");
        let others = format!("other workflows of `{}`", self.request.version_id);
        let mut waiting = ctx.progress.waiting(format!("the turn of `{}`", self.job_id), QUEUE_DEADLINE);
        let turn = tokio::select! {
            error = unwanted(ctx, deadline) => return Err(error),
            turn = waiting.during(&others, Arc::clone(turns).acquire_owned()) => turn,
        };
        // Nobody closes the queue.
        turn.map_err(|Overdue(waited)| RunError::Timeout(waited))?.map_err(|_| RunError::Cancelled)
    }

    /// Writes down what is about to be posted.
    async fn remember(&self, shared: &Shared, course: &Course) {
        let record = Record::posted(self.content.clone(), course.prompt_id.clone(), self.inputs.paths());
        if self.is_named || !record.inputs.is_empty() {
            let (records, key) = (shared.records.clone(), self.key.clone());
            blocking(move || records.write(&key, &record)).await;
        }
    }

    /// Does what may let another run succeed, or gives the failure back.
    async fn recover(
        &self,
        ctx: &Ctx,
        ready: &Ready,
        course: &mut Course,
        error: RunError,
    ) -> Result<(), RunError> {
        let remedy = recovery::symptom(&error).and_then(|symptom| course.ladder.next(symptom));
        let Some(remedy) = remedy else { return Err(error) };
        let told = recovery::sentence(&error, remedy);
        tracing::warn!(version = %ready.info.version_id, job = self.job_id, "{told}");
        ctx.progress.warn(told.clone());
        course.recoveries.push(told);
        match remedy {
            Remedy::Nothing => {}
            // What cannot be asked any more is found dead by the next run.
            Remedy::Free => drop(ready.comfy.free().await),
            Remedy::Restart => ready.condemn(error.to_string()).await,
        }
        (course.prompt_id, course.is_posted) = (new_id(), false);
        Ok(())
    }

    async fn answer(
        &self,
        ctx: &Ctx,
        ready: &Ready,
        course: &Course,
        (executed, posted): (Executed, Instant),
    ) -> Result<RunAnswer, RunError> {
        let took = posted.elapsed();
        let Executed { history, mut warnings } = executed;
        let output_dir = self.request.output_dir.as_deref();
        step("job.answer", "collect the outputs in", &self.request.home)?;
        let outputs = outputs::collect(&ready.comfy, &self.request.home, &history, output_dir).await?;
        if outputs.is_empty() {
            warnings.push("the workflow succeeded and put out nothing".to_owned());
        }
        for warning in &warnings {
            ctx.progress.warn(warning.clone());
        }
        Ok(RunAnswer {
            version_id: ready.info.version_id.clone(),
            job_id: self.job_id.clone(),
            prompt_id: course.prompt_id.clone(),
            outputs,
            cold: course.how > Warmth::Running,
            how: Some(course.how),
            queue_ms: course.queue_ms,
            recoveries: course.recoveries.clone(),
            start_ms: course.start_ms,
            execute_ms: millis(took),
            warnings,
        })
    }
}

impl Course {
    fn new(up: &Up) -> Self {
        Self {
            ladder: Ladder::default(),
            recoveries: Vec::new(),
            how: up.how,
            start_ms: up.ready.start_ms,
            queue_ms: 0,
            prompt_id: new_id(),
            is_posted: false,
        }
    }
}

/// Takes a prompt back behind the asker's back: until ComfyUI has let go of it, it keeps its turns.
fn leave(shared: &Arc<Shared>, ready: Ready, prompt_id: String, kept: impl Send + 'static) {
    let stop = shared.stop.clone();
    shared.tasks.spawn(async move {
        tokio::select! {
            () = let_go(&ready, &prompt_id) => {}
            // The processes end with the daemon.
            () = stop.cancelled() => {}
        }
        drop(kept);
    });
}

/// Tells whether the files of an answer still stand where it says.
async fn are_there(answer: &RunAnswer) -> bool {
    let files = answer.outputs.iter().filter_map(|output| output.file.as_ref());
    let paths: Vec<PathBuf> = files.map(|file| PathBuf::from(&file.path)).collect();
    blocking(move || paths.iter().all(|path| path.is_file())).await
}

fn new_id() -> String {
    uuid::Uuid::new_v4().to_string()
}
