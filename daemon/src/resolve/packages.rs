//! Packages: one install plan out of what ComfyUI, the custom nodes and the spec ask for.

use super::repositories::{PYPROJECT, Pinned};
use super::{Question, ResolveError};
use crate::ctx::Ctx;
use crate::source::python::{self, Contributor, INTERPRETER, PythonError, Request, Resolved, Role};
use crate::store;
use proto::Spec;
use proto::event::{TaskKind, Unit};
use std::collections::BTreeMap;

pub(super) async fn resolve(
    ctx: &Ctx,
    question: &Question<'_>,
    pinned: &Pinned,
) -> Result<Resolved, ResolveError> {
    let resolved = resolve_packages(ctx, question, pinned).await;
    resolved
        .map_err(|source| ResolveError::Packages { version: question.spec.version_id.to_string(), source })
}

async fn resolve_packages(
    ctx: &Ctx,
    question: &Question<'_>,
    pinned: &Pinned,
) -> Result<Resolved, PythonError> {
    let spec = question.spec;
    let task = ctx.progress.task(TaskKind::Packages, "package versions", Unit::Packages);
    task.detail("looking for uv and Python");
    let uv = question.sources.uv(ctx).await?;
    let requires = pinned.comfy.files.get(PYPROJECT).and_then(|text| python::requires_python(text));
    let wanted = spec.env.get(INTERPRETER).map(String::as_str);
    let interpreter = python::find_interpreter(ctx, uv, wanted, requires.as_deref()).await?;
    let commits = pinned
        .nodes
        .iter()
        .map(|node| node.locked.repo.committed_at)
        .chain([pinned.comfy.locked.committed_at]);
    ctx.turn().await;
    let request = Request {
        contributors: &contributors(spec, pinned),
        interpreter: &interpreter,
        exclude_newer: &spec.options.exclude_newer,
        newest_commit: commits.max().unwrap_or(pinned.comfy.locked.committed_at),
        conflicts: spec.options.conflicts,
        offline: question.mode.offline,
        previous: question.pins.map(|lock| &lock.python),
        update: question.mode.update,
    };
    let resolved = python::resolve(ctx, uv, &request, &task).await?;
    task.done(format!("{} packages for Python {}", resolved.python.packages.len(), resolved.python.version));
    Ok(resolved)
}

/// Digests what the packages depend on, short of the requirements themselves, which the commits name.
pub(super) fn digest(spec: &Spec, pinned: &Pinned) -> String {
    let nodes: Vec<_> = pinned
        .nodes
        .iter()
        .map(|node| (&node.locked.dir, &node.locked.repo.commit, !node.files.is_empty()))
        .collect();
    store::digest(&(
        &pinned.comfy.locked.commit,
        nodes,
        &spec.python_packages,
        spec.env.get(INTERPRETER),
        &spec.options.exclude_newer,
        spec.options.conflicts,
    ))
}

fn contributors(spec: &Spec, pinned: &Pinned) -> Vec<Contributor> {
    let comfy =
        Contributor { name: "ComfyUI".to_owned(), role: Role::Comfy, files: pinned.comfy.files.clone() };
    let lines = spec.python_packages.join("\n");
    let ours = Contributor {
        name: "the spec".to_owned(),
        role: Role::Spec,
        files: BTreeMap::from([("python_packages".to_owned(), lines)]),
    };
    let nodes = pinned.nodes.iter().map(|node| Contributor {
        name: node.locked.dir.to_string(),
        role: Role::Node,
        files: node.files.clone(),
    });
    [comfy, ours].into_iter().chain(nodes).collect()
}
