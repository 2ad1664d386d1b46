//! Repositories: refs to commits, and the files of those commits that the packages depend on.

use super::{Question, ResolveError};
use crate::ctx::Ctx;
use crate::source::Sources;
use crate::source::git::GitError;
use crate::source::python::includes;
use futures_util::{StreamExt as _, stream};
use proto::ErrorKind;
use proto::event::{TaskKind, Unit};
use proto::lock::{LockedNode, LockedRepo};
use proto::spec::{NodeSpec, RepoSpec};
use std::collections::BTreeMap;

/// Repositories that are asked at the same time.
const AT_ONCE: usize = 16;

/// Files of requirements that a repository may include through `-r`, at most: a loop ends here.
const MAX_INCLUDED: usize = 32;

/// The file that names a project's dependencies, and the Python that ComfyUI supports.
pub(super) const PYPROJECT: &str = "pyproject.toml";

/// All repositories of a version, pinned.
pub(super) struct Pinned {
    pub(super) comfy: Repository<LockedRepo>,
    pub(super) nodes: Vec<Repository<LockedNode>>,
    pub(super) missing: Vec<String>,
    pub(super) warnings: Vec<String>,
}

/// A pinned repository and its requirement files, by path.
pub(super) struct Repository<L> {
    pub(super) locked: L,
    pub(super) files: BTreeMap<String, String>,
}

/// Pins ComfyUI and every custom node, side by side.
pub(super) async fn pin(ctx: &Ctx, question: &Question<'_>) -> Result<Pinned, ResolveError> {
    // The first error stops the siblings: what they still do is for nothing.
    let ctx = ctx.child();
    let _stop = ctx.cancel.clone().drop_guard();
    let spec = question.spec;
    let comfy = pin_one(&ctx, question, "ComfyUI", &spec.comfy, question.pins.map(|lock| &lock.comfy));
    let nodes: Vec<_> = spec.custom_nodes.iter().map(|node| pin_node(&ctx, question, node)).collect();
    let nodes = stream::iter(nodes).buffered(AT_ONCE).collect::<Vec<_>>();
    let (comfy, nodes) = tokio::join!(comfy, nodes);
    let (comfy, mut warnings) = comfy?;
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for (node, wanted) in nodes.into_iter().zip(&spec.custom_nodes) {
        match node {
            Ok((repository, told)) => {
                found.push(repository);
                warnings.extend(told);
            }
            Err(error) if question.mode.offline && error.kind() == ErrorKind::Offline => {
                missing.push(format!("repository {} ({})", wanted.dir, wanted.repo.repo));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Pinned { comfy, nodes: found, missing, warnings })
}

async fn pin_node(
    ctx: &Ctx,
    question: &Question<'_>,
    node: &NodeSpec,
) -> Result<(Repository<LockedNode>, Vec<String>), ResolveError> {
    let pins = question.pins.iter().flat_map(|lock| &lock.custom_nodes);
    let pin = pins.clone().find(|locked| locked.dir == node.dir).map(|locked| &locked.repo);
    let (mut repository, warnings) = pin_one(ctx, question, node.dir.as_str(), &node.repo, pin).await?;
    let script = read(question.sources, node.dir.as_str(), &repository.locked, "install.py").await?;
    if !node.install_requirements {
        repository.files.clear();
    }
    let install_script = node.install_requirements && script.is_some();
    let locked = LockedNode { dir: node.dir.clone(), repo: repository.locked, install_script };
    Ok((Repository { locked, files: repository.files }, warnings))
}

async fn pin_one(
    ctx: &Ctx,
    question: &Question<'_>,
    name: &str,
    spec: &RepoSpec,
    pin: Option<&LockedRepo>,
) -> Result<(Repository<LockedRepo>, Vec<String>), ResolveError> {
    let at = |source| ResolveError::Repository { name: name.to_owned(), source };
    let (git, offline) = (&question.sources.git, question.mode.offline);
    let mut warnings = Vec::new();
    let task = ctx.progress.task(TaskKind::Repository, name, Unit::Objects);
    let commit = match (&spec.commit, pin.filter(|pin| pin.repo == spec.repo && pin.git_ref == spec.git_ref))
    {
        (Some(commit), _) => commit.clone(),
        (None, Some(pin)) => pin.commit.clone(),
        (None, None) if offline => return Err(at(GitError::Offline(spec.repo.clone()))),
        (None, None) => {
            task.detail("asking for the commit");
            let found = git.resolve_ref(ctx, &spec.repo, spec.git_ref.as_deref()).await.map_err(at)?;
            warnings.extend(found.warning);
            found.commit
        }
    };
    if offline && !git.has(&spec.repo, &commit) {
        return Err(at(GitError::Offline(spec.repo.clone())));
    }
    git.fetch(ctx, (&spec.repo, &commit), spec.git_ref.as_deref(), &task).await.map_err(at)?;
    let committed_at = git.commit_time(&spec.repo, &commit).await.map_err(at)?;
    let locked = LockedRepo { repo: spec.repo.clone(), git_ref: spec.git_ref.clone(), commit, committed_at };
    let files = requirement_files(question.sources, name, &locked).await?;
    task.done(locked.commit.short());
    Ok((Repository { locked, files }, warnings))
}

/// Reads `requirements.txt`, `pyproject.toml` and what the former includes.
async fn requirement_files(
    sources: &Sources,
    name: &str,
    repo: &LockedRepo,
) -> Result<BTreeMap<String, String>, ResolveError> {
    let mut files = BTreeMap::new();
    let mut wanted = vec![PYPROJECT.to_owned(), "requirements.txt".to_owned()];
    while let Some(file) = wanted.pop() {
        if files.contains_key(&file) || files.len() >= MAX_INCLUDED {
            continue;
        }
        if let Some(text) = read(sources, name, repo, &file).await? {
            if file != PYPROJECT {
                wanted.extend(includes(&file, &text));
            }
            files.insert(file, text);
        }
    }
    Ok(files)
}

async fn read(
    sources: &Sources,
    name: &str,
    repo: &LockedRepo,
    file: &str,
) -> Result<Option<String>, ResolveError> {
    let read = sources.git.read_file(&repo.repo, &repo.commit, file).await;
    let bytes = read.map_err(|source| ResolveError::Repository { name: name.to_owned(), source })?;
    let text = bytes.map(String::from_utf8).transpose();
    text.map_err(|_| ResolveError::NotText {
        name: name.to_owned(),
        file: file.to_owned(),
        commit: repo.commit.short().to_owned(),
    })
}
