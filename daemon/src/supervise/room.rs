//! Making room: takes a picture of the machine, lets `placement` decide, does the next step, and looks again.
//!
//! Starts are admitted one after another, in the order in which they were asked for: whoever waits for room is
//! not overtaken. What is admitted counts from then on, before its process runs.

use super::gpu::Gpus;
use super::picture::{is_up, pid};
use super::placement::{Asked, Picture, Step, place};
use super::{Launch, SuperviseError, Supervisor};
use crate::comfy::{Comfy, ComfyError};
use crate::ctx::{Ctx, Overdue};
use proto::VersionId;
use proto::method::{Device, InstanceInfo};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// How often it is looked again while waiting for what nobody tells: prompts of people, memory of other programs.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// What may run at the same time.
#[derive(Debug, Clone)]
pub struct Limits {
    /// `COMFYD_MAX_INSTANCES`: ComfyUI processes.
    pub max_instances: Option<usize>,
    /// `COMFYD_GPU_RESERVE`: what must be free on a GPU beyond what is known to be needed, in bytes.
    pub reserve: u64,
    /// `COMFYD_PINNED`: versions that are to stay as long as possible.
    pub pinned: BTreeSet<VersionId>,
    /// How long a start waits for room.
    pub patience: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_instances: None,
            reserve: 1 << 30,
            pinned: BTreeSet::new(),
            patience: Duration::from_secs(10 * 60),
        }
    }
}

/// What is scarce, and who has it.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) gpus: Gpus,
    pub(super) limits: Limits,
    /// Held by the one start that room is made for.
    admission: tokio::sync::Mutex<()>,
    /// Admitted, by home, until the process is ready or has failed.
    pub(super) admitted: Mutex<BTreeMap<PathBuf, Device>>,
    pub(super) memory: Mutex<BTreeMap<PathBuf, Memory>>,
    pub(super) turns: super::turn::Turns,
    /// Told when room may have appeared.
    pub(super) changed: watch::Sender<()>,
}

/// What is known of a home's use of GPU memory.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Memory {
    /// The most that its processes were seen to hold, in bytes.
    pub(super) peak: u64,
    /// Whether it was asked to give it back since it worked last.
    pub(super) freed: bool,
}

/// A place for one process; it is given back when this is dropped.
#[derive(Debug)]
pub(super) struct Admission {
    room: Arc<Room>,
    home: PathBuf,
}

impl Drop for Admission {
    fn drop(&mut self) {
        lock(&self.room.admitted).remove(&self.home);
        self.room.changed.send_replace(());
    }
}

impl Room {
    pub(super) fn new(gpus: Gpus, limits: Limits) -> Self {
        Self {
            gpus,
            limits,
            admission: tokio::sync::Mutex::default(),
            admitted: Mutex::default(),
            memory: Mutex::default(),
            turns: super::turn::Turns::default(),
            changed: watch::Sender::new(()),
        }
    }

    fn admit(self: &Arc<Self>, home: &Path, device: &Device) -> Admission {
        self.works_again(home);
        lock(&self.admitted).insert(home.to_owned(), device.clone());
        Admission { room: Arc::clone(self), home: home.to_owned() }
    }

    /// Notes that the instance of a home may hold memory from now on.
    pub(super) fn works_again(&self, home: &Path) {
        lock(&self.memory).entry(home.to_owned()).or_default().freed = false;
    }

    fn asked(&self, launch: &Launch) -> Asked {
        let has = |flags: &[&str]| {
            let name = |arg: &String| arg.split('=').next().unwrap_or_default().to_owned();
            launch.extra_args.iter().any(|arg| flags.contains(&name(arg).as_str()))
        };
        match () {
            () if has(&["--cpu"]) => Asked::Cpu,
            () if has(CHOOSE_DEVICE) || self.gpus.chosen_by(&launch.env) => Asked::Any,
            () => Asked::Gpu,
        }
    }
}

/// Arguments of ComfyUI by which a spec chooses what to compute on.
const CHOOSE_DEVICE: &[&str] =
    &["--cuda-device", "--default-device", "--directml", "--oneapi-device-selector"];

impl Supervisor {
    /// Waits until the process of `launch` may start, asking idle ones for memory and ending them where need be,
    /// and chooses what it computes on. Nothing is done for one that runs already. Cancel-safe.
    ///
    /// # Errors
    /// [`SuperviseError::NoRoom`] when others need all there is for too long.
    pub(super) async fn make_room(
        &self,
        ctx: &Ctx,
        launch: &mut Launch,
    ) -> Result<Option<Admission>, SuperviseError> {
        if let Some(running) = self.find(&launch.home).filter(is_up)
            && running.generation == launch.generation
        {
            launch.device = running.device;
            return Ok(None);
        }
        let version = launch.version_id.to_string();
        let admitted = tokio::select! {
            biased;
            () = ctx.cancel.cancelled() => return Err(SuperviseError::Cancelled(version)),
            admitted = self.admit(ctx, launch) => admitted,
        };
        let (device, admission) = admitted.map_err(|(Overdue(after), holders)| SuperviseError::NoRoom {
            version,
            holders,
            after,
        })?;
        launch.device = Some(device);
        Ok(Some(admission))
    }

    /// Waits for room; gives who has it where the wait came to its end.
    async fn admit(&self, ctx: &Ctx, launch: &Launch) -> Result<(Device, Admission), (Overdue, Vec<String>)> {
        let room = self.room();
        let for_what = format!("room for ComfyUI of `{}`", launch.version_id);
        let mut waiting = ctx.progress.waiting(for_what, room.limits.patience);
        let first = waiting.during("a start that was asked for before", room.admission.lock()).await;
        let _first = first.map_err(|overdue| (overdue, Vec::new()))?;
        let asked = room.asked(launch);
        let peak = lock(&room.memory).get(&launch.home).map_or(0, |memory| memory.peak);
        loop {
            let mut changed = room.changed.subscribe();
            let picture = self.picture().await;
            let asked = self.possible(asked, &picture);
            match place(&picture, &launch.home, asked, peak) {
                Step::Go(device) => {
                    let admission = room.admit(&launch.home, &device);
                    return Ok((device, admission));
                }
                Step::Free(home) => self.free(&home).await,
                Step::Stop(home) => {
                    ctx.progress.phase("room");
                    self.evict(&home).await;
                }
                Step::Wait(holders) => {
                    ctx.progress.phase("room");
                    waiting.look(&holders.join(" and ")).map_err(|overdue| (overdue, holders))?;
                    tokio::time::timeout(LOOK_AGAIN, changed.changed()).await.ok();
                }
            }
        }
    }

    /// Says what a version can compute on, on this machine.
    fn possible(&self, asked: Asked, picture: &Picture) -> Asked {
        match asked {
            Asked::Gpu if !picture.gpus.is_empty() => Asked::Gpu,
            Asked::Gpu if self.room().gpus.others_exist() => Asked::Any,
            Asked::Gpu => Asked::Cpu,
            asked => asked,
        }
    }

    /// Asks an instance to give its memory back, and waits until it came. One that does not answer counts
    /// as asked all the same.
    pub(super) async fn free(&self, home: &Path) {
        let Some(info) = self.find(home) else { return };
        tracing::info!(version = %info.version_id, "asking for its memory");
        if let Err(error) = ask_to_free(&info.url).await {
            tracing::warn!(version = %info.version_id, %error, "cannot ask for its memory");
        }
        lock(&self.room().memory).entry(home.to_owned()).or_default().freed = true;
        if let Some(Device::Gpu { index }) = info.device {
            // No process has this id: none has to end.
            self.room().gpus.settled(index, 0).await;
        }
    }

    /// Ends an instance that nobody claims; one that was claimed meanwhile is left alone.
    async fn evict(&self, home: &Path) {
        let Some(eviction) = self.lock().get(home).and_then(|handle| handle.usage.evict()) else { return };
        let (supervisor, home) = (self.clone(), home.to_owned());
        let ending = async move {
            let ended = supervisor.find(&home);
            supervisor.stop(&home).await;
            if let Some(InstanceInfo { device: Some(Device::Gpu { index }), state, .. }) = ended
                && let Some(pid) = pid(&state)
            {
                supervisor.room().gpus.settled(index, pid).await;
            }
            drop(eviction);
        };
        // Goes on when this is cancelled: nobody may claim what is being ended.
        self.shared.tasks.spawn(ending).await.ok();
    }
}

async fn ask_to_free(url: &str) -> Result<(), ComfyError> {
    Comfy::new(url)?.free().await
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each is whole between any two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
