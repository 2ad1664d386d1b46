//! Checkouts stay what git says: tracked files that were changed or deleted since are put back, before a
//! version starts and whenever something is realized. Untracked files are left. What a process of this
//! daemon runs is left alone, and told. It is a courtesy to the version: what cannot be put back is told
//! and stops nothing.

use super::execute::Work;
use super::layout::Layout;
use super::{InUse, Realization};
use crate::ctx::Ctx;
use crate::source::Sources;
use crate::source::git::{Allowed, Cleaned, GitError, Place, Suspects, Tracked, Unfetched};
use crate::store::places::{generation, node_index};
use futures_util::future::join_all;
use proto::event::{TaskKind, Unit};
use proto::lock::LockedRepo;
use proto::plan::RepositoryAction;
use proto::{Lock, VersionId};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// Names that are told of many.
const NAMED: usize = 3;

/// Cleans all that a version is about to run. The process of its own home counts as ended: a start
/// replaces it.
pub async fn clean(ctx: &Ctx, sources: &Sources, version: &Realization, in_use: &InUse, offline: bool) {
    let cleaning =
        Cleaning { ctx, sources, in_use, offline, ended: Some(version.layout.home.root.as_path()) };
    cleaning.all(checkouts(&version.lock, &version.layout)).await;
}

/// Cleans what a realize found in its place.
pub(super) async fn standing(ctx: &Ctx, work: &Work) {
    let Work { sources, in_use, offline, .. } = work;
    let cleaning = Cleaning { ctx, sources, in_use, offline: *offline, ended: None };
    let steps = checkouts(&work.lock, &work.layout).zip(&work.plan.repositories);
    let standing = steps.filter(|(_, step)| step.action == RepositoryAction::Present);
    cleaning.all(standing.map(|(checkout, _)| checkout)).await;
}

/// Returns the place of a generation's ComfyUI. The models and the custom nodes in it are links of ours.
pub(super) fn comfy_place(lock: &Lock, generation_dir: &Path) -> Place {
    let nodes = lock.custom_nodes.iter().map(|node| format!("custom_nodes/{}", node.dir));
    Place {
        dir: generation_dir.join(generation::COMFY),
        index: generation_dir.join(generation::COMFY_INDEX),
        except: nodes.chain(["models".to_owned()]).collect(),
    }
}

/// Returns the place of a custom node's checkout.
pub(super) fn node_place(checkout: &Path) -> Place {
    Place { dir: checkout.to_owned(), index: node_index(checkout), except: Vec::new() }
}

/// A checkout of a version.
struct Checkout<'a> {
    name: &'a str,
    repo: &'a LockedRepo,
    place: Place,
    /// The generation it is part of; custom nodes are shared by many.
    generation: Option<PathBuf>,
}

/// Returns the checkouts of a version, in the order of its plan.
fn checkouts<'a>(lock: &'a Lock, layout: &'a Layout) -> impl Iterator<Item = Checkout<'a>> {
    let dir = layout.generation_dir();
    let (place, generation) = (comfy_place(lock, &dir), Some(dir));
    let comfy = Checkout { name: generation::COMFY, repo: &lock.comfy, place, generation };
    let nodes = lock.custom_nodes.iter().zip(&layout.checkouts).map(|(node, checkout)| Checkout {
        name: node.dir.as_str(),
        repo: &node.repo,
        place: node_place(checkout),
        generation: None,
    });
    std::iter::once(comfy).chain(nodes)
}

struct Cleaning<'a> {
    ctx: &'a Ctx,
    sources: &'a Sources,
    in_use: &'a InUse,
    offline: bool,
    /// A home whose process is about to be replaced.
    ended: Option<&'a Path>,
}

impl Cleaning<'_> {
    async fn all(&self, checkouts: impl Iterator<Item = Checkout<'_>>) {
        let mut seen = HashSet::new();
        let once = checkouts.filter(|checkout| seen.insert(checkout.place.dir.clone()));
        join_all(once.map(|checkout| self.one(checkout))).await;
    }

    async fn one(&self, checkout: Checkout<'_>) {
        let (suspects, used_by) = self.look(&checkout).await;
        if suspects.is_empty() {
            return;
        }
        let names = names(&suspects);
        let progress = &self.ctx.progress;
        match self.compare(&checkout, suspects, used_by.is_none()).await {
            Ok(cleaned) => {
                if let Some(text) = told(checkout.name, &cleaned, used_by.as_ref()) {
                    progress.note(text);
                }
                if let Some(text) = unfetched(checkout.name, &cleaned.unfetched) {
                    progress.warn(text);
                }
            }
            // Someone else's process is none of our business, and a cancelled caller does not listen. What
            // was never compared may well be as it should.
            Err(GitError::Cancelled(_)) => {}
            Err(error) if used_by.is_some() || names.is_empty() => {
                tracing::info!(name = checkout.name, %error, "a checkout was not compared with git");
            }
            Err(error) => {
                let (name, names) = (checkout.name, few(&names));
                progress
                    .warn(format!("files of {name} were changed and cannot be put back ({names}): {error}"));
            }
        }
    }

    /// Looks for suspects, and for who runs the checkout if there are any.
    async fn look(&self, checkout: &Checkout<'_>) -> (Suspects, Option<VersionId>) {
        let (place, generation) = (checkout.place.clone(), checkout.generation.clone());
        let (in_use, ended) = (self.in_use.clone(), self.ended.map(Path::to_owned));
        let look = move || {
            // A link in its place is someone's own work tree.
            let is_ours = place.dir.symlink_metadata().is_ok_and(|found| found.is_dir());
            let suspects =
                if is_ours { Tracked::suspects(&place) } else { Suspects::Some(HashSet::default()) };
            let used_by = match generation {
                _ if suspects.is_empty() => None,
                Some(generation) => in_use.runs(&generation),
                None => in_use.runs_node(&place.dir, ended.as_deref()),
            };
            (suspects, used_by)
        };
        let none = (Suspects::Some(HashSet::default()), None);
        tokio::task::spawn_blocking(look).await.unwrap_or(none)
    }

    async fn compare(
        &self,
        checkout: &Checkout<'_>,
        suspects: Suspects,
        replace: bool,
    ) -> Result<Cleaned, GitError> {
        let (git, repo) = (&self.sources.git, checkout.repo);
        let wanted = (repo.repo.as_str(), &repo.commit);
        let allowed = Allowed { replace, network: !self.offline };
        let found = git.restore(self.ctx, wanted, (&checkout.place, suspects.clone()), allowed).await;
        let is_lost = matches!(found, Err(GitError::NotCached { .. } | GitError::Cache { .. }));
        if !is_lost || self.offline || !replace {
            return found;
        }
        let task = self.ctx.progress.task(TaskKind::Repository, checkout.name, Unit::Objects);
        git.fetch(self.ctx, wanted, repo.git_ref.as_deref(), &task).await?;
        let found = git.restore(self.ctx, wanted, (&checkout.place, suspects), allowed).await;
        task.done(repo.commit.short());
        found
    }
}

/// Says which Git LFS files are not here, why, and what helps; nothing when all are.
pub(super) fn unfetched(name: &str, left: &[Unfetched]) -> Option<String> {
    let first = left.first()?;
    let names: Vec<_> = left.iter().map(|left| left.path.clone()).collect();
    let (names, reason) = (few(&names), &first.reason);
    Some(format!(
        "of {name}, {names} are only pointers to Git LFS: {reason}; it is tried again at the next start, and \
         a file put there by hand is taken"
    ))
}

fn names(suspects: &Suspects) -> Vec<String> {
    let Suspects::Some(paths) = suspects else { return Vec::new() };
    let mut names: Vec<_> = paths.iter().map(ToString::to_string).collect();
    names.sort();
    names
}

fn few(names: &[String]) -> String {
    let first = names.iter().take(NAMED).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

/// Says what was done; nothing when all was as it should be.
fn told(name: &str, cleaned: &Cleaned, used_by: Option<&VersionId>) -> Option<String> {
    let Cleaned { restored, set_aside, .. } = cleaned;
    let files = if restored.len() == 1 { "1 file".to_owned() } else { format!("{} files", restored.len()) };
    if restored.is_empty() {
        return None;
    }
    let files = format!("{files} of {name} ({})", few(restored));
    Some(match used_by {
        Some(version) => format!("{files} differ from git and are left alone, since `{version}` runs them"),
        None if set_aside.is_empty() => format!("put back {files}, changed since they were checked out"),
        None => format!("put back {files}; what stood in the way is now {}", few(set_aside)),
    })
}
