//! Who computes where, and who makes room for it: pure functions over a picture of the machine.
//!
//! Two things are scarce. Processes: `COMFYD_MAX_INSTANCES`. Memory of GPUs: a process that starts needs little
//! of it, `COMFYD_GPU_RESERVE`; a workflow needs as much as its version was ever seen to hold. Who does
//! nothing is asked to give its memory back (`/free`) before anyone is ended; first who was not used
//! for longest, pinned versions last. A process that is claimed is never ended, and one that works is not
//! even asked.
//!
//! Each decision is one step. After it, the picture is taken anew.

use super::gpu::Gpu;
use proto::method::Device;
use std::cmp::Reverse;
use std::path::{Path, PathBuf};

/// The machine at one moment.
#[derive(Debug, Clone, Default)]
pub struct Picture {
    /// The GPUs that may be used.
    pub gpus: Vec<Gpu>,
    /// The processes that run or are about to.
    pub residents: Vec<Resident>,
    /// How many may run; any number when absent.
    pub max_instances: Option<usize>,
    /// What must be free on a GPU beyond what is known to be needed, in bytes.
    pub reserve: u64,
}

/// A ComfyUI that runs or is about to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resident {
    /// Its home.
    pub home: PathBuf,
    /// What people call it.
    pub name: String,
    /// What it computes on.
    pub device: Device,
    /// Whether someone claims it.
    pub claimed: bool,
    /// Whether it starts, or has prompts: it would give nothing back before it is done.
    pub works: bool,
    /// Whether it has the GPU for a workflow.
    pub computes: bool,
    /// Whether its version is to stay as long as possible.
    pub pinned: bool,
    /// Milliseconds since someone used it.
    pub idle_ms: u64,
    /// What it holds of its GPU's memory, where that is known, in bytes.
    pub holds: Option<u64>,
    /// The most that its version was seen to hold, in bytes; 0 when unknown.
    pub peak: u64,
    /// Whether it gave its memory back since it worked last.
    pub freed: bool,
}

impl Resident {
    /// Returns one that nobody uses and of whose memory nothing is known.
    pub fn idle(home: PathBuf, name: String, device: Device) -> Self {
        Self {
            home,
            name,
            device,
            claimed: false,
            works: false,
            computes: false,
            pinned: false,
            idle_ms: 0,
            holds: None,
            peak: 0,
            freed: false,
        }
    }
}

/// What a version that is about to start may compute on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// One of the GPUs.
    Gpu,
    /// What its own arguments say, or what nothing is known of.
    Any,
    /// The processor.
    Cpu,
}

/// What to do next so that a version can start, or a workflow run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Go on: there is room.
    Go(Device),
    /// Ask the instance of this home to give its memory back.
    Free(PathBuf),
    /// End the instance of this home.
    Stop(PathBuf),
    /// Wait for these.
    Wait(Vec<String>),
}

/// Decides the next step towards starting the instance of `home`, whose version was seen to hold `peak` bytes.
pub fn place(picture: &Picture, home: &Path, asked: Asked, peak: u64) -> Step {
    let others: Vec<&Resident> = picture.residents.iter().filter(|other| other.home != home).collect();
    if picture.max_instances.is_some_and(|max| others.len() >= max) {
        return match stoppable(&others) {
            Some(idle) => Step::Stop(idle.home.clone()),
            None => Step::Wait(names(&others)),
        };
    }
    match asked {
        Asked::Cpu => Step::Go(Device::Cpu),
        Asked::Any => Step::Go(Device::Any),
        Asked::Gpu => on_a_gpu(picture, &others, peak),
    }
}

fn on_a_gpu(picture: &Picture, others: &[&Resident], peak: u64) -> Step {
    let on = |gpu: &Gpu| others.iter().filter(|other| is_on(other, gpu.index)).count();
    // Alone before together, since what starts holds nothing yet.
    let rank = |gpu: &&Gpu| {
        let fits = gpu.free >= picture.reserve.saturating_add(peak);
        (Reverse(fits), on(gpu), Reverse(gpu.free), gpu.index)
    };
    if let Some(gpu) = picture.gpus.iter().filter(|gpu| gpu.free >= picture.reserve).min_by_key(rank) {
        return Step::Go(Device::Gpu { index: gpu.index });
    }
    let placed: Vec<&Resident> = others
        .iter()
        .copied()
        .filter(|other| picture.gpus.iter().any(|gpu| is_on(other, gpu.index)))
        .collect();
    if let Some(idle) = freeable(&placed) {
        return Step::Free(idle.home.clone());
    }
    if let Some(idle) = stoppable(&placed) {
        return Step::Stop(idle.home.clone());
    }
    let working: Vec<&Resident> = placed.into_iter().filter(|other| other.works).collect();
    match picture.gpus.iter().min_by_key(|gpu| (Reverse(gpu.free), gpu.index)) {
        _ if !working.is_empty() => Step::Wait(names(&working)),
        // Other programs hold the memory: ComfyUI makes do with what there is, or says what it lacks.
        Some(gpu) => Step::Go(Device::Gpu { index: gpu.index }),
        None => Step::Go(Device::Any),
    }
}

/// Decides the next step towards running a workflow on the instance of `home`. `ahead` are the homes whose
/// workflows came before and wait still.
///
/// Versions that share a GPU compute one after another, in the order in which they asked, unless all of them are
/// known to fit.
pub fn share(picture: &Picture, home: &Path, ahead: &[PathBuf]) -> Step {
    let Some(me) = picture.residents.iter().find(|resident| resident.home == home) else {
        // It is gone; whoever runs the workflow finds out.
        return Step::Go(Device::Any);
    };
    let go = Step::Go(me.device.clone());
    let others = picture.residents.iter().filter(|other| other.home != home && is_beside(other, me));
    let others: Vec<&Resident> = others.collect();
    if me.device == Device::Cpu || others.is_empty() {
        return go;
    }
    // Of several that it may use, the least of each: nobody knows which it takes.
    let own = || picture.gpus.iter().filter(|gpu| is_on(me, gpu.index));
    let total = own().map(|gpu| gpu.total).min().unwrap_or(0);
    let free = own().map(|gpu| gpu.free).min().unwrap_or(0);
    let fits = |together: &[&Resident]| {
        let peaks = together.iter().map(|other| other.peak).chain([me.peak, picture.reserve]);
        me.peak > 0
            && together.iter().all(|other| other.peak > 0)
            && peaks.fold(0, u64::saturating_add) <= total
    };
    let before = others.iter().copied().filter(|other| other.computes || ahead.contains(&other.home));
    let before: Vec<&Resident> = before.collect();
    if !before.is_empty() && !fits(&before) {
        return Step::Wait(names(&before));
    }
    let lacks = me.peak.saturating_sub(me.holds.unwrap_or(0)).saturating_add(picture.reserve);
    if me.peak > 0 && free >= lacks {
        return go;
    }
    freeable(&others).map_or(go, |idle| Step::Free(idle.home.clone()))
}

/// Tells whether a process may use a GPU.
fn is_on(resident: &Resident, index: u32) -> bool {
    match resident.device {
        Device::Cpu => false,
        Device::Any => true,
        Device::Gpu { index: own } => own == index,
    }
}

/// Tells whether two processes may use the same GPU.
fn is_beside(one: &Resident, other: &Resident) -> bool {
    match (&one.device, &other.device) {
        (Device::Cpu, _) | (_, Device::Cpu) => false,
        (Device::Gpu { index: one }, Device::Gpu { index: other }) => one == other,
        _ => true,
    }
}

/// Returns the first that can give memory back: claimed ones keep their process, so they can, after the others.
fn freeable<'a>(residents: &[&'a Resident]) -> Option<&'a Resident> {
    let able = residents.iter().filter(|one| !one.works && !one.computes && !one.freed);
    able.min_by_key(|one| (one.pinned, one.claimed, Reverse(one.idle_ms), &one.home)).copied()
}

/// Returns the first that can be ended.
fn stoppable<'a>(residents: &[&'a Resident]) -> Option<&'a Resident> {
    let able = residents.iter().filter(|one| !one.works && !one.computes && !one.claimed);
    able.min_by_key(|one| (one.pinned, Reverse(one.idle_ms), &one.home)).copied()
}

fn names(residents: &[&Resident]) -> Vec<String> {
    let mut names: Vec<String> = residents.iter().map(|one| one.name.clone()).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests;
