//! The GPUs of this machine, as NVIDIA's driver tells of them: by its library (NVML), or where that cannot be
//! loaded by `nvidia-smi`. A machine without that driver has none: never an error.

mod smi;

use crate::ctx::blocking;
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Nvml, cuda_driver_version_major, cuda_driver_version_minor};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// How long the driver may take for an answer; one whose GPU is wedged never gives one.
const ANSWER: Duration = Duration::from_secs(5);

/// How often and how long it is looked whether the memory of an ended process came back. It takes half
/// a second to a second and a half; ollama waits as long.
const SETTLE_POLL: Duration = Duration::from_millis(250);
const SETTLE_LIMIT: Duration = Duration::from_secs(5);

/// What a process may hold of a GPU's memory and not be told apart from noise: one step of the allocator.
const NOISE: u64 = 2 << 20;

/// A GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpu {
    /// Its number, as the driver counts: by PCI bus.
    pub index: u32,
    /// Its name that no other GPU has.
    pub uuid: String,
    /// What it is called.
    pub name: String,
    /// Its memory, in bytes.
    pub total: u64,
    /// What of it nobody uses, in bytes.
    pub free: u64,
    /// What each process uses of it, in bytes. Inside a container the driver often tells of none, or by
    /// ids that mean nothing there.
    pub used_by: BTreeMap<u32, u64>,
}

/// What programs can do with the GPUs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Driver {
    /// Its version, such as `580.65.06`.
    pub version: String,
    /// The newest CUDA that it knows, major and minor.
    pub cuda: (u32, u32),
    /// What the GPUs that comfyd may use are called, each with its compute capability, major and minor.
    pub gpus: Vec<(String, (u32, u32))>,
}

/// The GPUs of this machine that comfyd may use. Cheap to clone.
#[derive(Clone)]
pub struct Gpus {
    source: Arc<Source>,
    visible: Option<Arc<str>>,
}

enum Source {
    Driver(Nvidia),
    Table(Box<dyn Fn() -> Vec<Gpu> + Send + Sync>),
}

struct Nvidia {
    /// Loaded at the first question; none where that fails.
    library: OnceLock<Option<Box<Nvml>>>,
    /// Whether there is no `nvidia-smi` either.
    absent: AtomicBool,
    /// What `nvidia-smi` is given of the environment.
    env: BTreeMap<String, String>,
}

impl Source {
    /// Returns the GPUs; none where the driver's library cannot be loaded. Blocks.
    fn ask(&self) -> Option<Vec<Gpu>> {
        match self {
            Self::Table(table) => Some(table()),
            Self::Driver(nvidia) => nvidia.library().map(all),
        }
    }
}

impl Nvidia {
    /// Returns the driver's library; none where it cannot be loaded. Blocks.
    fn library(&self) -> Option<&Nvml> {
        let load = || Nvml::init().inspect_err(tell_no_library).map(Box::new).ok();
        self.library.get_or_init(load).as_deref()
    }

    async fn ask_program(&self) -> Vec<Gpu> {
        if self.absent.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let told = smi::look(&self.env).await;
        self.absent.store(told.is_none(), Ordering::Relaxed);
        told.unwrap_or_default()
    }
}

impl Gpus {
    /// Returns the GPUs that the driver knows, less those that `CUDA_VISIBLE_DEVICES` of this environment
    /// leaves out. The driver is asked later.
    pub fn of_driver(env: &BTreeMap<String, String>) -> Self {
        let given = ["PATH", "LD_LIBRARY_PATH"].iter();
        let given = given.filter_map(|name| Some(((*name).to_owned(), env.get(*name)?.clone())));
        let nvidia =
            Nvidia { library: OnceLock::new(), absent: AtomicBool::new(false), env: given.collect() };
        let visible = env.get(VISIBLE).map(|visible| Arc::from(visible.as_str()));
        Self { source: Arc::new(Source::Driver(nvidia)), visible }
    }

    /// Returns GPUs that `table` tells of at each question.
    pub fn of_table(table: impl Fn() -> Vec<Gpu> + Send + Sync + 'static) -> Self {
        Self { source: Arc::new(Source::Table(Box::new(table))), visible: None }
    }

    /// Looks at the GPUs. None where there is no driver, or where it does not answer within seconds.
    pub async fn look(&self) -> Vec<Gpu> {
        let source = Arc::clone(&self.source);
        let looking = async {
            match (blocking(move || source.ask()).await, &*self.source) {
                (Some(all), _) => all,
                (None, Source::Driver(nvidia)) => nvidia.ask_program().await,
                (None, Source::Table(_)) => Vec::new(),
            }
        };
        self.chosen(in_time(looking).await)
    }

    /// Asks what the driver can do. None where there is no driver, or where it does not answer within seconds.
    pub async fn driver(&self) -> Option<Driver> {
        let Source::Driver(nvidia) = &*self.source else { return None };
        let (source, gpus) = (Arc::clone(&self.source), self.look().await);
        let by_library = {
            let gpus = gpus.clone();
            blocking(move || match &*source {
                Source::Driver(nvidia) => nvidia.library().map(|nvml| driver(nvml, gpus)),
                Source::Table(_) => None,
            })
        };
        if let Some(told) = in_time(by_library).await {
            return told.inspect_err(|error| tracing::warn!(%error, "the GPU driver tells nothing")).ok();
        }
        in_time(smi::driver(&nvidia.env, gpus)).await
    }

    fn chosen(&self, all: Vec<Gpu>) -> Vec<Gpu> {
        match &self.visible {
            Some(visible) => select(visible, &all),
            None => all,
        }
    }

    /// Tells whether an environment chooses its GPUs otherwise than the daemon's own does.
    pub(super) fn chosen_by(&self, env: &BTreeMap<String, String>) -> bool {
        env.get(VISIBLE).is_some_and(|chosen| self.visible.as_deref() != Some(chosen))
    }

    /// Tells whether there is a GPU that ComfyUI can use, though no driver tells more of it: NVIDIA's without
    /// its library, AMD's, WSL's. Without any it must be told so, or it dies in torch. Blocks, shortly.
    pub fn others_exist(&self) -> bool {
        let devices = ["/dev/nvidiactl", "/dev/kfd", "/dev/dxg"];
        matches!(*self.source, Source::Driver(_)) && devices.iter().any(|device| Path::new(device).exists())
    }

    /// Waits until the memory that an ended process held on a GPU came back: no more of it does, and the
    /// driver does not know the process any more. Returns at once without a driver. Bounded by some seconds.
    pub async fn settled(&self, index: u32, pid: u32) {
        let deadline = Instant::now() + SETTLE_LIMIT;
        let mut before = None;
        while Instant::now() < deadline {
            let all = self.look().await;
            let Some(gpu) = all.iter().find(|gpu| gpu.index == index) else { return };
            let grows = before.is_none_or(|before| gpu.free > before + NOISE);
            if !grows && !gpu.used_by.contains_key(&pid) {
                return;
            }
            before = Some(gpu.free);
            tokio::time::sleep(SETTLE_POLL).await;
        }
        tracing::warn!(gpu = index, pid, "the memory of an ended process did not come back in time");
    }
}

impl std::fmt::Debug for Gpus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gpus").field("visible", &self.visible).finish_non_exhaustive()
    }
}

/// The variable by which CUDA's programs choose GPUs: numbers or uuids with commas.
pub(super) const VISIBLE: &str = "CUDA_VISIBLE_DEVICES";

/// Makes CUDA count GPUs as the driver does; it begins with the fastest otherwise.
pub(super) const ORDER: (&str, &str) = ("CUDA_DEVICE_ORDER", "PCI_BUS_ID");

/// Gives the driver up after a while.
async fn in_time<T: Default>(asking: impl Future<Output = T>) -> T {
    tokio::time::timeout(ANSWER, asking).await.unwrap_or_else(|_| {
        tracing::warn!("the GPU driver does not answer");
        T::default()
    })
}

fn driver(nvml: &Nvml, gpus: Vec<Gpu>) -> Result<Driver, NvmlError> {
    let number = |number: i32| u32::try_from(number).unwrap_or(0);
    let cuda = nvml.sys_cuda_driver_version()?;
    let gpus = gpus.into_iter().map(|gpu| {
        let capability = nvml.device_by_index(gpu.index)?.cuda_compute_capability()?;
        Ok((gpu.name, (number(capability.major), number(capability.minor))))
    });
    Ok(Driver {
        version: nvml.sys_driver_version()?,
        cuda: (number(cuda_driver_version_major(cuda)), number(cuda_driver_version_minor(cuda))),
        gpus: gpus.collect::<Result<_, NvmlError>>()?,
    })
}

fn all(nvml: &Nvml) -> Vec<Gpu> {
    let count = nvml.device_count().unwrap_or(0);
    let gpus = (0..count).filter_map(|index| {
        let told =
            gpu(nvml, index).inspect_err(|error| tracing::warn!(gpu = index, %error, "ignoring a GPU"));
        told.ok()
    });
    gpus.collect()
}

fn gpu(nvml: &Nvml, index: u32) -> Result<Gpu, NvmlError> {
    let device = nvml.device_by_index(index)?;
    let memory = device.memory_info()?;
    // Not told to everybody.
    let processes = device.running_compute_processes().unwrap_or_default();
    let used_by = processes.into_iter().filter_map(|process| match process.used_gpu_memory {
        UsedGpuMemory::Used(bytes) => Some((process.pid, bytes)),
        UsedGpuMemory::Unavailable => None,
    });
    Ok(Gpu {
        index,
        uuid: device.uuid()?,
        name: device.name()?,
        total: memory.total,
        free: memory.free,
        used_by: used_by.collect(),
    })
}

fn tell_no_library(error: &NvmlError) {
    tracing::debug!(%error, "the NVIDIA driver's library cannot be loaded: `nvidia-smi` is asked, where it is");
}

/// Returns the GPUs that a value of `CUDA_VISIBLE_DEVICES` names, as CUDA reads it: numbers, or beginnings of
/// uuids, up to the first that is no GPU (CUDA C++ Programming Guide, "CUDA Environment Variables").
fn select(visible: &str, all: &[Gpu]) -> Vec<Gpu> {
    let named = |name: &str| match name.parse::<u32>() {
        Ok(index) => all.iter().find(|gpu| gpu.index == index),
        Err(_) => all.iter().find(|gpu| !name.is_empty() && gpu.uuid.starts_with(name)),
    };
    visible.split(',').map_while(|name| named(name.trim())).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    fn gpu(index: u32, free: u64) -> Gpu {
        let (uuid, name) = (format!("GPU-{index}a"), "T4".to_owned());
        Gpu { index, uuid, name, total: 16 << 30, free, used_by: BTreeMap::new() }
    }

    #[test]
    fn the_variable_chooses_as_cuda_does() {
        let all = [gpu(0, 1), gpu(1, 1), gpu(2, 1)];
        let table: [(&str, &[u32]); 7] = [
            ("0,1,2", &[0, 1, 2]),
            ("2, 0", &[2, 0]),
            ("1,-1,0", &[1]),
            ("GPU-2a,0", &[2, 0]),
            ("", &[]),
            ("NoDevFiles", &[]),
            ("7,0", &[]),
        ];
        for (visible, expected) in table {
            let chosen: Vec<u32> = select(visible, &all).iter().map(|gpu| gpu.index).collect();
            assert_eq!(chosen, expected, "{visible}");
        }
    }

    #[tokio::test]
    async fn memory_is_awaited_until_no_more_of_it_comes_back() {
        let looks = Arc::new(Mutex::new(0_u64));
        let count = Arc::clone(&looks);
        let table = move || {
            let mut looks = count.lock().unwrap();
            *looks += 1;
            let used_by = if *looks < 2 { BTreeMap::from([(7, 1)]) } else { BTreeMap::new() };
            vec![Gpu { used_by, ..gpu(0, (*looks).min(2) << 30) }]
        };
        let gpus = Gpus::of_table(table);
        gpus.settled(0, 7).await;
        assert_eq!(*looks.lock().unwrap(), 3, "two looks that found more, and one that did not");
        gpus.settled(1, 7).await;
        assert_eq!(*looks.lock().unwrap(), 4, "there is no such GPU");
    }
}
