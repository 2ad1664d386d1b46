//! Takes the picture of the machine that `placement` decides from.

use super::Supervisor;
use super::gpu::Gpu;
use super::placement::{Picture, Resident};
use super::room::{Limits, lock};
use crate::comfy::Comfy;
use crate::ctx::millis;
use futures_util::future::join_all;
use proto::method::{Device, GpuInfo, GpuUse, InstanceInfo, InstanceState};
use std::path::{Path, PathBuf};
use std::time::Instant;

impl Supervisor {
    /// Takes a picture of the machine.
    pub(super) async fn picture(&self) -> Picture {
        let room = self.room();
        let up: Vec<InstanceInfo> = self.instances().into_iter().filter(is_up).collect();
        let (gpus, prompts) = tokio::join!(room.gpus.look(), join_all(up.iter().map(has_prompts)));
        let mut residents: Vec<Resident> =
            up.iter().zip(prompts).map(|(info, works)| self.resident(info, &gpus, works)).collect();
        let admitted = lock(&room.admitted).clone();
        for (home, device) in admitted {
            if !residents.iter().any(|resident| resident.home == home) {
                residents.push(starting(home, device));
            }
        }
        let Limits { max_instances, reserve, .. } = room.limits;
        Picture { gpus, residents, max_instances, reserve }
    }

    fn resident(&self, info: &InstanceInfo, gpus: &[Gpu], works: bool) -> Resident {
        let room = self.room();
        let home = PathBuf::from(&info.home);
        let last_used = self.lock().get(&home).map_or_else(Instant::now, |handle| handle.usage.last_used());
        let device = info.device.clone().unwrap_or(Device::Any);
        let on = |gpu: &&Gpu| matches!(device, Device::Gpu { index } if index == gpu.index);
        let holds = pid(&info.state)
            .and_then(|pid| gpus.iter().find(on).and_then(|gpu| gpu.used_by.get(&pid).copied()));
        let mut all = lock(&room.memory);
        let memory = all.entry(home.clone()).or_default();
        memory.peak = memory.peak.max(holds.unwrap_or(0));
        let computes = room.turns.has(&home);
        memory.freed &= !works && !computes;
        Resident {
            name: info.version_id.to_string(),
            claimed: info.leases + info.workflows > 0,
            works: works || computes,
            computes,
            pinned: room.limits.pinned.contains(&info.version_id),
            idle_ms: millis(last_used.elapsed()),
            peak: memory.peak,
            freed: memory.freed,
            home,
            device,
            holds,
        }
    }

    /// Returns the GPUs that may be used, and what ComfyUI processes use of them. Takes some milliseconds where there
    /// are any; cancel-safe.
    pub async fn gpus(&self) -> Vec<GpuInfo> {
        let up: Vec<(String, u32)> =
            self.instances().into_iter().filter_map(|info| Some((info.home, pid(&info.state)?))).collect();
        let told = |gpu: Gpu| GpuInfo {
            index: gpu.index,
            name: gpu.name,
            total_bytes: gpu.total,
            free_bytes: gpu.free,
            used_by: up
                .iter()
                .filter_map(|(home, pid)| Some((home, pid, gpu.used_by.get(pid)?)))
                .map(|(home, pid, bytes)| GpuUse { home: home.clone(), pid: *pid, bytes: *bytes })
                .collect(),
        };
        self.room().gpus.look().await.into_iter().map(told).collect()
    }

    /// Tells whether another process may be on the same device.
    pub(super) fn has_neighbours(&self, home: &Path) -> bool {
        let is_other = |info: &InstanceInfo| {
            is_up(info) && Path::new(&info.home) != home && info.device != Some(Device::Cpu)
        };
        self.instances().iter().any(is_other)
    }
}

fn starting(home: PathBuf, device: Device) -> Resident {
    let name = home.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Resident { claimed: true, works: true, ..Resident::idle(home, name, device) }
}

pub(super) fn is_up(info: &InstanceInfo) -> bool {
    !matches!(info.state, InstanceState::Exited | InstanceState::Failed { .. })
}

/// Tells whether an instance works at something: it starts, ends, has prompts of whoever, or is too busy to say.
async fn has_prompts(info: &InstanceInfo) -> bool {
    let InstanceState::Ready { .. } = info.state else { return true };
    match Comfy::new(&info.url) {
        Ok(comfy) => comfy.queue_remaining().await.map_or(true, |prompts| prompts > 0),
        Err(_) => true,
    }
}

pub(super) fn pid(state: &InstanceState) -> Option<u32> {
    match state {
        InstanceState::Starting { pid, .. }
        | InstanceState::Ready { pid, .. }
        | InstanceState::Stopping { pid } => Some(*pid),
        InstanceState::Exited | InstanceState::Failed { .. } => None,
    }
}
