//! The task that owns one home's process. It takes requests one at a time and is the only one that
//! changes the state (`state`); everyone else reads what it publishes. How a process ends is in `ending`.

use super::error::SuperviseError;
use super::health::{Patience, Verdict};
use super::look::{self, LONGEST_LOOK, Pending, Seen};
use super::policy::{self, Action, Death, Demand, MayStart, Now};
use super::ready::Ended;
use super::running::{Answer, Running, spawn};
use super::state::{Cause, Loaded, Published, Serving, Starting, State};
use super::usage::Usage;
use super::zygote::Zygotes;
use super::{Gpus, Launch, Places};
use crate::boot::Touched;
use crate::ctx::{Stopwatch, blocking, millis};
use proto::method::InstanceState;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

/// Pauses between looks at a loading process: short at first, for versions that are quick.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_millis(250);

pub(super) type Reply = oneshot::Sender<Result<Answer, SuperviseError>>;

/// What others may ask of the task.
#[derive(Debug)]
pub(super) enum Request {
    /// Make it ready. The asker leaves by dropping the receiver.
    Ensure { launch: Box<Launch>, reply: Reply },
    /// End the process that is ready this time, for it is of no use any more.
    Condemn { serving: u64, reason: String, reply: oneshot::Sender<()> },
    /// Stop it; answered with whether something ran.
    Stop { reply: oneshot::Sender<bool> },
}

/// What all owners share.
#[derive(Debug, Clone)]
pub(super) struct Others {
    pub(super) places: Places,
    pub(super) patience: Patience,
    pub(super) gpus: Gpus,
    pub(super) zygotes: Arc<Zygotes>,
    /// Homes whose process has ended.
    pub(super) ends: mpsc::Sender<PathBuf>,
}

/// One home's process, and what is remembered of those before it.
pub(super) struct Owner {
    pub(super) others: Others,
    pub(super) publish: watch::Sender<Option<Published>>,
    pub(super) usage: Usage,
    pub(super) state: State,
    look: Pending,
    /// How it was asked for last; none while only an earlier daemon was asked.
    pub(super) launch: Option<Box<Launch>>,
    /// Deaths of what was asked for last, the earliest first.
    pub(super) deaths: Vec<Death>,
    /// How the last process ended that was not asked to, with the end of its log; none after an orderly end.
    pub(super) last_death: Option<(String, Vec<String>)>,
    /// The GPU and the id of the process that ended last: its memory comes back a moment later.
    pub(super) left: Option<(u32, u32)>,
    pub(super) restarts: u32,
    /// How what was forked died, until it is known whether a plain start does better.
    pub(super) doubt: Option<String>,
    /// How often what was forked died young.
    pub(super) young_deaths: u32,
    pub(super) serving: u64,
    began: Instant,
}

impl Owner {
    pub(super) fn new(others: Others, publish: watch::Sender<Option<Published>>, usage: Usage) -> Self {
        Self {
            others,
            publish,
            usage,
            state: State::Down,
            look: look::nothing(),
            launch: None,
            deaths: Vec::new(),
            last_death: None,
            left: None,
            restarts: 0,
            doubt: None,
            young_deaths: 0,
            serving: 0,
            began: Instant::now(),
        }
    }

    /// Begins with an adopted process, which is ready if its log was read. Blocks for a moment.
    pub(super) fn with(mut self, running: Running, loaded: Option<Loaded>) -> Self {
        match loaded {
            Some(loaded) => {
                let start_ms = running.record.start_ms.unwrap_or_default();
                self.serve(Serving::new(running, start_ms, loaded));
            }
            None => self.load(running, Vec::new(), 0, true),
        }
        self
    }

    /// Runs until `ending` is cancelled or nobody can send requests any more.
    pub(super) async fn run(mut self, mut requests: mpsc::Receiver<Request>, ending: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = ending.cancelled() => break,
                request = requests.recv() => match request {
                    Some(request) => self.answer(request).await,
                    None => break,
                },
                (status, cause) = self.state.death() => self.has_died(status, cause).await,
                seen = &mut self.look => self.has_seen(seen).await,
            }
        }
        self.bring_down().await;
    }

    async fn answer(&mut self, request: Request) {
        match request {
            Request::Ensure { launch, reply } => self.ensure(launch, reply).await,
            Request::Condemn { serving, reason, reply } => {
                if serving == self.serving && matches!(self.state, State::Ready(_)) {
                    self.has_died(reason, Cause::Condemned).await;
                }
                reply.send(()).ok();
            }
            Request::Stop { reply } => {
                self.forget_deaths();
                // Who asked may have left; it is stopped all the same.
                reply.send(self.bring_down().await).ok();
            }
        }
    }

    async fn ensure(&mut self, launch: Box<Launch>, reply: Reply) {
        let now = match &self.state {
            State::Down | State::Paused { .. } => Now::Down,
            State::Starting(starting) => Now::Starting(&starting.running.record.identity),
            State::Ready(serving) => Now::Ready(&serving.running.record.identity),
        };
        let demand = Demand {
            generation: &launch.generation,
            settings: &launch.settings(),
            listen: launch.listen.as_deref(),
            port: launch.port,
        };
        match (policy::decide(now, demand), &mut self.state) {
            (Action::Refuse(address), _) => {
                let version = launch.version_id.to_string();
                reply.send(Err(SuperviseError::ElsewhereAlready { version, address })).ok();
            }
            (Action::Join, State::Starting(starting)) => {
                starting.waiting.push(reply);
                self.launch.get_or_insert(launch);
            }
            (Action::Answer, State::Ready(serving)) => {
                reply.send(Ok(serving.answer(false, self.serving))).ok();
                self.launch.get_or_insert(launch);
            }
            (_, State::Paused { waiting, .. }) if is_same(self.launch.as_deref(), &launch) => {
                waiting.push(reply);
                self.launch = Some(launch);
            }
            // What runs is not what is wanted, if anything runs.
            _ => {
                self.bring_down().await;
                if !is_same(self.launch.as_deref(), &launch) {
                    self.forget_deaths();
                }
                self.launch = Some(launch);
                self.begin(vec![reply]).await;
            }
        }
    }

    /// Starts what was asked for last, now or after a pause, unless it keeps dying.
    pub(super) async fn begin(&mut self, waiting: Vec<Reply>) {
        let now = self.clock();
        match policy::may_start(&self.deaths, now, self.others.patience.pause) {
            MayStart::Now => self.start(waiting, 1).await,
            MayStart::After(pause) => {
                let status = self.last_death.as_ref().map_or("", |(status, _)| status);
                let said = format!("it died ({status}) and is started again in a moment");
                self.say(&said);
                self.enter(State::Paused { until: Instant::now() + pause, waiting });
            }
            MayStart::Not { until, deaths } => self.refuse(waiting, deaths, until.saturating_sub(now)),
        }
    }

    /// Starts what was asked for last.
    pub(super) async fn start(&mut self, waiting: Vec<Reply>, starts: u32) {
        let Some(launch) = self.launch.clone() else { return };
        if let Some((gpu, pid)) = self.left.take() {
            self.others.gpus.settled(gpu, pid).await;
        }
        let port = self.publish.borrow().as_ref().and_then(|published| port_of(&published.info.url));
        // After a lost race for a port another one is taken.
        let same_port = port.filter(|_| starts == 1);
        match spawn(&self.others, launch, same_port).await {
            Ok(running) => {
                if self.last_death.is_some() && starts == 1 {
                    self.restarts += 1;
                }
                let running = Running { restarts: self.restarts, ..running };
                self.load(running, waiting, starts, false);
            }
            Err(error) => {
                tracing::warn!(%error, "ComfyUI was not started");
                if self.last_death.is_some() {
                    self.publish_again(InstanceState::Failed { reason: error.to_string() }, String::new());
                }
                tell(waiting, &error);
            }
        }
    }

    /// Takes a process that loads as its own.
    fn load(&mut self, running: Running, waiting: Vec<Reply>, starts: u32, stays: bool) {
        let (since, lived) = (Instant::now(), Stopwatch::with_looks_within(LONGEST_LOOK));
        let starting = Starting { running, since, lived, pause: FIRST_PAUSE, starts, waiting, stays };
        self.publish(&starting.running, starting.state());
        self.enter(State::Starting(Box::new(starting)));
    }

    /// Takes a process that answers as its own.
    fn serve(&mut self, serving: Serving) {
        self.serving += 1;
        self.publish(&serving.running, serving.state());
        self.enter(State::Ready(Box::new(serving)));
    }

    async fn has_seen(&mut self, seen: Seen) {
        match (seen, &mut self.state) {
            (Seen::Due, State::Paused { waiting, .. }) => {
                waiting.retain(|reply| !reply.is_closed());
                let waiting = std::mem::take(waiting);
                let wanted = !waiting.is_empty() || self.usage.is_held();
                self.enter(State::Down);
                if wanted {
                    self.start(waiting, 1).await;
                } else {
                    self.say("");
                }
            }
            (Seen::Loads(said), State::Starting(starting)) => {
                starting.pause = (starting.pause * 2).min(LAST_PAUSE);
                starting.waiting.retain(|reply| !reply.is_closed());
                let wanted = starting.stays || !starting.waiting.is_empty() || self.usage.is_held();
                let patience = self.others.patience.loading.min(starting.running.patience);
                let (late, state) = (starting.lived.look() > patience, starting.state());
                self.publish_again(state, said);
                if !wanted {
                    self.bring_down().await;
                } else if late {
                    self.give_up().await;
                } else {
                    self.look_again();
                }
            }
            (Seen::Answers, State::Starting(_)) => self.has_become_ready().await,
            (Seen::Works(facts), State::Ready(serving)) => {
                match serving.watch.judge(&facts, &self.others.patience) {
                    Verdict::Well => self.look_again(),
                    Verdict::Restarts => self.restarts_itself().await,
                    Verdict::Useless(reason) => self.has_died(reason.to_owned(), Cause::Itself).await,
                }
            }
            // A look at another state than the present one: there is none, since each has its own.
            _ => self.look_again(),
        }
    }

    async fn has_become_ready(&mut self) {
        let State::Starting(starting) = self.leave() else { return };
        let Starting { mut running, waiting, since, .. } = *starting;
        let start_ms = millis(since.elapsed());
        running.record.start_ms = Some(start_ms);
        running.write_record().await;
        let (log, from) = (running.log.clone(), running.log_start);
        let loaded = blocking(move || Loaded::read(&log, from)).await;
        let (version, url) = (&running.record.version_id, &running.record.url);
        tracing::info!(%version, url, start_ms, "ComfyUI is ready");
        // Now: who is answered may end the process at once.
        let recording = match (running.recording.take(), running.process.pid()) {
            (Some(recording), pid) => Some((recording, blocking(move || Touched::by(pid)).await)),
            (None, _) => None,
        };
        let note = self.doubt_is_over().await;
        let serving = Serving::new(running, start_ms, loaded);
        let answer = |_: &Reply| Answer { note: note.clone(), ..serving.answer(true, self.serving + 1) };
        let answers: Vec<_> = waiting.iter().map(answer).collect();
        // Published first: who is answered may look at once.
        self.serve(serving);
        for (reply, answer) in waiting.into_iter().zip(answers) {
            reply.send(Ok(answer)).ok();
        }
        if let (Some((recording, touched)), Some(launch)) = (recording, self.launch.clone()) {
            Running::keep_start(recording, launch, touched, start_ms);
        }
    }

    /// Takes note that the process has become another program, as ComfyUI-Manager's button does
    /// (`os.execv`): what was on it is gone, and it loads.
    async fn restarts_itself(&mut self) {
        let State::Ready(serving) = self.leave() else { return };
        let Serving { mut running, watch, .. } = *serving;
        tracing::info!(version = %running.record.version_id, "ComfyUI restarts itself");
        running.log_start = watch.log_end();
        running.record.start_ms = None;
        // What it is now was executed.
        (running.record.forked, running.patience) = (false, Duration::MAX);
        running.write_record().await;
        self.end_serving(Ended::by_itself("ComfyUI restarted itself", Vec::new()));
        self.load(running, Vec::new(), 0, true);
    }

    /// Returns the state and leaves nothing in its place.
    pub(super) fn leave(&mut self) -> State {
        self.look = look::nothing();
        std::mem::replace(&mut self.state, State::Down)
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.look_again();
    }

    fn look_again(&mut self) {
        self.look = match &self.state {
            State::Down => look::nothing(),
            State::Paused { until, .. } => look::pause(until.saturating_duration_since(Instant::now())),
            State::Starting(starting) => look::at_start(&starting.running, starting.pause),
            State::Ready(serving) => serving.watch.look(&self.others.patience),
        };
    }

    /// Returns the time on the clock of [`Death`].
    pub(super) fn clock(&self) -> Duration {
        self.began.elapsed()
    }
}

/// Tells whether two launches start the same: what is remembered of one holds for the other.
fn is_same(last: Option<&Launch>, launch: &Launch) -> bool {
    last.is_some_and(|last| last.generation == launch.generation && last.settings() == launch.settings())
}

fn port_of(url: &str) -> Option<u16> {
    url.rsplit_once(':')?.1.parse().ok()
}

pub(super) fn tell(waiting: Vec<Reply>, error: &SuperviseError) {
    for reply in waiting {
        // Who has left needs no answer.
        reply.send(Err(error.clone())).ok();
    }
}
