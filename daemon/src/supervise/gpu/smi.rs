//! The GPUs as `nvidia-smi` tells of them, for a comfyd that cannot load the driver's library: one that is linked
//! statically has no loader. The driver brings both, and so does NVIDIA's container toolkit (`utility`).

use super::{Driver, Gpu};
use crate::ctx::Ctx;
use crate::process::{self, Command, ProcessError};
use std::collections::BTreeMap;
use std::io;

/// What is asked for of each GPU, in the order of [`gpu`]'s fields; memory comes in MiB.
const GPUS: &str = "--query-gpu=index,uuid,name,memory.total,memory.free";

/// What is asked for of each process; where the driver tells nobody's memory it writes `[N/A]`.
const PROCESSES: &str = "--query-compute-apps=gpu_uuid,pid,used_memory";

/// What is asked for of the driver: its version, and the compute capability of each GPU.
const DRIVER: &str = "--query-gpu=uuid,driver_version,compute_cap";

/// Asks for all GPUs; none where there is no such program. It takes tens of milliseconds, and a second or two
/// where nothing else keeps the driver loaded. Dropping the future ends the program.
pub(super) async fn look(env: &BTreeMap<String, String>) -> Option<Vec<Gpu>> {
    let gpus = ask(env, GPUS).await?;
    let mut gpus: Vec<Gpu> = gpus.lines().filter_map(gpu).collect();
    if !gpus.is_empty() {
        for (uuid, pid, bytes) in ask(env, PROCESSES).await?.lines().filter_map(used) {
            if let Some(gpu) = gpus.iter_mut().find(|gpu| gpu.uuid == uuid) {
                gpu.used_by.insert(pid, bytes);
            }
        }
    }
    Some(gpus)
}

/// Asks what the driver can do with these GPUs; none where that is not told.
pub(super) async fn driver(env: &BTreeMap<String, String>, gpus: Vec<Gpu>) -> Option<Driver> {
    let (table, page) = tokio::join!(ask(env, DRIVER), run(env, &[]));
    let table = table?;
    let told: Vec<Told<'_>> = table.lines().filter_map(capability).collect();
    let version = told.first()?.version.to_owned();
    let gpus = gpus.into_iter().filter_map(|gpu| {
        let told = told.iter().find(|told| told.uuid == gpu.uuid)?;
        Some((gpu.name, told.capability))
    });
    Some(Driver { version, cuda: cuda(&page?)?, gpus: gpus.collect() })
}

async fn ask(env: &BTreeMap<String, String>, query: &str) -> Option<String> {
    run(env, &[query, "--format=csv,noheader,nounits"]).await
}

async fn run(env: &BTreeMap<String, String>, args: &[&str]) -> Option<String> {
    let command = Command::new("nvidia-smi", env.clone()).args(args.iter().copied()).alone();
    match process::run(&Ctx::new(), &command, |_| ()).await {
        Ok(ended) if ended.status.success() => Some(ended.stdout),
        Ok(ended) => {
            // It writes what is wrong with the driver to either stream.
            tracing::warn!(status = %ended.status, "nvidia-smi: {}{}", ended.stdout.trim(), ended.stderr.trim());
            Some(String::new())
        }
        Err(ProcessError::Spawn { source, .. }) if source.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            tracing::warn!(%error, "no GPUs are known");
            Some(String::new())
        }
    }
}

fn gpu(line: &str) -> Option<Gpu> {
    let (index, rest) = line.split_once(", ")?;
    let (uuid, rest) = rest.split_once(", ")?;
    // From the end: a name may hold anything.
    let (rest, free) = rest.rsplit_once(", ")?;
    let (name, total) = rest.rsplit_once(", ")?;
    Some(Gpu {
        index: index.trim().parse().ok()?,
        uuid: uuid.to_owned(),
        name: name.to_owned(),
        total: bytes(total)?,
        free: bytes(free)?,
        used_by: BTreeMap::new(),
    })
}

/// What is told of the driver with a GPU.
#[derive(Debug, PartialEq, Eq)]
struct Told<'a> {
    uuid: &'a str,
    version: &'a str,
    capability: (u32, u32),
}

fn capability(line: &str) -> Option<Told<'_>> {
    let (uuid, rest) = line.split_once(", ")?;
    let (version, capability) = rest.split_once(", ")?;
    Some(Told { uuid, version, capability: pair(capability.trim())? })
}

/// Finds `CUDA Version: 13.0` on the page that it prints when it is asked for nothing.
fn cuda(page: &str) -> Option<(u32, u32)> {
    let (_, rest) = page.split_once("CUDA Version")?;
    pair(rest.trim_start_matches([' ', ':']).split_whitespace().next()?)
}

fn pair(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn used(line: &str) -> Option<(&str, u32, u64)> {
    let (uuid, rest) = line.split_once(", ")?;
    let (pid, used) = rest.split_once(", ")?;
    Some((uuid, pid.parse().ok()?, bytes(used)?))
}

fn bytes(mib: &str) -> Option<u64> {
    mib.trim().parse::<u64>().ok()?.checked_mul(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_prints_is_read() {
        let read = gpu("1, GPU-5a1f, NVIDIA RTX 4090, 24 GB, 24564, 23900").unwrap();
        assert_eq!((read.index, &*read.uuid, &*read.name), (1, "GPU-5a1f", "NVIDIA RTX 4090, 24 GB"));
        assert_eq!((read.total, read.free), (24564 << 20, 23900 << 20));
        assert_eq!(used("GPU-5a1f, 4711, 512"), Some(("GPU-5a1f", 4711, 512 << 20)));
        assert_eq!(
            capability("GPU-5a1f, 580.65.06, 8.9"),
            Some(Told { uuid: "GPU-5a1f", version: "580.65.06", capability: (8, 9) })
        );
        let head = "| NVIDIA-SMI 580.65.06    Driver Version: 580.65.06    CUDA Version: 13.0     |";
        assert_eq!(cuda(head), Some((13, 0)));
    }

    #[test]
    fn what_is_not_told_is_left_out() {
        for line in [
            "",
            "0",
            "0, GPU-1, T4",
            "x, GPU-1, T4, 1, 1",
            "0, GPU-1, T4, [N/A], 1",
            "0, G, T, 1, 99999999999999999999",
        ] {
            assert!(gpu(line).is_none(), "{line}");
        }
        for line in ["", "GPU-1, 7", "GPU-1, 7, [N/A]", "GPU-1, [Insufficient Permissions], 3"] {
            assert_eq!(used(line), None, "{line}");
        }
        assert_eq!(capability("GPU-1, 580.65.06, [N/A]"), None);
        assert_eq!(["", "CUDA Version: N/A", "CUDA Version"].map(cuda), [None; 3]);
    }
}
