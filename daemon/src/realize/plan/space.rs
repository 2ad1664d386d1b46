//! What a plan adds to each filesystem, against what is free there.

use super::{Disk, Facts, Layout};
use crate::store::inspect::Space;
use proto::ErrorKind;
use proto::plan::{DiskNeed, ModelAction, ModelStep, PackagesAction, PackagesStep, Problem};
use std::path::Path;

/// Unpacked wheels take about this many times their download. Measured on ComfyUI 0.3.75's 90 packages:
/// 2.0 (torch's libraries alone: 1.7).
const UNPACKED: u64 = 2;

/// Sums the needs, one filesystem each.
pub(super) fn needs(
    layout: &Layout,
    disk: &Disk,
    packages: &PackagesStep,
    models: &[ModelStep],
    facts: &Facts,
) -> Vec<DiskNeed> {
    let mut needs: Vec<(u64, DiskNeed)> = Vec::new();
    let mut add = |path: &Path, space: Option<Space>, bytes: u64| {
        let Some(space) = space.map(|space| space.within(facts.quota)) else { return };
        if let Some((_, need)) = needs.iter_mut().find(|(device, _)| *device == space.device) {
            need.needed_bytes += bytes;
            return;
        }
        let need = DiskNeed {
            path: path.display().to_string(),
            needed_bytes: bytes,
            available_bytes: space.available_bytes,
            quota_bytes: space.quota_bytes,
        };
        needs.push((space.device, need));
    };
    let for_packages = match packages.action {
        PackagesAction::Install => packages.download_bytes * UNPACKED,
        PackagesAction::Present | PackagesAction::Reuse { .. } | PackagesAction::Repair => 0,
    };
    let home = &layout.home;
    add(&home.root, disk.home_space, for_packages);
    add(&home.models, disk.models_space, 0);
    for (step, folder) in models.iter().zip(&disk.folder_spaces) {
        let size = step.size_bytes.filter(|_| step.action == ModelAction::Download).unwrap_or(0);
        let held = facts.models.get(&step.source).map_or(0, |told| told.held);
        let bytes = size.saturating_sub(held);
        let path = home.model(&step.target);
        let folder_path = path.parent().unwrap_or(&home.models);
        let path = if folder.is_some() { folder_path } else { &home.models };
        add(path, folder.or(disk.models_space), bytes);
    }
    needs.into_iter().map(|(_, need)| need).collect()
}

/// Says where a disk is too small.
pub(super) fn problems(needs: &[DiskNeed]) -> impl Iterator<Item = Problem> {
    needs.iter().filter(|need| need.needed_bytes > need.available_bytes).map(|need| {
        let quota = match need.quota_bytes {
            Some(quota) => format!(" of its quota of {}", figure(quota)),
            None => String::new(),
        };
        let (free, needed) = (figure(need.available_bytes), figure(need.needed_bytes));
        let hint = match need.quota_bytes {
            Some(_) => "free some space on the volume, or correct COMFY_VOLUME_QUOTA",
            None => "free some space, or set COMFY_VOLUME or MODELS_DIR to a larger disk",
        };
        Problem {
            kind: ErrorKind::Disk,
            message: format!("`{}` has {free}{quota} free, and {needed} are needed", need.path),
            hint: Some(hint.to_owned()),
        }
    })
}

/// Renders a size for a sentence that people read: `3.1 GB`.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub fn figure(bytes: u64) -> String {
    let gigabytes = bytes as f64 / 1e9;
    if gigabytes < 0.1 { format!("{:.1} MB", bytes as f64 / 1e6) } else { format!("{gigabytes:.1} GB") }
}
