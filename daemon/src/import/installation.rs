//! An installed ComfyUI: its repositories, its models, and what no spec can hold. Blocks.
//!
//! Nothing is changed and nothing of it is run. A pack is a clone, an archive of the registry (which says in
//! `pyproject.toml` what it is), or something that only its owner knows.

use super::error::{ImportError, in_one_line};
use super::found::{Found, FoundNode, FoundRepo, Revision, shown, unknown};
use super::installed_models::{self, entries, name_of};
use super::sidecar::ModelList;
use super::snapshot::loose;
use crate::source::git::{GitError, Installed, installed};
use proto::method::UnknownKind;
use serde::Deserialize;
use std::path::Path;

const LOCAL: &str = "put it into a repository that others reach";

/// Looks at the ComfyUI in a directory, or in `ComfyUI` below it.
///
/// # Errors
/// There is none.
pub(super) fn read(dir: &Path) -> Result<Found, ImportError> {
    let root = [dir.to_owned(), dir.join("ComfyUI")].into_iter().find(|dir| is_comfyui(dir));
    let root = root.ok_or_else(|| ImportError::NotComfyui(dir.to_owned()))?;
    let mut found = Found::default();
    let own = comfy(&root, &mut found);
    found.python = python(&root, dir);
    let extra = installed_models::extra(&root, &mut found);
    let nodes = std::iter::once((root.join("custom_nodes"), own.as_slice()));
    for (dir, own) in nodes.chain(extra.nodes.iter().map(|dir| (dir.clone(), &[][..]))) {
        for entry in entries(&dir) {
            node(&entry, own, &mut found);
        }
        for entry in entries(&dir.join(".disabled")) {
            disabled(&entry, &mut found);
        }
    }
    installed_models::find(&root, &extra, &mut found);
    listed(&root, &mut found);
    Ok(found)
}

fn is_comfyui(dir: &Path) -> bool {
    ["main.py", "nodes.py", "folder_paths.py"].iter().all(|name| dir.join(name).is_file())
}

/// Reads what ComfyUI itself is; returns the files that are its own.
fn comfy(root: &Path, found: &mut Found) -> Vec<String> {
    match clone_of("ComfyUI", root, found) {
        Some(Installed { remote, commit: Some(commit), top, .. }) => {
            found.comfy = FoundRepo { url: remote, revision: Revision::Commit(commit) };
            return top;
        }
        // No clone: an archive, which says its version.
        _ => found.comfy.revision = version_file(root).map(Revision::Version).unwrap_or_default(),
    }
    // What every ComfyUI has there.
    ["custom_nodes/websocket_image_save.py", "custom_nodes/example_node.py.example"]
        .map(str::to_owned)
        .to_vec()
}

/// Reads `__version__` of comfyui_version.py, which releases of ComfyUI have since 0.3.
fn version_file(root: &Path) -> Option<String> {
    let text = std::fs::read_to_string(root.join("comfyui_version.py")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("__version__"))?;
    let version = line.trim_start_matches([' ', '=']).trim().trim_matches(['"', '\'']);
    Some(version.to_owned()).filter(|version| !version.is_empty())
}

/// Reads which Python the environment beside an installation has, as pyvenv.cfg says it.
fn python(root: &Path, dir: &Path) -> Option<String> {
    let parents = [root, dir, root.parent().unwrap_or(root)];
    let files =
        parents.iter().flat_map(|dir| ["venv", ".venv"].map(|name| dir.join(name).join("pyvenv.cfg")));
    files.filter_map(|file| std::fs::read_to_string(file).ok()).find_map(|text| {
        let of = |line: &str| {
            let (name, value) = line.split_once('=')?;
            matches!(name.trim(), "version" | "version_info").then(|| value.trim().to_owned())
        };
        text.lines().find_map(of)
    })
}

/// Takes the links that ComfyUI-Manager's list has for the models' names.
fn listed(root: &Path, found: &mut Found) {
    let managers = ["ComfyUI-Manager", "comfyui-manager"].map(|name| root.join("custom_nodes").join(name));
    let mut files = managers.iter().map(|dir| dir.join("model-list.json"));
    let Some(text) = files.find_map(|file| std::fs::read_to_string(file).ok()) else { return };
    let (list, mut by_name) = (ModelList::read(&text), Vec::new());
    for model in found.models.iter_mut().filter(|model| model.link.is_none()) {
        let folder = model.folder.clone().unwrap_or_default();
        if let Some(link) = list.link(&folder, &model.name) {
            model.link = Some(link.to_owned());
            by_name.push(shown(&model.name));
        }
    }
    if !by_name.is_empty() {
        let names = by_name.join(", ");
        found
            .warnings
            .push(format!("links taken from ComfyUI-Manager's list by the models' names alone: {names}"));
    }
}

fn node(path: &Path, own: &[String], found: &mut Found) {
    let name = name_of(path);
    if name == "__pycache__" || name == ".disabled" || own.contains(&format!("custom_nodes/{name}")) {
        return;
    }
    if name.ends_with(".disabled") {
        return disabled(path, found);
    }
    if !path.is_dir() {
        if is_python(path) {
            found.unknown.push(loose(&name, false));
        }
        return;
    }
    let dir = Some(name.clone());
    if let Some(Installed { remote, commit, .. }) = clone_of(&name, path, found) {
        let (Some(url), Some(commit)) = (remote, commit) else {
            let reason = "its repository has no remote, or no commit";
            found.unknown.push(unknown(UnknownKind::CustomNode, name, reason, LOCAL));
            return;
        };
        let repo = FoundRepo { url: Some(url), revision: Revision::Commit(commit) };
        found.nodes.push(FoundNode { name, repo, dir, ..FoundNode::default() });
    } else if let Some(project) = archive(path) {
        let repo = FoundRepo { url: project.urls.repository, revision: Revision::read(&project.version) };
        found.nodes.push(FoundNode { name, registry_id: Some(project.name), repo, dir, class: None });
    } else if path.join("__init__.py").is_file() {
        let reason = "it is no clone, and no archive of the registry";
        found.unknown.push(unknown(UnknownKind::CustomNode, name, reason, LOCAL));
    }
}

fn is_python(file: &Path) -> bool {
    file.extension().is_some_and(|end| end == "py")
}

fn disabled(path: &Path, found: &mut Found) {
    let name = name_of(path);
    let name = name.strip_suffix(".disabled").unwrap_or(&name);
    let hint = "add it to `custom_nodes` if the version needs it";
    if path.is_dir() || is_python(Path::new(name)) {
        found.unknown.push(unknown(UnknownKind::CustomNode, name, "it is disabled", hint));
    }
}

/// Looks at a clone, and tells what a spec loses of it; none when there is no clone, or it cannot be read.
fn clone_of(name: &str, dir: &Path, found: &mut Found) -> Option<Installed> {
    let clone = match installed(dir) {
        Ok(clone) => clone?,
        Err(error) => {
            found.warnings.push(unreadable(name, &error));
            return None;
        }
    };
    if clone.changed > 0 {
        let what = if clone.changed == 1 { "1 file" } else { &format!("{} files", clone.changed) };
        let name = shown(name);
        found.warnings.push(format!(
            "`{name}` has local changes ({what}): they are not in the spec; commit and push them"
        ));
    }
    if clone.had_login {
        let name = shown(name);
        found.warnings.push(format!(
            "the remote of `{name}` holds a password: it was left out; let a git credential helper answer"
        ));
    }
    Some(clone)
}

fn unreadable(name: &str, error: &GitError) -> String {
    format!("`{}`: {}", shown(name), in_one_line(error))
}

/// The part of a pack's pyproject.toml that says what it is.
#[derive(Deserialize)]
struct Project {
    name: String,
    version: String,
    #[serde(default)]
    urls: Urls,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Urls {
    #[serde(rename = "Repository")]
    repository: Option<String>,
}

/// Reads what an archive of the registry is: `.tracking` beside pyproject.toml tells it from any other directory
/// (ComfyUI-Manager, `cnr_utils.py`).
fn archive(dir: &Path) -> Option<Project> {
    #[derive(Deserialize)]
    struct File {
        project: Project,
    }
    if !dir.join(".tracking").is_file() {
        return None;
    }
    let text = std::fs::read_to_string(dir.join("pyproject.toml")).ok()?;
    toml::from_str::<File>(&text).ok().map(|file| file.project)
}
