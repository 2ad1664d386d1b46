//! The models of an installed ComfyUI, by their names, and what lies beside them that tells their links. Blocks.
//!
//! No file is hashed: a hundred gigabytes take minutes. A link is told by a file that a download program left
//! (`sidecar`), by a symbolic link into a cache of Hugging Face, or by the list of models that ComfyUI-Manager brings.

use super::classes::is_model;
use super::extra_paths;
use super::found::{Found, FoundModel};
use super::sidecar;
use std::collections::HashSet;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Models that are listed at most: who has more of them wants no spec of all.
const MOST: usize = 20_000;

/// How deep folders of models are looked through.
const DEEP: usize = 12;

/// Symbolic links that are followed by hand, one to the next.
const HOPS: usize = 8;

/// The directories that an installation reads, beyond its own.
pub(super) struct Extra {
    /// Further directories of models, each with its folder.
    models: Vec<(String, PathBuf)>,
    /// Further directories of custom nodes.
    pub(super) nodes: Vec<PathBuf>,
}

/// Reads `extra_model_paths.yaml`, where there is one.
pub(super) fn extra(root: &Path, found: &mut Found) -> Extra {
    let mut extra = Extra { models: Vec::new(), nodes: Vec::new() };
    let file = root.join("extra_model_paths.yaml");
    let Ok(text) = std::fs::read_to_string(&file) else { return extra };
    let paths = match extra_paths::read(&text, root) {
        Ok(paths) => paths,
        Err(error) => {
            found.warnings.push(format!("`{}` cannot be read: {error}", file.display()));
            return extra;
        }
    };
    for path in paths.unfollowed {
        found
            .warnings
            .push(format!("`{path}` in `{}` is not followed: write it without `~` and `$`", file.display()));
    }
    for (folder, dir) in paths.dirs {
        if folder == "custom_nodes" { extra.nodes.push(dir) } else { extra.models.push((folder, dir)) }
    }
    extra
}

/// Finds the models.
pub(super) fn find(root: &Path, extra: &Extra, found: &mut Found) {
    let mut walk = Walk { found: Vec::new(), seen: HashSet::new() };
    for folder in subdirs(&root.join("models")) {
        walk.dir(&folder, &name_of(&folder), "", DEEP);
    }
    for (folder, dir) in &extra.models {
        walk.dir(dir, folder, "", DEEP);
    }
    if walk.found.len() >= MOST {
        found.warnings.push(format!("only the first {MOST} models were looked at"));
    }
    found.models = walk.found;
}

struct Walk {
    found: Vec<FoundModel>,
    /// Directories that were entered: links may lead in circles, and two names to one directory.
    seen: HashSet<(u64, u64)>,
}

impl Walk {
    fn dir(&mut self, dir: &Path, folder: &str, below: &str, depth: usize) {
        let Ok(metadata) = std::fs::metadata(dir) else { return };
        if !metadata.is_dir() || !self.seen.insert((metadata.dev(), metadata.ino())) {
            return;
        }
        for path in entries(dir) {
            let name = name_of(&path);
            let Ok(metadata) = std::fs::metadata(&path) else { continue };
            if name.starts_with('.') || self.found.len() >= MOST {
                continue;
            }
            if metadata.is_dir() && depth > 0 {
                self.dir(&path, folder, &format!("{below}{name}/"), depth - 1);
            } else if metadata.is_file() && is_model(&name) {
                self.found.push(model(&path, &metadata, folder, &format!("{below}{name}")));
            }
        }
    }
}

fn model(path: &Path, metadata: &Metadata, folder: &str, name: &str) -> FoundModel {
    let told = sidecar::paths(path).into_iter().find_map(|beside| {
        let text = std::fs::read_to_string(beside).ok()?;
        sidecar::read(&text, &name_of(path))
    });
    let told = told.unwrap_or_default();
    FoundModel {
        name: name.to_owned(),
        folder: Some(folder.to_owned()),
        link: told.link.or_else(|| hub_link(path)),
        sha256: told.sha256,
        size: Some(metadata.len()),
        by: None,
    }
}

/// Follows a symbolic link into a cache of huggingface_hub, whose paths tell repository and commit.
fn hub_link(path: &Path) -> Option<String> {
    let mut path = path.to_owned();
    for _ in 0..HOPS {
        if let Some(link) = sidecar::hub_path(&path.to_string_lossy()) {
            return Some(link);
        }
        let target = std::fs::read_link(&path).ok()?;
        path = path.parent()?.join(target);
    }
    None
}

fn subdirs(dir: &Path) -> Vec<PathBuf> {
    entries(dir).into_iter().filter(|path| path.is_dir() && !name_of(path).starts_with('.')).collect()
}

/// Lists a directory in the order of its names; nothing where it cannot be read.
pub(super) fn entries(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// Returns the last part of a path.
pub(super) fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
