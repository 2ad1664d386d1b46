//! ComfyUI processes: one task for each version's home, which alone starts, watches and stops the
//! process there.
//!
//! ```text
//!            ensure_ready                 answers
//!   Down ────────────────▶ Starting ────────────────▶ Ready
//!    ▲  │ Exited, Failed      │ dies, nobody waits,      │ dies, stop,
//!    │  ▼                     ▼ stop                     ▼ another generation
//!    └──────────────────── Stopping ◀────────────────────┘
//! ```
//!
//! Whether to start, to join a start or to answer at once is decided inside that task (`policy`): a
//! caller that looked at a snapshot and then acted on it would race with all others. Others send a
//! request and read what the task publishes. A start belongs to those who wait for it: when the last
//! of them leaves, it is stopped. A ready process stays until it is stopped or dies; a death is told
//! to all who work with it and never repaired here: the next caller starts it anew.
//!
//! A home runs one generation, with one environment and one set of arguments. Who asks for others ends
//! what runs, with the jobs on it.

mod command;
mod error;
mod gpu;
mod instance;
mod log;
pub mod placement;
mod policy;
mod room;
mod running;
mod turn;
mod usage;

pub use error::SuperviseError;
pub use gpu::{Gpu, Gpus};
pub use log::{NodeImport, node_imports};
pub use room::Limits;
pub(crate) use running::blocking;
pub use turn::Turn;
pub use usage::{Held, Purpose};

use crate::comfy::Comfy;
use crate::ctx::{Ctx, Task};
use crate::process::GRACE;
use crate::store::digest;
use instance::{Published, Request};
use proto::VersionId;
use proto::event::{TaskKind, Unit};
use proto::method::{Device, GpuInfo, InstanceInfo, InstanceState};
use room::Room;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use usage::Usage;

/// Requests that may queue up at one instance; beyond it callers wait.
const QUEUE: usize = 64;

/// What to run.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The version, for people and for the log's place.
    pub version_id: VersionId,
    /// The version's home: input, output, user and temp directory, and the name of the instance.
    /// Always spelt the same for the same home.
    pub home: PathBuf,
    /// Name of the generation.
    pub generation: String,
    /// Its real path, without symbolic links: each of them costs a look-up for every file that Python
    /// opens, on a network volume half of the boot time (measured, 134 s against 266 s).
    pub generation_dir: PathBuf,
    /// An `extra_model_paths.yaml` to load.
    pub extra_model_paths: Option<PathBuf>,
    /// The whole environment of the process.
    pub env: BTreeMap<String, String>,
    /// Arguments that the version asks for.
    pub extra_args: Vec<String>,
    /// Port; a free one when absent.
    pub port: Option<u16>,
    /// Address, or several with commas; loopback when absent.
    pub listen: Option<String>,
    /// What it computes on; the supervisor chooses.
    pub device: Option<Device>,
}

impl Launch {
    /// Returns a digest of what a spec may change without changing the generation.
    fn settings(&self) -> String {
        digest(&(&self.env, &self.extra_args))
    }
}

/// Owner of all instances. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Supervisor {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state_dir: PathBuf,
    /// By home. Entries stay: there are as many as homes were started since the daemon began.
    instances: Mutex<BTreeMap<PathBuf, Handle>>,
    room: Arc<Room>,
    tasks: TaskTracker,
    ending: CancellationToken,
}

#[derive(Debug, Clone)]
struct Handle {
    requests: mpsc::Sender<Request>,
    published: watch::Receiver<Option<Published>>,
    usage: Usage,
}

/// A ComfyUI that answers.
#[derive(Debug, Clone)]
pub struct Ready {
    /// The process.
    pub info: InstanceInfo,
    /// Its API.
    pub comfy: Comfy,
    /// Whether it had to be started, or was starting, when it was asked for.
    pub started: bool,
    /// Milliseconds that the caller waited until there was room for it.
    pub room_ms: u64,
    /// Milliseconds that the caller waited for it after that.
    pub start_ms: u64,
    /// The custom nodes that it looked at when it started.
    pub node_imports: Arc<[NodeImport]>,
    handle: Handle,
    supervisor: Supervisor,
}

/// How a ready instance ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Why, in a few words.
    pub reason: String,
    /// Whether someone asked for it.
    pub asked: bool,
    /// The last lines of its log, if nobody asked for it.
    pub tail: Vec<String>,
}

impl Supervisor {
    /// Returns a supervisor without instances. Logs go to
    /// `<state_dir>/instances/<version>-<digest of home>/comfyui.log`.
    pub fn new(state_dir: PathBuf, gpus: Gpus, limits: Limits) -> Self {
        let (instances, tasks, ending) = (Mutex::default(), TaskTracker::new(), CancellationToken::new());
        let room = Arc::new(Room::new(gpus, limits));
        Self { shared: Arc::new(Shared { state_dir, instances, room, tasks, ending }) }
    }

    /// Waits for the ComfyUI of `launch`: at once when it is ready, joining when it is starting,
    /// starting it otherwise, once there is room for it. Cancelling `ctx` or dropping the future leaves the start to others who
    /// wait for it; without any, it is stopped.
    ///
    /// # Errors
    /// See [`SuperviseError`]. A process that dies is told at once, with the end of its log.
    pub async fn ensure_ready(&self, ctx: &Ctx, mut launch: Launch) -> Result<Ready, SuperviseError> {
        let asked = Instant::now();
        let _admission = self.make_room(ctx, &mut launch).await?;
        let since = Instant::now();
        let version = launch.version_id.to_string();
        let mut handle = self.handle(&launch.home);
        handle.published.mark_unchanged();
        let (reply, mut answer) = oneshot::channel();
        let request = Request::Ensure { launch: Box::new(launch), reply };
        if handle.requests.send(request).await.is_err() {
            return Err(SuperviseError::ShuttingDown);
        }
        let mut shown = None;
        let answer = loop {
            tokio::select! {
                biased;
                answer = &mut answer => break answer,
                () = ctx.cancel.cancelled() => return Err(SuperviseError::Cancelled(version)),
                Ok(()) = handle.published.changed() => {
                    if let Some(published) = handle.published.borrow_and_update().as_ref() {
                        show(ctx, &mut shown, published);
                    }
                }
            }
        };
        // The task is gone, and with it every process it had.
        let answer = answer.map_err(|_| SuperviseError::ShuttingDown)??;
        let ready = Ready {
            info: answer.info,
            comfy: answer.comfy,
            started: answer.waited,
            room_ms: millis(since - asked),
            start_ms: millis(since.elapsed()),
            node_imports: answer.node_imports,
            handle,
            supervisor: self.clone(),
        };
        if let Some(task) = shown {
            task.done(format!("answers at {}", ready.info.url));
        }
        Ok(ready)
    }

    /// Claims the instance of a home, whether it runs or not, until what is returned is dropped: whoever
    /// claims before [`Self::ensure_ready`] finds it ready after. Waits while it is being ended to make
    /// room for others. Cancel-safe.
    pub async fn hold(&self, home: &Path, purpose: Purpose) -> Held {
        self.handle(home).usage.hold(purpose).await
    }

    /// Returns every instance that was started since the daemon began, ended ones too.
    pub fn instances(&self) -> Vec<InstanceInfo> {
        self.lock().values().filter_map(Handle::info).collect()
    }

    /// Returns the instance of a home, if one was started since the daemon began.
    pub fn find(&self, home: &Path) -> Option<InstanceInfo> {
        self.lock().get(home).and_then(Handle::info)
    }

    /// Returns the place of the log of a version's ComfyUI in a home, whether it ran yet or not.
    pub fn log_path(&self, version_id: &VersionId, home: &Path) -> PathBuf {
        log::path(&self.shared.state_dir, version_id, home)
    }

    /// Stops the instance of a home and waits until it is gone; returns whether there was one.
    /// Bounded by [`GRACE`] and a few seconds more.
    pub async fn stop(&self, home: &Path) -> bool {
        let Some(handle) = self.lock().get(home).cloned() else { return false };
        let (reply, answer) = oneshot::channel();
        // Neither fails before the shutdown, which stops it too.
        handle.requests.send(Request::Stop { reply }).await.is_ok() && answer.await.unwrap_or(false)
    }

    /// Stops all instances, side by side, and starts none from now on. Bounded by [`GRACE`] and a few
    /// seconds more.
    pub async fn shutdown(&self) {
        self.shared.ending.cancel();
        self.shared.tasks.close();
        if tokio::time::timeout(GRACE * 2, self.shared.tasks.wait()).await.is_err() {
            tracing::warn!("a ComfyUI process did not end in time; it is left behind");
        }
    }

    fn handle(&self, home: &Path) -> Handle {
        self.lock()
            .entry(home.to_owned())
            .or_insert_with(|| {
                let (requests, received) = mpsc::channel(QUEUE);
                let (publish, published) = watch::channel(None);
                let Shared { state_dir, room, tasks, ending, .. } = &*self.shared;
                tasks.spawn(instance::own(state_dir.clone(), received, publish, ending.clone()));
                Handle { requests, published, usage: Usage::new(room.changed.clone()) }
            })
            .clone()
    }

    /// Returns the GPUs that may be used.
    pub async fn gpus(&self) -> Vec<GpuInfo> {
        let told = |gpu: Gpu| GpuInfo {
            index: gpu.index,
            name: gpu.name,
            total_bytes: gpu.total,
            free_bytes: gpu.free,
        };
        self.shared.room.gpus.look().await.into_iter().map(told).collect()
    }

    fn room(&self) -> &Arc<Room> {
        &self.shared.room
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Handle>> {
        // The map is whole between any two statements: a panic elsewhere cannot have torn it.
        self.shared.instances.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handle {
    fn info(&self) -> Option<InstanceInfo> {
        let info = self.published.borrow().as_ref().map(|published| published.info.clone())?;
        Some(InstanceInfo { leases: self.usage.leases(), workflows: self.usage.workflows(), ..info })
    }
}

impl Ready {
    /// Claims this very process, until what is returned is dropped; none when it is no longer ready.
    pub fn hold(&self, purpose: Purpose) -> Option<Held> {
        // Claimed first: from then on it is not ended to make room.
        let held = self.handle.usage.try_hold(purpose)?;
        self.is_still().then_some(held)
    }

    /// Returns the process as everyone sees it right now.
    pub fn info(&self) -> InstanceInfo {
        self.handle.info().unwrap_or_else(|| self.info.clone())
    }

    fn is_still(&self) -> bool {
        self.handle.published.borrow().as_ref().is_some_and(|now| now.info.state == self.info.state)
    }

    /// Ends this very process, which is of no use any more: all who work with it are told `reason`. Waits
    /// until it is gone.
    pub async fn condemn(&self, reason: impl Into<String>) {
        let (reply, gone) = oneshot::channel();
        let request = Request::Condemn { state: self.info.state.clone(), reason: reason.into(), reply };
        // Neither fails before the shutdown, which ends it too.
        if self.handle.requests.send(request).await.is_ok() {
            gone.await.ok();
        }
    }

    /// Waits until this very process is no longer ready, and tells why. Cancel-safe.
    pub async fn ended(&self) -> Ended {
        let mut published = self.handle.published.clone();
        let gone = |now: &Option<Published>| now.as_ref().is_none_or(|now| now.info.state != self.info.state);
        // An error means that the instance's task is gone: it ends only after the process.
        let last = published.wait_for(gone).await.ok().and_then(|now| (*now).clone());
        match last {
            Some(Published {
                info: InstanceInfo { state: InstanceState::Failed { reason }, .. },
                tail,
                ..
            }) => Ended { reason, asked: false, tail: tail.to_vec() },
            _ => Ended { reason: "it was stopped".to_owned(), asked: true, tail: Vec::new() },
        }
    }
}

/// Shows a start to the one who waits for it.
fn show(ctx: &Ctx, shown: &mut Option<Task>, published: &Published) {
    if !matches!(published.info.state, InstanceState::Starting { .. }) {
        return;
    }
    let task = shown.get_or_insert_with(|| {
        ctx.progress.phase("start");
        ctx.progress.task(TaskKind::Instance, published.info.version_id.as_str(), Unit::Nothing)
    });
    task.detail(published.said.clone());
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
