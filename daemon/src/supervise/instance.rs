//! The task that owns one home's process. It takes requests one at a time and is the only one that
//! changes the state; everyone else reads what it publishes.

use super::error::SuperviseError;
use super::log::{self, NodeImport};
use super::policy::{self, Action, Demand, Now};
use super::running::{Answer, Running, blocking, spawn};
use super::{Launch, millis};
use crate::process::GRACE;
use proto::method::{InstanceInfo, InstanceState};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

/// How long ComfyUI may load. Generous: from a cold network volume it takes many minutes, and a
/// process that dies is noticed without it.
const LOADING: Duration = Duration::from_secs(20 * 60);

/// Pauses between looks at a loading process: short at first, for versions that are quick.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_millis(250);

/// Pause between looks at the log of a ready process.
const WATCH_PAUSE: Duration = Duration::from_secs(1);

/// Lines of the log that explain a death.
const TAIL_LINES: usize = 40;

type Reply = oneshot::Sender<Result<Answer, SuperviseError>>;

/// What others may ask of the task.
#[derive(Debug)]
pub(super) enum Request {
    /// Make it ready. The asker leaves by dropping the receiver.
    Ensure { launch: Box<Launch>, reply: Reply },
    /// End the process that was in this state, for it is of no use any more.
    Condemn { state: InstanceState, reason: String, reply: oneshot::Sender<()> },
    /// Stop it; answered with whether something ran.
    Stop { reply: oneshot::Sender<bool> },
}

/// What everyone may see.
#[derive(Debug, Clone)]
pub(super) struct Published {
    pub(super) info: InstanceInfo,
    /// The last line of its log while it starts.
    pub(super) said: String,
    /// The end of its log when it has failed.
    pub(super) tail: Arc<[String]>,
}

enum State {
    Down,
    Starting { running: Running, since: Instant, pause: Duration, starts: u32, waiting: Vec<Reply> },
    Ready { running: Running, start_ms: u64, node_imports: Arc<[NodeImport]>, log_end: u64 },
}

/// What a look at the process brought.
enum Seen {
    /// Nothing new.
    Alive,
    /// It answers its first request.
    Answers,
    /// It is gone, or of no use any more.
    Dead(String),
}

struct Owner {
    state_dir: PathBuf,
    publish: watch::Sender<Option<Published>>,
    state: State,
}

/// Runs the task until `ending` is cancelled or nobody can send requests any more.
pub(super) async fn own(
    state_dir: PathBuf,
    mut requests: mpsc::Receiver<Request>,
    publish: watch::Sender<Option<Published>>,
    ending: CancellationToken,
) {
    let mut owner = Owner { state_dir, publish, state: State::Down };
    loop {
        tokio::select! {
            biased;
            () = ending.cancelled() => break,
            request = requests.recv() => match request {
                Some(Request::Ensure { launch, reply }) => owner.ensure(launch, reply).await,
                Some(Request::Condemn { state, reason, reply }) => {
                    if owner.is_in(&state) {
                        owner.has_died(reason).await;
                    }
                    reply.send(()).ok();
                }
                Some(Request::Stop { reply }) => {
                    // Who asked may have left; it is stopped all the same.
                    reply.send(owner.bring_down().await).ok();
                }
                None => break,
            },
            seen = owner.state.look() => match seen {
                Seen::Alive => owner.still_alive().await,
                Seen::Answers => owner.has_become_ready().await,
                Seen::Dead(status) => owner.has_died(status).await,
            },
        }
    }
    owner.bring_down().await;
}

impl State {
    /// Waits a moment and looks at the process; for ever when there is none. Cancel-safe.
    async fn look(&mut self) -> Seen {
        let (process, pause, starting) = match self {
            Self::Down => std::future::pending().await,
            Self::Starting { running, pause, .. } => (&mut running.process, *pause, Some(&running.comfy)),
            Self::Ready { running, .. } => (&mut running.process, WATCH_PAUSE, None),
        };
        let probe = async {
            tokio::time::sleep(pause).await;
            match starting {
                Some(comfy) => comfy.is_ready().await,
                None => false,
            }
        };
        tokio::select! {
            biased;
            status = process.wait() => Seen::Dead(match status {
                Ok(status) if status.success() => "it ended by itself, with exit status 0".to_owned(),
                Ok(status) => status.to_string(),
                Err(error) => error.to_string(),
            }),
            answers = probe => if answers { Seen::Answers } else { Seen::Alive },
        }
    }
}

impl Owner {
    fn is_in(&self, state: &InstanceState) -> bool {
        self.publish.borrow().as_ref().is_some_and(|published| published.info.state == *state)
    }

    async fn ensure(&mut self, launch: Box<Launch>, reply: Reply) {
        let now = match &self.state {
            State::Down => Now::Down,
            State::Starting { running, .. } => Now::Starting(&running.identity),
            State::Ready { running, .. } => Now::Ready(&running.identity),
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
            (Action::Join, State::Starting { waiting, .. }) => waiting.push(reply),
            (Action::Answer, State::Ready { running, start_ms, node_imports, .. }) => {
                reply.send(Ok(running.answer(*start_ms, false, node_imports))).ok();
            }
            // What runs is not what is wanted, if anything runs.
            _ => {
                self.bring_down().await;
                self.start(launch, vec![reply], 1).await;
            }
        }
    }

    async fn start(&mut self, launch: Box<Launch>, waiting: Vec<Reply>, starts: u32) {
        match spawn(&self.state_dir, launch).await {
            Ok(running) => {
                let since = Instant::now();
                self.publish(&running, running.starting(since), String::new());
                self.state = State::Starting { running, since, pause: FIRST_PAUSE, starts, waiting };
            }
            Err(error) => tell(waiting, &error),
        }
    }

    async fn still_alive(&mut self) {
        match &mut self.state {
            State::Down => {}
            State::Starting { running, since, pause, waiting, .. } => {
                *pause = (*pause * 2).min(LAST_PAUSE);
                waiting.retain(|reply| !reply.is_closed());
                let (nobody, late) = (waiting.is_empty(), since.elapsed() > LOADING);
                let (state, path) = (running.starting(*since), running.log.clone());
                let said = blocking(move || log::tail(&path, 1)).await.pop().unwrap_or_default();
                self.publish_again(state, said);
                if nobody {
                    self.bring_down().await;
                } else if late {
                    self.give_up().await;
                }
            }
            State::Ready { running, log_end, .. } => {
                let (path, from) = (running.log.clone(), *log_end);
                let (text, end) = blocking(move || {
                    log::bound(&path).ok();
                    log::read_from(&path, from)
                })
                .await;
                *log_end = end;
                if policy::worker_died(&text) {
                    self.has_died("its worker thread died, it would execute nothing any more".to_owned())
                        .await;
                }
            }
        }
    }

    async fn has_become_ready(&mut self) {
        let State::Starting { running, since, waiting, .. } = std::mem::replace(&mut self.state, State::Down)
        else {
            return;
        };
        let start_ms = millis(since.elapsed());
        let path = running.log.clone();
        let (text, log_end) = blocking(move || log::read_from(&path, 0)).await;
        let node_imports = log::node_imports(&text).into();
        tracing::info!(version = %running.launch.version_id, url = running.url, start_ms, "ComfyUI is ready");
        // Published first: who is answered may look at once.
        self.publish(&running, running.ready(start_ms), String::new());
        for reply in waiting {
            reply.send(Ok(running.answer(start_ms, true, &node_imports))).ok();
        }
        self.state = State::Ready { running, start_ms, node_imports, log_end };
    }

    /// Takes note of a death, or ends a process that is of no use any more.
    async fn has_died(&mut self, status: String) {
        let (running, waiting, starts) = match std::mem::replace(&mut self.state, State::Down) {
            State::Down => return,
            State::Starting { running, waiting, starts, .. } => (running, waiting, starts),
            State::Ready { running, .. } => (running, Vec::new(), 0),
        };
        let path = running.log.clone();
        let tail = blocking(move || log::tail(&path, TAIL_LINES)).await;
        let Running { process, launch, .. } = running;
        // Also when it is dead already: what it started must not keep its port or its memory.
        process.stop(GRACE).await;
        if starts > 0 && policy::start_again(&tail, launch.port.is_some(), starts) {
            return self.start(launch, waiting, starts + 1).await;
        }
        tracing::warn!(version = %launch.version_id, status, "ComfyUI died");
        self.publish_failure(&status, tail.clone());
        tell(waiting, &SuperviseError::Died { version: launch.version_id.to_string(), status, tail });
    }

    async fn give_up(&mut self) {
        let State::Starting { running, waiting, .. } = std::mem::replace(&mut self.state, State::Down) else {
            return;
        };
        let path = running.log.clone();
        let tail = blocking(move || log::tail(&path, TAIL_LINES)).await;
        running.process.stop(GRACE).await;
        self.publish_failure("it did not answer in time", tail.clone());
        let version = running.launch.version_id.to_string();
        tell(waiting, &SuperviseError::NeverReady { version, after: LOADING, tail });
    }

    /// Stops what runs and waits until it is gone; returns whether something ran.
    async fn bring_down(&mut self) -> bool {
        let (running, waiting) = match std::mem::replace(&mut self.state, State::Down) {
            State::Down => return false,
            State::Starting { running, waiting, .. } => (running, waiting),
            State::Ready { running, .. } => (running, Vec::new()),
        };
        self.publish_again(InstanceState::Stopping { pid: running.process.pid() }, String::new());
        running.process.stop(GRACE).await;
        self.publish_again(InstanceState::Exited, String::new());
        tell(waiting, &SuperviseError::Stopped(running.launch.version_id.to_string()));
        true
    }

    fn publish(&self, running: &Running, state: InstanceState, said: String) {
        let published = Published { info: running.info(state), said, tail: Arc::default() };
        self.publish.send_replace(Some(published));
    }

    fn publish_again(&self, state: InstanceState, said: String) {
        self.publish.send_modify(|published| {
            if let Some(published) = published {
                (published.info.state, published.said) = (state, said);
            }
        });
    }

    fn publish_failure(&self, reason: &str, tail: Vec<String>) {
        self.publish.send_modify(|published| {
            if let Some(published) = published {
                published.info.state = InstanceState::Failed { reason: reason.to_owned() };
                published.tail = tail.into();
            }
        });
    }
}

fn tell(waiting: Vec<Reply>, error: &SuperviseError) {
    for reply in waiting {
        // Who has left needs no answer.
        reply.send(Err(error.clone())).ok();
    }
}
