//! Repositories that others cloned: what they stand at, without changing a byte of them.
//!
//! Nothing of theirs is run: filters and hooks stay as they are, and only the address of the remote is read
//! from their configuration. Everything here blocks.

use super::GitError;
use super::tracked::{RealDirs, has_content, look};
use super::url::redact;
use gix::bstr::{BStr, ByteSlice as _};
use gix::index::entry::Mode;
use gix::index::{File, State};
use gix::remote::Direction;
use proto::CommitId;
use std::path::Path;

/// What a clone stands at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// Where it was cloned from, without user name and password; none where it has no remote.
    pub remote: Option<String>,
    /// Whether that address held a user name or password.
    pub had_login: bool,
    /// The commit; none before the first one.
    pub commit: Option<CommitId>,
    /// Files of the commit that were changed or removed.
    pub changed: usize,
    /// Files at the top of the commit.
    pub top: Vec<String>,
}

/// The longest file that is read to see whether it was changed, in bytes.
const READ_LIMIT: u32 = 64 << 20;

/// Looks at the clone in a directory; none when the directory is no repository of its own. Reads the files that
/// look changed: a second for a large repository.
///
/// # Errors
/// It cannot be read.
pub fn installed(dir: &Path) -> Result<Option<Installed>, GitError> {
    if !dir.join(".git").exists() {
        return Ok(None);
    }
    let shown = dir.display().to_string();
    let failed = || GitError::cache("read", &shown);
    // Whoever owns it: nothing of it is run.
    let options = gix::open::Options::isolated().with(gix::sec::Trust::Full);
    let repo = options.open(dir).map_err(failed())?.to_thread_local();
    let remote = match repo.find_default_remote(Direction::Fetch) {
        Some(Ok(remote)) => remote.url(Direction::Fetch).map(|url| url.to_bstring().to_string()),
        _ => None,
    };
    let clean = remote.as_deref().map(without_login);
    let had_login = clean != remote;
    let Ok(head) = repo.head_id() else {
        return Ok(Some(Installed { remote: clean, had_login, commit: None, changed: 0, top: Vec::new() }));
    };
    let tree = repo.find_commit(head).map_err(failed())?.tree_id().map_err(failed())?;
    let files = repo.index_from_tree(&tree).map_err(failed())?;
    let commit = CommitId::new(head.to_string()).ok();
    let changed = changed(dir, repo.index_path(), &files);
    Ok(Some(Installed { remote: clean, had_login, commit, changed, top: top(&files) }))
}

/// Takes user name and password out of an address; `ssh://git@host` and `git@host:path` need theirs.
fn without_login(url: &str) -> String {
    if url.starts_with("ssh://") { url.to_owned() } else { redact(url) }
}

/// Counts the files that are not what the commit holds. One that looks as git left it is not read.
fn changed(dir: &Path, index: impl AsRef<Path>, files: &State) -> usize {
    let kind = gix::hash::Kind::Sha1;
    let index = File::at(index.as_ref(), kind, false, gix::index::decode::Options::default()).ok();
    let mut dirs = RealDirs::below(dir);
    let is_same = |path: &BStr, entry: &gix::index::Entry, dirs: &mut RealDirs<'_>| {
        let Some(found) = look(dirs, path) else { return false };
        let known = index.as_ref().and_then(|index| index.entry_by_path(path));
        let looks_same = known.is_some_and(|known| known.id == entry.id && found.is(entry.mode, &known.stat));
        looks_same || found.stat.size <= READ_LIMIT && has_content(&dirs.at(path), entry)
    };
    let own = files.entries().iter().filter(|entry| entry.mode != Mode::COMMIT);
    own.filter(|entry| !is_same(entry.path(files), entry, &mut dirs)).count()
}

/// Returns the names at the top of a commit, and of its `custom_nodes`, as paths.
fn top(files: &State) -> Vec<String> {
    let paths = files.entries().iter().map(|entry| entry.path(files));
    let is_near = |path: &&BStr| !path.strip_prefix(b"custom_nodes/").unwrap_or(path).contains(&b'/');
    paths.filter(is_near).filter_map(|path| path.to_str().ok().map(str::to_owned)).collect()
}
