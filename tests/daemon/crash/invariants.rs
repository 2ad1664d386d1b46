//! What holds whenever a daemon dies: the list in ARCHITECTURE.md, "Publication and crashes". Each check adds
//! a sentence for what it finds broken.

use super::world::{Files, VERSION, World};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Names that nobody reads.
const STAGING: &str = ".comfyd-staging-";

/// What is broken, in sentences.
#[derive(Debug, Default)]
pub(super) struct Broken(pub(super) Vec<String>);

impl Broken {
    fn unless(&mut self, holds: bool, sentence: impl FnOnce() -> String) {
        if !holds {
            self.0.push(sentence());
        }
    }
}

/// What must hold at every moment, daemon or none: whatever has its final name is whole.
pub(super) fn published(world: &World) -> Broken {
    let mut broken = Broken::default();
    models(world, &mut broken);
    nodes(world, &mut broken);
    generations(world, &mut broken);
    git_caches(world, &mut broken);
    records(world, &mut broken);
    broken
}

/// What must hold beside that once the next daemon has realized the version.
pub(super) fn settled(world: &World) -> Broken {
    let mut broken = published(world);
    for place in ["vol", "home", "state"] {
        for path in walk(&world.env.path(place)) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let is_git_s = path.starts_with(world.env.volume(".comfy-cache/git"));
            let is_left = name.starts_with(STAGING) || (is_git_s && is_left_by_git(&path));
            broken.unless(!is_left, || format!("{} was left", path.display()));
        }
    }
    let current = fs::read_link(world.home("current"));
    broken.unless(current.is_ok(), || "no generation is current".to_owned());
    broken
}

fn is_left_by_git(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_lock = name.ends_with(".lock") && !path.parent().is_some_and(|dir| dir.ends_with("locks"));
    is_lock || name.starts_with(".tmp") || name.starts_with("tmp_")
}

/// A model that stands is, byte for byte, what a link gives that was ever asked for at its place; the index
/// names that link or none.
fn models(world: &World, broken: &mut Broken) {
    let root = world.env.volume("models");
    let index = fs::read(root.join(".comfyd/links.json")).ok();
    let index: Value = index.map_or(Value::Null, |text| serde_json::from_slice(&text).unwrap_or_default());
    for path in walk(&root).into_iter().filter(|path| path.is_file()) {
        let Ok(target) = path.strip_prefix(&root) else { continue };
        if target.starts_with(".comfyd") {
            continue;
        }
        let content = fs::read(&path).unwrap_or_default();
        let target = target.display().to_string();
        broken.unless(world.models.values().any(|whole| *whole == content), || {
            format!("the model `{target}` is no model: {} bytes", content.len())
        });
        let entry = &index["files"][&target];
        let link = entry["source"].as_str().unwrap_or_default();
        let counts = entry["size"].as_u64() == Some(content.len() as u64);
        broken.unless(!counts || world.models.get(link) == Some(&content), || {
            format!("the index says that `{target}` came from {link}, and it did not")
        });
    }
}

/// A checkout of a custom node that stands is the commit in its name.
fn nodes(world: &World, broken: &mut Broken) {
    for path in published_entries(&world.env.volume("custom_nodes/workspace")) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some((_, commit)) = name.rsplit_once('@') else { continue };
        match world.commits.get(commit) {
            Some(files) => compare(&path, files, broken),
            None => broken.0.push(format!("{} is of no commit", path.display())),
        }
    }
}

/// A generation that stands is complete, and so is what `current` leads to.
fn generations(world: &World, broken: &mut Broken) {
    let generations = published_entries(&world.home("generations"));
    for dir in &generations {
        let record = json(&dir.join("realization.json"), broken);
        broken.unless(record["version_id"] == VERSION, || format!("{} has no record", dir.display()));
        let lock = json(&dir.join("lock.json"), broken);
        let commit = lock["comfy"]["commit"].as_str().unwrap_or_default();
        match world.commits.get(commit) {
            Some(files) => compare(&dir.join("ComfyUI"), files, broken),
            None => broken.0.push(format!("the lock in {} names no commit", dir.display())),
        }
        broken.unless(dir.join("ComfyUI/models").is_dir(), || format!("{}: no models", dir.display()));
        environment(dir, broken);
    }
    if let Ok(current) = fs::read_link(world.home("current")) {
        let dir = world.home("").join(&current);
        broken.unless(generations.contains(&dir), || format!("`current` leads to {}", current.display()));
        for node in published_entries(&dir.join("ComfyUI/custom_nodes")) {
            broken.unless(node.is_dir(), || format!("{} leads nowhere", node.display()));
        }
    }
}

/// Each package of an environment has the files that it says it has.
fn environment(generation: &Path, broken: &mut Broken) {
    let venv = generation.join(".venv");
    let packages: Vec<_> = walk(&venv).into_iter().filter(|path| path.ends_with("RECORD")).collect();
    broken.unless(!packages.is_empty(), || format!("{} has no packages", venv.display()));
    for record in packages {
        let root = record.parent().and_then(Path::parent).unwrap_or(&venv).to_owned();
        for line in fs::read_to_string(&record).unwrap_or_default().lines() {
            let file = root.join(line.split(',').next().unwrap_or_default());
            broken.unless(file.is_file(), || format!("{} is missing", file.display()));
        }
        let installed = root.join("installed.txt");
        broken.unless(fs::read(&installed).is_ok_and(|text| text == b"whole"), || {
            format!("{} is missing: install.py did not run", installed.display())
        });
    }
}

/// A commit that a ref pins is there with all its files; a Git LFS object is what its name says.
fn git_caches(world: &World, broken: &mut Broken) {
    let root = world.env.volume(".comfy-cache/git");
    for path in published_entries(&root) {
        match path.file_name().unwrap_or_default().to_str() {
            Some("locks") => {}
            Some("lfs") => {
                for object in published_entries(&path) {
                    let digest = Sha256::digest(fs::read(&object).unwrap_or_default());
                    let digest = digest.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
                    broken.unless(object.ends_with(&digest), || format!("{} is damaged", object.display()));
                }
            }
            _ => git_cache(&path, broken),
        }
    }
}

fn git_cache(path: &Path, broken: &mut Broken) {
    let git = |args: &[&str]| {
        let mut command = Command::new("git");
        command.env_clear().env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        command.env("PATH", "/usr/local/bin:/usr/bin:/bin").arg("--git-dir").arg(path).args(args);
        command.output().unwrap()
    };
    // Connectivity, as git sees it: a pin whose objects are not all there is an error.
    let checked = git(&["fsck", "--connectivity-only", "--no-dangling"]);
    broken.unless(checked.status.success(), || {
        format!("{}: {}", path.display(), String::from_utf8_lossy(&checked.stderr).trim())
    });
}

/// Every record and index that has its name can be read.
fn records(world: &World, broken: &mut Broken) {
    for place in ["home/.comfy-cache", "state", "vol/models/.comfyd"] {
        for path in walk(&world.env.path(place)) {
            let is_staging = path.iter().any(|part| part.to_string_lossy().starts_with(STAGING));
            if path.extension().is_some_and(|extension| extension == "json") && !is_staging {
                json(&path, broken);
            }
        }
    }
}

fn json(path: &Path, broken: &mut Broken) -> Value {
    let read = fs::read(path).map_err(|error| error.to_string());
    let parsed = read.and_then(|text| serde_json::from_slice(&text).map_err(|error| error.to_string()));
    parsed.unwrap_or_else(|error| {
        broken.0.push(format!("{} cannot be read: {error}", path.display()));
        Value::Null
    })
}

fn compare(dir: &Path, files: &Files, broken: &mut Broken) {
    for (name, content) in files {
        let path = dir.join(name);
        let found = fs::read(&path);
        broken.unless(found.is_ok_and(|found| found == *content), || {
            format!("{} is not git's", path.display())
        });
    }
}

fn published_entries(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries.filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'));
    names.map(|entry| entry.path()).collect()
}

/// Returns everything below a directory, links not followed.
fn walk(root: &Path) -> Vec<PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![root.to_owned()]);
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    found
}

/// Counts by a name how often a noting daemon has passed each place.
pub(super) fn passed(log: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for line in log.lines() {
        if let Some((_, place)) = line.split_once("passed place=\"") {
            *counts.entry(place.trim_end_matches('"').to_owned()).or_default() += 1;
        }
    }
    counts
}
