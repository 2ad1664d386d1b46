//! What is free on each disk that comfyd writes to, and within the quota.

use super::volume::Kind;
use crate::config::Config;
use crate::mounts::Mount;
use crate::realize::plan::figure;
use crate::store::inspect::{self, Space};
use proto::method::Finding;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const SUBJECT: &str = "disk";

/// Below this nothing can be made at all: a download alone keeps more than that in flight.
const NOTHING: u64 = 1 << 30;

/// Files that one version brings (30,255 were counted in an environment with torch, and ComfyUI's checkout).
const FILES_OF_A_VERSION: u64 = 35_000;

/// A disk that is larger than what is rented out as one volume tells of a whole cluster.
const CLUSTER: u64 = 16 << 40;

/// How long the volume may be measured for its quota: a walk over all of its files.
const MEASURE: Duration = Duration::from_secs(4);

/// A disk, and what of comfyd's lies on it.
#[derive(Debug, Clone)]
struct Disk {
    point: PathBuf,
    holds: Vec<&'static str>,
    space: Space,
    /// Files that may still be made, where the filesystem counts them.
    files_left: Option<u64>,
    is_shared: bool,
    /// Bytes that idle time leaves free.
    reserve: u64,
}

/// What a quota says.
#[derive(Debug, Clone, Copy)]
enum Quota {
    NotSet,
    /// It is set, and the walk over the volume did not end in time.
    Unmeasured(u64),
    Left {
        bytes: u64,
        left: u64,
    },
}

/// Looks at the disks. Blocks, for as long as [`MEASURE`] where there is a quota.
pub(super) fn look(config: &Config) -> Vec<Finding> {
    let models = config.models_dir.clone().unwrap_or_else(|| config.homes.join("models"));
    let places: [(&'static str, &Path); 6] = [
        ("homes", &config.homes),
        ("models", &models),
        ("nodes", &config.nodes_cache),
        ("uv cache", &config.uv_cache),
        ("locks", &config.cache_root),
        ("state", &config.state_dir),
    ];
    let mut disks: Vec<Disk> = Vec::new();
    for (name, path) in places {
        let Ok(space) = inspect::space(path) else { continue };
        match disks.iter_mut().find(|disk| disk.space.device == space.device) {
            Some(disk) => disk.holds.push(name),
            None => disks.push(disk(config, name, path, space)),
        }
    }
    let quota = config.volume.as_deref().zip(config.volume_quota);
    let quota = quota.map_or(Quota::NotSet, |(volume, bytes)| {
        let began = Instant::now();
        match inspect::quota(volume, bytes, || began.elapsed() > MEASURE) {
            Ok(Some(quota)) => Quota::Left { bytes, left: quota.left_bytes },
            _ => Quota::Unmeasured(bytes),
        }
    });
    let is_worker = config.child_env.contains_key("RUNPOD_ENDPOINT_ID");
    let root = if is_worker { inspect::space(Path::new("/")).ok() } else { None };
    disks
        .iter()
        .map(|disk| judge(disk, quota))
        .chain(of_quota(quota))
        .chain(root.and_then(of_worker))
        .collect()
}

fn disk(config: &Config, name: &'static str, path: &Path, space: Space) -> Disk {
    let mount = Mount::of(path).ok().flatten();
    Disk {
        point: mount.as_ref().map_or_else(|| path.to_owned(), |mount| mount.point.clone()),
        holds: vec![name],
        space,
        files_left: inspect::files_left(path),
        is_shared: mount.is_some_and(|mount| Kind::of(&mount.kind) == Kind::Shared),
        reserve: config.prefetch.reserve(space.total_bytes),
    }
}

fn judge(disk: &Disk, quota: Quota) -> Finding {
    let (free, total) = (disk.space.available_bytes, disk.space.total_bytes);
    let text = format!(
        "{} of {} free on `{}` ({})",
        figure(free),
        figure(total),
        disk.point.display(),
        disk.holds.join(", ")
    );
    let no_files = disk.files_left.filter(|left| *left < FILES_OF_A_VERSION);
    let found = if free < NOTHING {
        Finding::problem(SUBJECT, text, "free some space there, or name places on another disk")
    } else if let Some(left) = no_files {
        let remedy = "remove what is not needed: a version brings some 30,000 files";
        Finding::problem(SUBJECT, format!("{text}, and room for {left} files only"), remedy)
    } else if free < disk.reserve {
        let remedy = "free some space; idle time fetches nothing any more (COMFYD_PREFETCH_DISK)";
        Finding::warning(SUBJECT, text, remedy)
    } else if disk.is_shared && total > CLUSTER && matches!(quota, Quota::NotSet) {
        let remedy = "set COMFY_VOLUME_QUOTA to the size that you rented";
        Finding::warning(SUBJECT, format!("{text}: that is the cluster, not your share"), remedy)
    } else {
        Finding::ok(SUBJECT, text)
    };
    found.figure("free_bytes", free).figure("total_bytes", total)
}

fn of_quota(quota: Quota) -> Option<Finding> {
    const SUBJECT: &str = "quota";
    match quota {
        Quota::NotSet => None,
        Quota::Unmeasured(bytes) => Some(Finding::ok(
            SUBJECT,
            format!("{}; what of it is used takes too long to count here", figure(bytes)),
        )),
        Quota::Left { bytes, left } => {
            let text = format!("{} of {} left", figure(left), figure(bytes));
            let remedy = "free some space on the volume, or rent more and raise COMFY_VOLUME_QUOTA";
            let found = if left < NOTHING {
                Finding::problem(SUBJECT, text, remedy)
            } else {
                Finding::ok(SUBJECT, text)
            };
            Some(found.figure("left_bytes", left))
        }
    }
}

/// RunPod's SDK ends a worker whose container disk is fuller than this before its first job
/// (`rp_system_fitness.py`, "disk": 10 % of `/` must be free).
fn of_worker(root: Space) -> Option<Finding> {
    (root.available_bytes < root.total_bytes / 10).then(|| {
        let text = format!(
            "{} of {} free on `/`: less than the tenth that RunPod's SDK asks of a worker",
            figure(root.available_bytes),
            figure(root.total_bytes)
        );
        Finding::problem(
            SUBJECT,
            text,
            "give the endpoint's container a larger disk, or keep caches on the volume",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::method::Verdict::{Ok, Problem, Warning};

    fn space(available: u64, total: u64) -> Space {
        let used_bytes = total - available;
        Space { device: 1, total_bytes: total, used_bytes, available_bytes: available, quota_bytes: None }
    }

    fn disk(available: u64, total: u64) -> Disk {
        Disk {
            point: "/v".into(),
            holds: vec!["homes", "models"],
            space: space(available, total),
            files_left: Some(1 << 20),
            is_shared: true,
            reserve: 20 << 30,
        }
    }

    #[test]
    fn little_room_is_a_warning_and_none_is_a_problem() {
        let terabyte = 1 << 40;
        let table = [(100 << 30, Ok), (10 << 30, Warning), (100 << 20, Problem)];
        for (free, verdict) in table {
            assert_eq!(judge(&disk(free, terabyte), Quota::NotSet).verdict, verdict, "{free}");
        }
        let found = judge(&disk(100 << 30, terabyte), Quota::NotSet);
        assert_eq!(found.text, "107.4 GB of 1099.5 GB free on `/v` (homes, models)");
        let found = judge(&Disk { files_left: Some(10), ..disk(100 << 30, terabyte) }, Quota::NotSet);
        assert!(found.verdict == Problem && found.text.contains("10 files"), "{found:?}");
        let uncounted = Disk { files_left: None, ..disk(100 << 30, terabyte) };
        assert_eq!(judge(&uncounted, Quota::NotSet).verdict, Ok);
    }

    #[test]
    fn a_cluster_that_passes_for_a_volume_asks_for_the_quota() {
        let cluster = disk(300 << 40, 900 << 40);
        assert_eq!(judge(&cluster, Quota::NotSet).verdict, Warning);
        assert_eq!(judge(&cluster, Quota::Unmeasured(1)).verdict, Ok);
        assert_eq!(judge(&Disk { is_shared: false, ..cluster }, Quota::NotSet).verdict, Ok);
    }

    #[test]
    fn the_quota_and_a_workers_disk_are_told() {
        assert!(of_quota(Quota::NotSet).is_none());
        let left = |left| of_quota(Quota::Left { bytes: 100 << 30, left }).unwrap().verdict;
        assert_eq!((left(50 << 30), left(0)), (Ok, Problem));
        assert_eq!(of_quota(Quota::Unmeasured(1 << 30)).unwrap().verdict, Ok);
        assert!(of_worker(space(10, 100)).is_none());
        assert_eq!(of_worker(space(9, 100)).unwrap().verdict, Problem);
    }
}
