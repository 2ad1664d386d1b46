//! From what was found to the text of a spec. Pure.
//!
//! The spec's own rules decide: what they refuse of an entry is told, and the entry left out.

use super::COMFYUI;
use super::error::ImportError;
use super::found::{Found, FoundModel, FoundNode, Revision, shown, unknown};
use proto::method::{Unknown, UnknownKind};
use proto::spec::file::{ComfyEntry, EnvValue, ModelEntry, NodeEntry, SpecFile};
use proto::spec::{Diagnostic, Parsed, SCHEMA_VERSION, Severity};
use proto::{ModelSource, RelPath, Spec, VersionId};
use std::collections::{BTreeMap, BTreeSet};
use url::Url;

/// A spec and what it lacks.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) text: String,
    pub(super) spec: Spec,
    pub(super) unknown: Vec<Unknown>,
    pub(super) warnings: Vec<String>,
}

const NO_LINK: &str = "no link of it is known";
const ADD_MODEL: &str = "add it to `models` with its link";

/// Writes the spec of a version.
///
/// # Errors
/// What is left of it is no spec: a bug.
pub(super) fn write(found: Found, id: &VersionId) -> Result<Written, ImportError> {
    let Found { comfy, nodes, models, python, mut unknown, mut warnings } = found;
    let (repo, had_login) = comfy.url.as_deref().map_or((COMFYUI.to_owned(), false), repository);
    warnings.extend(had_login.then(|| login_told("ComfyUI")));
    let (git_ref, commit) = split(comfy.revision);
    let mut file = SpecFile {
        schema: None,
        schema_version: SCHEMA_VERSION,
        comfy: ComfyEntry { repo, git_ref, commit },
        custom_nodes: node_entries(nodes, &mut warnings),
        models: model_entries(models, &mut unknown),
        python_packages: Vec::new(),
        env: python.as_deref().and_then(interpreter).into_iter().collect(),
        options: None,
        version_id: None,
        id: None,
    };
    loop {
        let text =
            serde_json::to_string_pretty(&file).map_err(|error| ImportError::Refused(error.to_string()))?;
        let text = text + "\n";
        let Parsed { spec, diagnostics } = proto::spec::parse(&text, &format!("{id}.json"), id.as_str());
        if let Some(spec) = spec {
            warnings
                .extend(diagnostics.iter().map(|finding| format!("{}: {}", finding.field, finding.message)));
            unknown.sort();
            unknown.dedup();
            return Ok(Written { text, spec, unknown, warnings });
        }
        let errors: Vec<Diagnostic> =
            diagnostics.into_iter().filter(|finding| finding.severity == Severity::Error).collect();
        if !leave_out(&mut file, &errors, &mut unknown) {
            let first = errors.first().map(ToString::to_string);
            return Err(ImportError::Refused(first.unwrap_or_default()));
        }
    }
}

/// Takes out what the errors are about, and tells it. Returns whether there was such a thing.
fn leave_out(file: &mut SpecFile, errors: &[Diagnostic], lost: &mut Vec<Unknown>) -> bool {
    let (mut nodes, mut models) = (BTreeSet::new(), BTreeSet::new());
    for Diagnostic { field, message, hint, .. } in errors {
        let hint = hint.as_deref().unwrap_or_default();
        let index = |list: &str| field.strip_prefix(list)?.split(']').next()?.parse::<usize>().ok();
        let node = index("custom_nodes[").and_then(|at| Some((at, file.custom_nodes.get(at)?)));
        let model = index("models[").and_then(|at| Some((at, file.models.get(at)?)));
        if let Some((at, node)) = node {
            // The first thing that is wrong with an entry is told.
            let is_first = nodes.insert(at);
            lost.extend(is_first.then(|| unknown(UnknownKind::CustomNode, &node.repo, message, hint)));
        } else if let Some((at, model)) = model {
            let (folder, name) =
                (model.target_subdir.as_deref(), model.name.as_ref().unwrap_or(&model.source));
            let name = format!("{}/{name}", folder.unwrap_or_default());
            let is_first = models.insert(at);
            lost.extend(is_first.then(|| unknown(UnknownKind::Model, name, message, hint)));
        } else if field.starts_with("comfy") && file.comfy.repo != COMFYUI {
            lost.push(unknown(UnknownKind::Comfyui, &file.comfy.repo, message, hint));
            COMFYUI.clone_into(&mut file.comfy.repo);
            return true;
        }
    }
    remove(&mut file.custom_nodes, &nodes);
    remove(&mut file.models, &models);
    !nodes.is_empty() || !models.is_empty()
}

fn remove<T>(entries: &mut Vec<T>, places: &BTreeSet<usize>) {
    let mut place = 0..;
    entries.retain(|_| place.next().is_some_and(|place| !places.contains(&place)));
}

fn node_entries(nodes: Vec<FoundNode>, warnings: &mut Vec<String>) -> Vec<NodeEntry> {
    let mut by_repo: BTreeMap<String, usize> = BTreeMap::new();
    let mut kept: Vec<(FoundNode, String)> = Vec::new();
    for node in nodes {
        let Some(url) = &node.repo.url else { continue };
        let (repo, had_login) = repository(url);
        warnings.extend(had_login.then(|| login_told(&node.name)));
        let key = repo.trim_end_matches('/').trim_end_matches(".git").to_ascii_lowercase();
        let first = *by_repo.entry(key).or_insert(kept.len());
        match kept.get_mut(first) {
            // A repository that is installed twice, in two directories, is two nodes.
            Some((known, _)) if known.dir == node.dir || node.dir.is_none() => {
                known.repo.revision = std::mem::take(&mut known.repo.revision).or(node.repo.revision);
            }
            _ => kept.push((node, repo)),
        }
    }
    let entry = |(node, repo): (FoundNode, String)| {
        let (git_ref, commit) = split(node.repo.revision);
        let last = repo.trim_end_matches('/').rsplit(['/', ':']).next().unwrap_or_default();
        let default = last.strip_suffix(".git").unwrap_or(last).to_owned();
        let path = node.dir.filter(|dir| *dir != default);
        NodeEntry { repo, git_ref, commit, path, install_requirements: None, name: None, target_dir: None }
    };
    kept.into_iter().map(entry).collect()
}

fn model_entries(models: Vec<FoundModel>, lost: &mut Vec<Unknown>) -> Vec<ModelEntry> {
    let (mut entries, mut taken) = (Vec::new(), BTreeSet::new());
    for model in models {
        match model_entry(&model) {
            Ok((target, entry)) => entries.extend(taken.insert(target).then_some(entry)),
            Err((reason, hint)) => {
                let name = model.target().unwrap_or_else(|| model.name.clone());
                let by = model.by.as_deref().map(|by| format!(" ({})", shown(by))).unwrap_or_default();
                lost.push(unknown(UnknownKind::Model, name + &by, &reason, &hint));
            }
        }
    }
    entries
}

/// Makes a model's entry, with its place; or says why there is none, and what to do.
fn model_entry(model: &FoundModel) -> Result<(String, ModelEntry), (String, String)> {
    let Some(link) = &model.link else { return Err((NO_LINK.to_owned(), ADD_MODEL.to_owned())) };
    let source = ModelSource::parse(link).map_err(|error| (error.message, error.hint))?;
    let no_folder = || {
        ("its folder is not known".to_owned(), format!("add it to `models` with `\"source\": \"{source}\"`"))
    };
    let target = model.target().ok_or_else(no_folder)?;
    let target = RelPath::new(target).map_err(|error| (error.to_string(), ADD_MODEL.to_owned()))?;
    let (folder, name) = target.as_str().rsplit_once('/').ok_or_else(no_folder)?;
    let hex = model
        .sha256
        .as_deref()
        .filter(|hash| hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()));
    let entry = ModelEntry {
        source: source.to_string(),
        target_subdir: Some(folder.to_owned()),
        name: Some(name.to_owned()).filter(|name| source.file_name().as_ref() != Some(name)),
        checksum: hex.map(|hash| format!("sha256:{}", hash.to_ascii_lowercase())),
        target_path: None,
        path: None,
    };
    Ok((target.as_str().to_owned(), entry))
}

fn split(revision: Revision) -> (Option<String>, Option<String>) {
    match revision {
        Revision::Commit(commit) => (None, Some(commit.to_string())),
        Revision::Ref(name) => (Some(name), None),
        Revision::Version(_) | Revision::Unknown => (None, None),
    }
}

/// Names the interpreter of a version such as `3.12.3`.
fn interpreter(version: &str) -> Option<(String, EnvValue)> {
    let mut parts = version.trim().split('.');
    let (major, minor) = (parts.next()?, parts.next()?);
    let is_number =
        |text: &str| !text.is_empty() && text.len() < 4 && text.bytes().all(|byte| byte.is_ascii_digit());
    let named = major == "3" && is_number(minor);
    named.then(|| ("COMFY_PYTHON".to_owned(), EnvValue::Text(format!("python3.{minor}"))))
}

/// Makes a repository's address of what people write for one: without a login, without the pages that browsers show.
/// Tells whether there was a login.
pub(super) fn repository(text: &str) -> (String, bool) {
    let text = text.trim();
    let text = text.strip_prefix("git+").unwrap_or(text);
    let Some(mut url) = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https")) else {
        return (text.to_owned(), false);
    };
    let had_login = !url.username().is_empty() || url.password().is_some();
    // An address with a host takes both; and without one there is no login.
    let cleared = url.set_username("").and_then(|()| url.set_password(None)).is_ok();
    url.set_query(None);
    url.set_fragment(None);
    let parts: Vec<String> = url.path_segments().into_iter().flatten().map(str::to_owned).collect();
    if url.host_str() == Some("github.com") && parts.len() > 2 {
        url.set_path(&parts[..2].join("/"));
    }
    let address = url.as_str().trim_end_matches('/').to_owned();
    (address, had_login && cleared)
}

fn login_told(name: &str) -> String {
    let name = shown(name);
    format!("the address of `{name}` holds a login: it was left out; let a git credential helper answer")
}

#[cfg(test)]
mod tests;
