//! Snapshots of other programs: ComfyUI-Manager's (JSON, and YAML below `custom_nodes`), that of comfy-pack, which is
//! the same with models, and that of ComfyUI Desktop. Pure. Also the way back: a lock as a snapshot of the Manager.
//!
//! Keys may be absent or null. What a snapshot says of Python packages is left out: ComfyUI and its nodes say
//! what they need, and `resolve` pins it.

use super::found::{Found, FoundModel, FoundNode, FoundRepo, Revision, shown, unknown};
use super::{COMFYUI, ImportError};
use proto::Lock;
use proto::method::UnknownKind;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const DISABLED: &str = "it is disabled";
const DISABLED_HINT: &str = "add it to `custom_nodes` if the version needs it";

/// Reads a snapshot.
pub(super) fn read(text: &str) -> Result<Found, ImportError> {
    let text = text.trim_start_matches('\u{feff}').trim();
    let head: Head = parse(text)?;
    if head.kind.as_deref() == Some("comfyui-desktop-2-snapshot") || head.snapshots.is_some() {
        return Ok(desktop(parse(text)?));
    }
    let snapshot =
        if head.custom_nodes.is_some() { parse::<Wrapped>(text)?.custom_nodes } else { parse(text)? };
    if snapshot.is_empty() {
        let reason = "it has none of `comfyui`, `git_custom_nodes` and `cnr_custom_nodes`".to_owned();
        return Err(ImportError::Snapshot(reason));
    }
    Ok(manager(snapshot))
}

/// What tells the kinds of snapshots apart.
#[derive(Deserialize)]
struct Head {
    #[serde(rename = "type")]
    kind: Option<String>,
    snapshots: Option<IgnoredAny>,
    custom_nodes: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Wrapped {
    custom_nodes: Manager,
}

/// A snapshot of ComfyUI-Manager, with what comfy-pack adds.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Manager {
    comfyui: Option<String>,
    git_custom_nodes: Option<BTreeMap<String, Option<GitNode>>>,
    cnr_custom_nodes: Option<BTreeMap<String, Option<String>>>,
    file_custom_nodes: Option<Vec<FileNode>>,
    pips: Option<BTreeMap<String, IgnoredAny>>,
    python: Option<String>,
    models: Option<Vec<PackModel>>,
}

impl Manager {
    fn is_empty(&self) -> bool {
        self.comfyui.is_none() && self.git_custom_nodes.is_none() && self.cnr_custom_nodes.is_none()
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct GitNode {
    hash: Option<String>,
    disabled: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct FileNode {
    filename: Option<String>,
    disabled: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PackModel {
    filename: Option<String>,
    sha256: Option<String>,
    disabled: Option<bool>,
    source: Option<PackSource>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PackSource {
    download_url: Option<String>,
    url: Option<String>,
}

#[derive(Deserialize)]
struct Desktop {
    #[serde(default)]
    snapshots: Vec<DesktopSnapshot>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct DesktopSnapshot {
    created_at: Option<String>,
    comfyui: Option<DesktopComfy>,
    custom_nodes: Vec<DesktopNode>,
    pip_packages: Option<BTreeMap<String, IgnoredAny>>,
    python_version: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct DesktopComfy {
    commit: Option<String>,
    release_tag: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct DesktopNode {
    id: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    dir_name: Option<String>,
    enabled: Option<bool>,
    version: Option<String>,
    url: Option<String>,
    commit: Option<String>,
}

fn parse<T: DeserializeOwned>(text: &str) -> Result<T, ImportError> {
    if text.starts_with('{') {
        return serde_json::from_str(text).map_err(|error| ImportError::Snapshot(shown(&error.to_string())));
    }
    let first = |error: serde_saphyr::Error| shown(error.to_string().lines().next().unwrap_or_default());
    serde_saphyr::from_str(text).map_err(|error| ImportError::Snapshot(first(error)))
}

fn manager(snapshot: Manager) -> Found {
    let mut found = Found { python: snapshot.python, ..Found::default() };
    found.comfy.revision = snapshot.comfyui.as_deref().map(Revision::read).unwrap_or_default();
    for (url, node) in snapshot.git_custom_nodes.into_iter().flatten() {
        let GitNode { hash, disabled } = node.unwrap_or_default();
        if disabled == Some(true) {
            found.unknown.push(unknown(UnknownKind::CustomNode, url, DISABLED, DISABLED_HINT));
            continue;
        }
        let revision = hash.as_deref().map(Revision::read).unwrap_or_default();
        let repo = FoundRepo { url: Some(url.clone()), revision };
        found.nodes.push(FoundNode { name: url, repo, ..FoundNode::default() });
    }
    for (id, version) in snapshot.cnr_custom_nodes.into_iter().flatten() {
        found.nodes.push(of_registry(id, version.as_deref()));
    }
    for file in snapshot.file_custom_nodes.into_iter().flatten() {
        let name = file.filename.unwrap_or_default();
        found.unknown.push(loose(&name, file.disabled == Some(true)));
    }
    for model in snapshot.models.into_iter().flatten() {
        found.models.extend(packed(model));
    }
    packages(&mut found, snapshot.pips.map_or(0, |pips| pips.len()));
    found
}

fn desktop(file: Desktop) -> Found {
    // The newest one, by its own clock; of those without a time the first.
    let newest = file.snapshots.into_iter().rev().max_by(|one, two| one.created_at.cmp(&two.created_at));
    let snapshot = newest.unwrap_or_default();
    let mut found = Found { python: snapshot.python_version, ..Found::default() };
    if let Some(comfy) = snapshot.comfyui {
        let of = |text: Option<String>| text.as_deref().map(Revision::read).unwrap_or_default();
        found.comfy.revision = of(comfy.commit).or(of(comfy.release_tag));
    }
    for node in snapshot.custom_nodes {
        let name = node.dir_name.clone().or_else(|| node.id.clone()).unwrap_or_default();
        if node.enabled == Some(false) {
            found.unknown.push(unknown(UnknownKind::CustomNode, name, DISABLED, DISABLED_HINT));
        } else if node.kind.as_deref() == Some("file") {
            found.unknown.push(loose(&name, false));
        } else {
            let revision = node.commit.as_deref().or(node.version.as_deref()).map(Revision::read);
            let registry_id = node.id.filter(|_| node.kind.as_deref() == Some("cnr"));
            let repo = FoundRepo { url: node.url, revision: revision.unwrap_or_default() };
            found.nodes.push(FoundNode { name, registry_id, repo, dir: node.dir_name, class: None });
        }
    }
    packages(&mut found, snapshot.pip_packages.map_or(0, |packages| packages.len()));
    found
}

fn of_registry(id: String, version: Option<&str>) -> FoundNode {
    let revision = version.map(Revision::read).unwrap_or_default();
    let repo = FoundRepo { url: None, revision };
    FoundNode { name: id.clone(), registry_id: Some(id), repo, ..FoundNode::default() }
}

/// A node that is one file.
pub(super) fn loose(name: &str, is_disabled: bool) -> proto::method::Unknown {
    let reason = if is_disabled { DISABLED } else { "it is a single file, and no repository" };
    unknown(UnknownKind::CustomNode, name, reason, "put it into a repository of your own")
}

fn packed(model: PackModel) -> Option<FoundModel> {
    if model.disabled == Some(true) {
        return None;
    }
    let path = model.filename?.replace('\\', "/");
    let path = path.strip_prefix("models/").unwrap_or(&path);
    let (folder, name) = path.split_once('/')?;
    let link = model.source.and_then(|source| source.download_url.or(source.url));
    let (folder, name) = (Some(folder.to_owned()), name.to_owned());
    Some(FoundModel { name, folder, link, sha256: model.sha256, ..FoundModel::default() })
}

fn packages(found: &mut Found, count: usize) {
    if count > 0 {
        let what = if count == 1 {
            "1 Python package of it is".to_owned()
        } else {
            format!("{count} Python packages of it are")
        };
        let why = "ComfyUI and its nodes say what they need, and `resolve` pins that";
        found
            .warnings
            .push(format!("{what} not taken over: {why}; `python_packages` is for what is missing then"));
    }
}

/// A snapshot as ComfyUI-Manager restores it.
#[derive(Serialize)]
struct Written<'a> {
    comfyui: &'a str,
    git_custom_nodes: BTreeMap<&'a str, WrittenNode<'a>>,
    cnr_custom_nodes: BTreeMap<&'a str, &'a str>,
    file_custom_nodes: [(); 0],
    pips: BTreeMap<&'a str, &'a str>,
}

#[derive(Serialize)]
struct WrittenNode<'a> {
    hash: &'a str,
    disabled: bool,
}

/// Writes a lock as a snapshot, and says what a snapshot has no place for, a line each.
///
/// # Errors
/// The text cannot be made: a bug.
pub fn write(lock: &Lock) -> Result<(String, Vec<String>), serde_json::Error> {
    let mut left_out = Vec::new();
    let own = &lock.comfy.repo;
    if own.trim_end_matches('/').trim_end_matches(".git") != COMFYUI {
        left_out.push(format!("ComfyUI's repository, `{own}`, is not in it: a snapshot has its commit only"));
    }
    let mut git_custom_nodes = BTreeMap::new();
    for node in &lock.custom_nodes {
        let written = WrittenNode { hash: node.repo.commit.as_str(), disabled: false };
        if git_custom_nodes.insert(node.repo.repo.as_str(), written).is_some() {
            left_out.push(format!(
                "`{}` is in it once: a snapshot has one commit of a repository",
                node.repo.repo
            ));
        }
    }
    if !lock.models.is_empty() {
        let count = lock.models.len();
        left_out.push(format!("its models ({count}) are not in it: a snapshot has none"));
    }
    // A package that is pinned by a link stands there with it, as `pip freeze` writes it.
    let pips = lock.python.packages.iter().map(|package| {
        let line = package.requirement.as_str();
        (line, line.split_once(" @ ").map_or("", |(_, link)| link))
    });
    let written = Written {
        comfyui: lock.comfy.commit.as_str(),
        git_custom_nodes,
        cnr_custom_nodes: BTreeMap::new(),
        file_custom_nodes: [],
        pips: pips.collect(),
    };
    Ok((serde_json::to_string_pretty(&written)? + "\n", left_out))
}

#[cfg(test)]
mod tests;
