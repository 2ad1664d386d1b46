//! Which other commits a commit is made of.

use super::cache::{Cache, Cached};
use super::error::GitError;
use super::url::RepoUrl;
use gix::bstr::{BString, ByteSlice as _};
use proto::CommitId;
use std::collections::HashSet;

/// How deep submodules may nest; a deeper nest is a loop or an attack.
pub(super) const MAX_DEPTH: usize = 8;

/// Submodules that a commit may have in all. One that stands in several places counts each time it is written.
pub(super) const MAX_COUNT: usize = 256;

/// A submodule of a commit.
#[derive(Debug)]
pub(super) struct Submodule {
    /// Where it belongs in the checkout.
    pub(super) path: BString,
    /// Its link, joined to its parent's.
    pub(super) url: RepoUrl,
    /// The commit that its parent pins.
    pub(super) commit: CommitId,
}

/// Returns the submodules of a cached commit. What `.gitmodules` does not know stays an empty
/// directory, as in git. Blocks.
pub(super) fn of(cached: &Cached) -> Result<Vec<Submodule>, GitError> {
    const LIMIT: u64 = 1 << 20;
    let Some(modules) = cached.read(".gitmodules", LIMIT)? else { return Ok(Vec::new()) };
    let bad = |error: gix::Error| cached.content(format!("its `.gitmodules` cannot be read: {error}"));
    let config = cached.repo.config_snapshot().plumbing().clone();
    let modules = gix::submodule::File::from_bytes(&modules, None, &config).map_err(bad)?;
    let tree = cached.tree()?;
    let mut found = Vec::new();
    for name in modules.names() {
        let path = modules.path(name).map_err(bad)?;
        let entry =
            tree.lookup_entry(path.split_str("/")).map_err(GitError::cache("read", cached.url.shown()))?;
        let Some(pinned) = entry.filter(|entry| entry.mode().is_commit()) else { continue };
        let link = modules.config().string_by("submodule", Some(name), "url");
        let link = link.ok_or_else(|| cached.content(format!("its submodule `{name}` has no url")))?;
        let url = cached.url.submodule(&link.to_string())?;
        let commit = CommitId::new(pinned.object_id().to_string());
        let commit = commit.map_err(|error| cached.content(error.to_string()))?;
        found.push(Submodule { path, url, commit });
    }
    Ok(found)
}

/// Returns whether a commit and all that it is made of is cached. Blocks.
pub(super) fn all_cached(cache: &Cache, url: RepoUrl, commit: &CommitId) -> bool {
    let mut seen = HashSet::from([(url.clone(), commit.clone())]);
    let mut open = vec![(url, commit.clone())];
    while let Some((url, commit)) = open.pop() {
        let Ok(Some(cached)) = Cached::find(cache, url, &commit) else { return false };
        let Ok(submodules) = of(&cached) else { return false };
        let named = submodules.into_iter().map(|sub| (sub.url, sub.commit));
        open.extend(named.filter(|sub| seen.insert(sub.clone())));
        if seen.len() > MAX_COUNT {
            return false;
        }
    }
    true
}
