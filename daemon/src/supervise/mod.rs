//! ComfyUI processes: one task for each version's home, which alone starts, watches and stops the
//! process there.
//!
//! ```text
//!            ensure_ready                 answers
//!   Down ────────────────▶ Starting ────────────────▶ Ready
//!    ▲ │ Exited, Failed   ▲  │ dies, nobody waits,   │   │ dies, stop,
//!    │ ▼                  │  ▼ stop                  │   ▼ another generation
//!    └──── Paused ────────┴───────────── Stopping ◀──│────┘
//!          (backoff)      └──────────────────────────┘ restarts itself (`os.execv`)
//! ```
//!
//! Whether to start, to join a start or to answer at once is decided inside that task (`policy`): a
//! caller that looked at a snapshot and then acted on it would race with all others. Others send a
//! request and read what the task publishes. A start belongs to those who wait for it: when the last
//! of them leaves, it is stopped. A ready process stays until it is stopped or dies.
//!
//! That a ready process still gets anywhere is judged from looks at it (`look`, `health`). A death is told to
//! all who work with it. If someone holds the instance (`usage`), it is started again, on the same port where
//! that is free; else the next caller starts it. What dies again and again is started after longer and
//! longer pauses, and then not any more for a while (`policy::may_start`).
//!
//! A home runs one generation, with one environment and one set of arguments. Who asks for others ends
//! what runs, with the jobs on it.
//!
//! A start is forked from a `zygote` where one waits for it, and is told from a plain one by nobody. Where that goes
//! wrong it is made plainly (`doubt`).
//!
//! A daemon that is killed leaves its processes running, each with a `record`; the next daemon adopts them
//! (`adopt`) before it serves. An orderly stop ends them.

mod adopt;
mod command;
mod doubt;
mod ending;
mod error;
mod gpu;
mod health;
mod instance;
mod log;
mod look;
mod picture;
pub mod placement;
mod policy;
mod ready;
mod record;
mod room;
mod running;
mod state;
mod turn;
mod usage;
mod zygote;

pub use error::SuperviseError;
pub use gpu::{Driver, Gpu, Gpus};
pub use health::Patience;
pub use log::{NodeImport, node_imports};
pub use ready::{Ended, Ready};
pub use room::Limits;
pub use turn::Turn;
pub use usage::{Held, Purpose};
pub use zygote::{Primed, ZygoteInfo};

use crate::boot::{Boot, StartRecord};
use crate::ctx::{Ctx, Task};
use crate::process::GRACE;
use crate::store::digest;
use instance::{Others, Owner, Request};
use proto::VersionId;
use proto::event::{TaskKind, Unit};
use proto::method::{Device, InstanceInfo, InstanceState};
use room::Room;
use state::Published;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use usage::Usage;
use zygote::Zygotes;

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
    /// The generation that a rollback left for it, for people.
    pub rolled_back_from: Option<String>,
    /// Its real path, without symbolic links: each of them costs a look-up for every file that Python
    /// opens, on a network volume half of the boot time (measured, 134 s against 266 s).
    pub generation_dir: PathBuf,
    /// An `extra_model_paths.yaml` to load.
    pub extra_model_paths: Option<PathBuf>,
    /// The environment that it inherits.
    pub inherited: BTreeMap<String, String>,
    /// What the version and its spec set on top of it.
    pub env: BTreeMap<String, String>,
    /// Arguments that the version asks for.
    pub extra_args: Vec<String>,
    /// Models that it is started for, in the order of use: where their volume is far away they are read meanwhile.
    pub models: Vec<PathBuf>,
    /// Port; a free one when absent.
    pub port: Option<u16>,
    /// Address, or several with commas; loopback when absent.
    pub listen: Option<String>,
    /// What it computes on; the supervisor chooses.
    pub device: Option<Device>,
}

impl Launch {
    /// Returns a digest of what a spec may change without changing the generation. What is inherited does
    /// not count: it is one for the life of a daemon, and a daemon that was started from another shell than
    /// the one before it is no reason to end what runs.
    fn settings(&self) -> String {
        digest(&(&self.env, &self.extra_args))
    }

    /// Returns a digest of what may change how a start of the generation goes. Where the volume is mounted does
    /// not count, for it has two mount points.
    fn start_settings(&self) -> String {
        let places = [
            self.generation_dir.display().to_string(),
            self.home.display().to_string(),
            self.env.get("MODELS_DIR").cloned().unwrap_or_default(),
        ];
        let plain = |value: &String| {
            let places = places.iter().filter(|place| !place.is_empty());
            places.fold(value.clone(), |value, place| value.replace(place.as_str(), "*"))
        };
        let env: Vec<_> = self.env.iter().map(|(name, value)| (name, plain(value))).collect();
        digest(&(env, &self.extra_args))
    }

    /// Returns the record of a start of the generation with these settings, if there is one. Blocks.
    fn start_record(&self) -> Option<StartRecord> {
        let record = StartRecord::read(&self.generation_dir)?;
        (record.settings == self.start_settings()).then_some(record)
    }
}

/// Owner of all instances. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Supervisor {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    places: Places,
    patience: Patience,
    /// By home. Entries stay: there are as many as homes were started since the daemon began.
    instances: Mutex<BTreeMap<PathBuf, Handle>>,
    room: Arc<Room>,
    zygotes: Arc<Zygotes>,
    tasks: TaskTracker,
    ending: CancellationToken,
    ends: (mpsc::Sender<PathBuf>, Mutex<Option<mpsc::Receiver<PathBuf>>>),
}

#[derive(Debug, Clone)]
struct Handle {
    requests: mpsc::Sender<Request>,
    published: watch::Receiver<Option<Published>>,
    usage: Usage,
}

/// Where things are.
#[derive(Debug, Clone)]
pub struct Places {
    /// The daemon's directory for its state: logs and records lie in
    /// `<state_dir>/instances/<version>-<digest of home>/`.
    pub state_dir: PathBuf,
    /// The daemon's socket.
    pub socket: PathBuf,
    /// From where starts are quick.
    pub boot: Boot,
}

impl Supervisor {
    /// Returns a supervisor without instances, of the daemon that has these places.
    pub fn new(places: Places, gpus: Gpus, limits: Limits, patience: Patience) -> Self {
        let (instances, tasks, ending) = (Mutex::default(), TaskTracker::new(), CancellationToken::new());
        let room = Arc::new(Room::new(gpus, limits));
        let (sender, receiver) = mpsc::channel(QUEUE);
        let ends = (sender, Mutex::new(Some(receiver)));
        let zygotes = Arc::default();
        Self { shared: Arc::new(Shared { places, patience, instances, room, zygotes, tasks, ending, ends }) }
    }

    /// Waits for the ComfyUI of `launch`: at once when it is ready, joining when it is starting,
    /// starting it otherwise, once there is room for it. Cancelling `ctx` or dropping the future leaves the
    /// start to others who wait for it; without any, it is stopped.
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
        if let Some(note) = &answer.note {
            ctx.progress.note(note.clone());
        }
        let waited = (since - asked, since.elapsed());
        let ready = Ready::new(answer, waited, handle, self.clone());
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
        log::path(&self.shared.places.state_dir, version_id, home)
    }

    /// Stops the instance of a home and waits until it is gone; returns whether there was one. Its deaths are
    /// forgotten. Bounded by [`GRACE`] and a few seconds more.
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

    /// Returns what tells each home whose process has ended; nothing to the second who asks.
    pub fn ends(&self) -> Option<mpsc::Receiver<PathBuf>> {
        self.shared.ends.1.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn handle(&self, home: &Path) -> Handle {
        self.lock().entry(home.to_owned()).or_insert_with(|| self.own(|owner| owner)).clone()
    }

    /// Starts the task that owns a home's process.
    fn own(&self, begin: impl FnOnce(Owner) -> Owner) -> Handle {
        let (requests, received) = mpsc::channel(QUEUE);
        let (publish, published) = watch::channel(None);
        let Shared { places, patience, room, tasks, ending, .. } = &*self.shared;
        let usage = Usage::new(room.changed.clone());
        let others = Others {
            places: places.clone(),
            patience: *patience,
            gpus: room.gpus.clone(),
            zygotes: Arc::clone(&self.shared.zygotes),
            ends: self.shared.ends.0.clone(),
        };
        let owner = begin(Owner::new(others, publish, usage.clone()));
        tasks.spawn(owner.run(received, ending.clone()));
        Handle { requests, published, usage }
    }

    /// Asks what programs can do with the GPUs. None where there is no driver that answers.
    pub async fn driver(&self) -> Option<Driver> {
        self.shared.room.gpus.driver().await
    }

    /// Tells whether there is a GPU of which no driver tells. Blocks, shortly.
    pub fn other_gpus_exist(&self) -> bool {
        self.shared.room.gpus.others_exist()
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

/// Shows a start, or the pause before it, to the one who waits for it.
fn show(ctx: &Ctx, shown: &mut Option<Task>, published: &Published) {
    let paused = matches!(published.info.state, InstanceState::Failed { .. }) && !published.said.is_empty();
    if !paused && !matches!(published.info.state, InstanceState::Starting { .. }) {
        return;
    }
    let task = shown.get_or_insert_with(|| {
        ctx.progress.phase("start");
        ctx.progress.task(TaskKind::Instance, published.info.version_id.as_str(), Unit::Nothing)
    });
    if paused {
        task.waiting(published.said.clone());
    } else {
        task.detail(published.said.clone());
    }
}
