//! What hosts know and origins do not: repositories of packs, tags of versions, ComfyUI's newest release.
//!
//! A host that does not answer costs exactness, never the spec: what it would have said becomes unknown, or is
//! written less exactly, and people are told.

use super::COMFYUI;
use super::error::{ImportError, in_one_line};
use super::found::{Found, FoundNode, Revision, shown, unknown};
use super::workflow::CORE;
use crate::ctx::Ctx;
use crate::source::Sources;
use crate::source::git::releases;
use crate::source::registry::{self, Pack};
use futures_util::{StreamExt as _, stream};
use proto::method::{Unknown, UnknownKind};
use std::error::Error;
use std::sync::OnceLock;
use std::time::Duration;

/// Packs that are asked about at the same time.
const AT_ONCE: usize = 8;

/// How long one answer may take, with all attempts: what it would say is missed, but not needed.
const PATIENCE: Duration = Duration::from_secs(15);

const OFFLINE: &str = "only the registry knows its repository, and no host was asked";
const NO_REPOSITORY: &str = "add it to `custom_nodes` with its repository";
const ASK_AGAIN: &str = "try again when the network works, or add it to `custom_nodes` with its repository";

/// Asks about everything that is not known yet. Nobody is asked where `offline`.
///
/// # Errors
/// Only when it was cancelled.
pub(super) async fn complete(
    ctx: &Ctx,
    sources: &Sources,
    mut found: Found,
    (offline, is_asked): (bool, bool),
) -> Result<Found, ImportError> {
    ctx.progress.phase("look up");
    let lookup = Lookup { ctx, sources, offline, silent: OnceLock::new() };
    let nodes = std::mem::take(&mut found.nodes);
    let nodes: Vec<_> = nodes.into_iter().map(|node| lookup.node(node)).collect();
    let nodes = stream::iter(nodes).buffered(AT_ONCE).collect::<Vec<_>>();
    let (nodes, ()) = tokio::join!(nodes, lookup.comfy(&mut found, is_asked));
    for Looked { node, lost, warnings } in nodes {
        found.nodes.extend(node);
        found.unknown.extend(lost);
        found.warnings.extend(warnings);
    }
    if ctx.cancel.is_cancelled() { Err(ImportError::Cancelled) } else { Ok(found) }
}

struct Lookup<'a> {
    ctx: &'a Ctx,
    sources: &'a Sources,
    offline: bool,
    /// Why the registry is asked no more.
    silent: OnceLock<String>,
}

/// What became of a pack.
#[derive(Default)]
struct Looked {
    node: Option<FoundNode>,
    lost: Option<Unknown>,
    warnings: Vec<String>,
}

impl Looked {
    fn lost(node: &FoundNode, reason: &str, hint: &str) -> Self {
        let kind = if node.class.is_some() { UnknownKind::NodeClass } else { UnknownKind::CustomNode };
        Self { lost: Some(unknown(kind, &node.name, reason, hint)), ..Self::default() }
    }
}

impl Lookup<'_> {
    async fn node(&self, mut node: FoundNode) -> Looked {
        let mut warnings = Vec::new();
        if node.repo.url.is_none() {
            match self.repository(&node, &mut warnings).await {
                Ok(url) => node.repo.url = Some(url),
                Err(looked) => return looked,
            }
        }
        if let (Revision::Version(version), Some(url)) = (&node.repo.revision, &node.repo.url) {
            let (name, shown_version) = (shown(&node.name), shown(version));
            let tag = self.tags(url).await.map(|tags| releases::tag_of(&tags, version).cloned());
            let why = match tag {
                Ok(Some(tag)) => {
                    node.repo.revision = Revision::Ref(tag);
                    return Looked { node: Some(node), lost: None, warnings };
                }
                Ok(None) => format!("its version {shown_version} has no tag"),
                Err(why) => format!("the tag of its version {shown_version} is not known ({why})"),
            };
            warnings.push(format!("`{name}`: {why}: the newest commit of its default branch is taken"));
            node.repo.revision = Revision::Unknown;
        }
        Looked { node: Some(node), lost: None, warnings }
    }

    /// Finds the repository of a pack; else what became of it.
    async fn repository(&self, node: &FoundNode, warnings: &mut Vec<String>) -> Result<String, Looked> {
        let hint = if self.offline { NO_REPOSITORY } else { ASK_AGAIN };
        let pack = self.pack(node).await.map_err(|reason| Looked::lost(node, &reason, hint))?;
        match pack {
            // A class that ComfyUI got after our list was made.
            Some(pack) if pack.id == CORE => Err(Looked::default()),
            Some(Pack { id, repository: Some(url) }) if !url.trim().is_empty() => {
                if let Some(class) = &node.class {
                    let (class, id) = (shown(class), shown(&id));
                    warnings
                        .push(format!("`{class}` is taken to be of `{id}`, which has a class of that name"));
                }
                Ok(url)
            }
            Some(_) => Err(Looked::lost(node, "the registry names no repository of it", NO_REPOSITORY)),
            None => Err(Looked::lost(node, "the registry does not know it", NO_REPOSITORY)),
        }
    }

    /// Asks the registry about a pack, or says why not.
    async fn pack(&self, node: &FoundNode) -> Result<Option<Pack>, String> {
        if self.offline {
            return Err(OFFLINE.to_owned());
        }
        if let Some(why) = self.silent.get() {
            return Err(why.clone());
        }
        let http = &self.sources.http;
        let asked = async {
            match (&node.registry_id, &node.class) {
                (Some(id), _) => registry::pack(self.ctx, http, id).await,
                (None, Some(class)) => registry::pack_of_class(self.ctx, http, class).await,
                (None, None) => Ok(None),
            }
        };
        in_time(asked).await.map_err(|why| {
            // One that is not there is not asked a hundred times.
            self.silent.get_or_init(|| format!("the registry did not answer: {why}")).clone()
        })
    }

    /// Lists the tags of a repository, or says why not.
    async fn tags(&self, url: &str) -> Result<Vec<String>, String> {
        if self.offline {
            return Err("no host was asked".to_owned());
        }
        let (url, _) = super::write::repository(url);
        in_time(self.sources.git.tags(self.ctx, &url)).await
    }

    /// Finds what to take from ComfyUI's repository. `is_asked` tells whether an origin should have said it.
    async fn comfy(&self, found: &mut Found, is_asked: bool) {
        let version = match &found.comfy.revision {
            Revision::Commit(_) | Revision::Ref(_) => return,
            Revision::Version(version) => Some(version.clone()),
            Revision::Unknown => None,
        };
        let url = found.comfy.url.clone().unwrap_or_else(|| COMFYUI.to_owned());
        found.comfy.revision = match (self.tags(&url).await, version.as_deref()) {
            (Ok(tags), version) => match choose(&tags, version) {
                Some((tag, is_exact)) => {
                    if is_asked && !is_exact {
                        let lacks =
                            if version.is_some() { "its ComfyUI has no tag" } else { "it names no ComfyUI" };
                        found.warnings.push(format!("{lacks}: the newest release, {tag}, is taken"));
                    }
                    Revision::Ref(tag)
                }
                None => no_release(found, "its repository has no releases"),
            },
            (Err(why), Some(version)) => {
                found.warnings.push(format!("ComfyUI's tag `v{}` was not looked up ({why})", shown(version)));
                Revision::Ref(format!("v{version}"))
            }
            (Err(why), None) => no_release(found, &format!("its newest release is not known: {why}")),
        };
    }
}

/// Chooses the tag of a version, else that of the newest release, and tells whether it is the version's.
fn choose(tags: &[String], version: Option<&str>) -> Option<(String, bool)> {
    match version.and_then(|version| releases::tag_of(tags, version)) {
        Some(tag) => Some((tag.clone(), true)),
        None => releases::newest(tags).map(|tag| (tag.clone(), false)),
    }
}

/// Waits for an answer, but not for long.
async fn in_time<T, E: Error>(answer: impl Future<Output = Result<T, E>>) -> Result<T, String> {
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(answer) => answer.map_err(|error| in_one_line(&error)),
        Err(_) => Err(format!("nothing came within {} s", PATIENCE.as_secs())),
    }
}

/// Notes that ComfyUI's default branch is taken.
fn no_release(found: &mut Found, reason: &str) -> Revision {
    let hint = "its default branch is taken; write a release into `ref` of `comfy`";
    found.unknown.push(unknown(UnknownKind::Comfyui, "ComfyUI", reason, hint));
    Revision::Unknown
}
