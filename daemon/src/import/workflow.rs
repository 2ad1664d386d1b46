//! Workflows: which packs and models they name. Pure.
//!
//! As ComfyUI saves it, a workflow is a graph (`nodes`, in subgraphs and group nodes too) whose nodes say in
//! `properties` which pack they are of (`cnr_id`, `aux_id`, `ver`) and which models they load (`models`). In API
//! format it is an object of nodes with `class_type`, and says neither. Both may lie within a request
//! (`prompt`, `workflow`, `input`).

use super::ImportError;
use super::classes::{folder, is_core, is_model, is_note};
use super::found::{Found, FoundModel, FoundNode, FoundRepo, Revision, shown};
use super::models_named::{self, Linked};
use serde_json::Value;
use std::collections::BTreeMap;

/// The id that ComfyUI's own nodes have.
pub(super) const CORE: &str = "comfy-core";

/// How deep a workflow may lie within a request.
const WRAPPED: usize = 3;

/// Reads a workflow of either format.
pub(super) fn read(text: &str) -> Result<Found, ImportError> {
    let text = text.trim_start_matches('\u{feff}');
    let root: Value = serde_json::from_str(text)
        .or_else(|error| serde_json::from_str(&without_nan(text)).map_err(|_| error))
        .map_err(|error| ImportError::Workflow(shown(&error.to_string())))?;
    let Some(graph) = graph_of(&root, WRAPPED) else {
        return Err(ImportError::Workflow("it has neither `nodes` nor nodes with a `class_type`".to_owned()));
    };
    let mut read = Read::default();
    match graph {
        Graph::Saved(graph) => read.saved(graph),
        Graph::Api(nodes) => nodes.for_each(|node| read.api_node(node)),
    }
    Ok(read.found())
}

/// Python writes `NaN` and `Infinity`, which are no JSON: `is_changed` of a prompt is often so.
fn without_nan(text: &str) -> String {
    let mut parts = text.split('"').peekable();
    let (mut clean, mut is_string, mut escaped) = (String::with_capacity(text.len()), false, false);
    while let Some(part) = parts.next() {
        if is_string {
            // A quote after an odd number of backslashes is part of the string.
            escaped = part.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1;
            clean += part;
        } else {
            clean += &part.replace("-Infinity", "null").replace("Infinity", "null").replace("NaN", "null");
        }
        if parts.peek().is_some() {
            clean.push('"');
        }
        is_string = !is_string || std::mem::take(&mut escaped);
    }
    clean
}

enum Graph<'a> {
    Saved(&'a Value),
    Api(Box<dyn Iterator<Item = &'a Value> + 'a>),
}

fn graph_of(value: &Value, depth: usize) -> Option<Graph<'_>> {
    if value["nodes"].is_array() {
        return Some(Graph::Saved(value));
    }
    let fields = value.as_object()?;
    if fields.values().any(|node| node["class_type"].is_string()) {
        return Some(Graph::Api(Box::new(fields.values())));
    }
    // A saved workflow says more than the prompt made of it.
    let within = ["workflow", "extra_data", "extra_pnginfo", "input", "prompt"];
    let depth = depth.checked_sub(1)?;
    within.iter().filter_map(|name| fields.get(*name)).find_map(|inner| graph_of(inner, depth))
}

/// What was read so far.
#[derive(Default)]
struct Read {
    comfy: Revision,
    /// Packs by their name, with all that nodes say of them.
    packs: BTreeMap<String, FoundNode>,
    /// Names of subgraphs, which are classes within this workflow.
    subgraphs: Vec<String>,
    linked: Vec<Linked>,
    named: Vec<FoundModel>,
    warnings: Vec<String>,
}

impl Read {
    fn saved(&mut self, graph: &Value) {
        let subgraphs = list(&graph["definitions"]["subgraphs"]);
        self.subgraphs =
            subgraphs.clone().filter_map(|graph| graph["id"].as_str().map(str::to_owned)).collect();
        let groups = graph["extra"]["groupNodes"].as_object().into_iter().flat_map(|groups| groups.values());
        for graph in std::iter::once(graph).chain(subgraphs).chain(groups) {
            self.linked.extend(list(&graph["models"]).filter_map(models_named::hint));
            for node in list(&graph["nodes"]) {
                self.saved_node(node);
            }
        }
    }

    fn saved_node(&mut self, node: &Value) {
        let (class, properties) = (text(&node["type"]).unwrap_or_default(), &node["properties"]);
        if is_note(class) {
            models_named::strings(&node["widgets_values"], &mut |note| {
                self.linked.extend(models_named::links(note))
            });
            return;
        }
        self.linked.extend(list(&properties["models"]).filter_map(models_named::hint));
        self.names(class, &node["widgets_values"]);
        let revision = text(&properties["ver"]).map(Revision::read).unwrap_or_default();
        let registry_id = text(&properties["cnr_id"]);
        if registry_id == Some(CORE) {
            self.comfy = std::mem::take(&mut self.comfy).or(revision);
            return;
        }
        let url = text(&properties["aux_id"]).and_then(repository);
        if registry_id.is_none() && url.is_none() {
            self.class(class);
            return;
        }
        let name = registry_id.or(url.as_deref()).unwrap_or_default().to_owned();
        let repo = FoundRepo { url, revision };
        let registry_id = registry_id.map(str::to_owned);
        self.pack(FoundNode { name, registry_id, repo, ..FoundNode::default() });
    }

    fn api_node(&mut self, node: &Value) {
        let Some(class) = text(&node["class_type"]) else { return };
        self.names(class, &node["inputs"]);
        self.class(class);
    }

    /// A node that says only its class.
    fn class(&mut self, class: &str) {
        if class.is_empty() || is_core(class) || self.subgraphs.iter().any(|id| id == class) {
            return;
        }
        self.pack(FoundNode {
            name: class.to_owned(),
            class: Some(class.to_owned()),
            ..FoundNode::default()
        });
    }

    fn pack(&mut self, node: FoundNode) {
        let FoundNode { name, repo: FoundRepo { revision, .. }, .. } = &node;
        let Some(known) = self.packs.get_mut(name) else {
            self.packs.insert(name.clone(), node);
            return;
        };
        let differs = |one: &Revision, two: &Revision| {
            *one != Revision::Unknown && *two != Revision::Unknown && one != two
        };
        if differs(&known.repo.revision, revision) {
            let name = shown(name);
            self.warnings
                .push(format!("the workflow's nodes name several versions of `{name}`: the newest is taken"));
        }
        known.repo.revision = std::mem::take(&mut known.repo.revision).or(revision.clone());
        known.repo.url = known.repo.url.take().or(node.repo.url);
    }

    /// Notes the models that a node's values name.
    fn names(&mut self, class: &str, values: &Value) {
        models_named::strings(values, &mut |value| {
            if is_model(value) && value.len() <= 255 && !value.contains(['\n', ':']) {
                let name = value.replace('\\', "/");
                let (folder, by) = (folder(class).map(str::to_owned), Some(class.to_owned()));
                self.named.push(FoundModel { name, folder, by, ..FoundModel::default() });
            }
        });
    }

    fn found(mut self) -> Found {
        self.warnings.sort();
        self.warnings.dedup();
        Found {
            comfy: FoundRepo { url: None, revision: self.comfy },
            nodes: self.packs.into_values().collect(),
            models: models_named::join(self.linked, self.named),
            warnings: self.warnings,
            ..Found::default()
        }
    }
}

/// Reads `owner/repository` of GitHub, which is what ComfyUI writes for packs without an id.
fn repository(aux_id: &str) -> Option<String> {
    let (owner, name) = aux_id.trim().split_once('/')?;
    let is_plain = |part: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        part.bytes().all(allowed) && part.bytes().any(|byte| byte.is_ascii_alphanumeric())
    };
    let name = name.strip_suffix(".git").unwrap_or(name);
    (is_plain(owner) && is_plain(name)).then(|| format!("https://github.com/{owner}/{name}"))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> + Clone {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> Option<&str> {
    value.as_str().map(str::trim).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests;
