//! Git repositories: names to commits, commits to files, without a git binary.
//!
//! A name is resolved by listing refs, never by cloning. A commit is fetched at depth 1 by its id into
//! a bare cache repository, one per link, and its files are written from there into any directory, so
//! checkouts hold no `.git`. Submodules are repositories like any other, found in `.gitmodules` and
//! pinned by their parent's tree. gix blocks and can be interrupted only between reads: each operation
//! runs on a thread of its own and a cancelled caller does not wait for it.

mod blocking;
mod cache;
mod checkout;
mod error;
mod fetch_lfs;
mod history;
mod hosts;
mod installed;
mod lfs;
mod lfs_host;
mod progress;
mod refs;
pub mod releases;
mod remote;
mod restore;
mod settings;
mod submodules;
mod tracked;
mod url;
mod weight;

pub use checkout::Checkout;
pub use error::{Cause, Failure, GitError};
pub use installed::{Installed, installed};
pub use lfs::Unfetched;
pub use refs::ResolvedRef;
pub use restore::{Allowed, Cleaned};
pub use tracked::{Place, Suspects, Tracked};

use crate::config::Config;
use crate::ctx::{Ctx, Task};
use crate::store::commit::StagingDir;
use crate::store::file_lock::FileLock;
use crate::store::sweep::sweep;
use backon::{BackoffBuilder as _, ExponentialBuilder};
use blocking::Control;
use cache::{Cache, Cached};
use futures_util::TryStreamExt as _;
use futures_util::stream::FuturesUnordered;
use gix::bstr::BStr;
use proto::CommitId;
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use submodules::Submodule;
use url::RepoUrl;
pub use url::redact;

/// How long to wait for another process that fetches into the same cache.
const LOCK_DEADLINE: Duration = Duration::from_secs(600);

/// How long a cancelled checkout is waited for, so that its directory can be removed.
const CHECKOUT_LINGER: Duration = Duration::from_secs(5);

/// The largest file that [`Git::read_file`] reads, in bytes.
pub const READ_LIMIT: u64 = 4 << 20;

/// Git repositories and their object caches. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Git {
    cache: Arc<Cache>,
}

impl Git {
    /// Returns the repositories whose objects are cached in `config.git_cache`, reached as the git
    /// configuration found through `config.child_env` says. Touches no disk.
    pub fn new(config: &Config) -> Self {
        // gix builds its own HTTP clients, which panic without a TLS provider.
        crate::source::http::install_tls();
        let settings = settings::Settings::new(&config.child_env);
        Self { cache: Arc::new(Cache::new(config.git_cache.clone(), settings)) }
    }

    /// Removes what killed processes left in the caches, where nobody works now. Best effort. Blocks.
    pub fn sweep(&self) {
        self.cache.sweep_all();
    }

    /// Returns the commit that a branch or tag stands for; the default branch's when `git_ref` is
    /// absent. Full names (`refs/…`) and full commit ids are taken too; the latter need no network.
    ///
    /// # Errors
    /// An unknown name comes with similar ones in the hint, an abbreviated commit with the remedy.
    pub async fn resolve_ref(
        &self,
        ctx: &Ctx,
        url: &str,
        git_ref: Option<&str>,
    ) -> Result<ResolvedRef, GitError> {
        let url = RepoUrl::parse(url)?;
        if let Some(commit) = git_ref.and_then(|name| CommitId::new(name).ok()) {
            return Ok(ResolvedRef { name: commit.to_string(), commit, warning: None });
        }
        let git_ref = git_ref.map(str::to_owned);
        let names = refs::candidates(&url, git_ref.as_deref())?;
        self.with_retries(ctx, &url, None, move |cache, url, _control| {
            let repo = cache.open_or_create(url)?;
            let found = refs::choose(url, git_ref.as_deref(), &remote::list(&repo, url, &names)?)?;
            if let Some(found) = found {
                return Ok(found);
            }
            let all = ["refs/heads/*", "refs/tags/*"].map(str::to_owned);
            Err(refs::unknown(url, git_ref.as_deref(), &remote::list(&repo, url, &all)?))
        })
        .await
    }

    /// Makes a commit and its submodules' commits available in the object cache. What is there needs
    /// no network. `git_ref` helps with servers that do not hand out commits by id. `task` should
    /// count [`proto::event::Unit::Objects`].
    ///
    /// # Errors
    /// When cancelled it returns at once; a thread that waits for a silent server ends by itself later.
    pub async fn fetch(
        &self,
        ctx: &Ctx,
        (url, commit): (&str, &CommitId),
        git_ref: Option<&str>,
        task: &Task,
    ) -> Result<(), GitError> {
        let git_ref = git_ref.map(str::to_owned);
        let first = Wanted { url: RepoUrl::parse(url)?, commit: commit.clone(), git_ref };
        let mut seen = HashSet::from([(first.url.clone(), first.commit.clone())]);
        let fetch = async |wanted: Wanted, depth: usize| {
            let children = self.fetch_one(ctx, wanted.clone(), task).await?;
            if !children.is_empty() && depth == submodules::MAX_DEPTH {
                return Err(too_many(wanted));
            }
            Ok::<_, GitError>((wanted, children, depth + 1))
        };
        // Submodules that do not depend on each other come side by side.
        let mut under_way = FuturesUnordered::from_iter([fetch(first, 0)]);
        while let Some((parent, children, depth)) = under_way.try_next().await? {
            for Submodule { url, commit, .. } in children {
                if seen.insert((url.clone(), commit.clone())) {
                    under_way.push(fetch(Wanted { url, commit, git_ref: None }, depth));
                }
            }
            if seen.len() > submodules::MAX_COUNT {
                return Err(too_many(parent));
            }
        }
        Ok(())
    }

    /// Fetches one commit, unless it is there, and returns its submodules.
    async fn fetch_one(&self, ctx: &Ctx, wanted: Wanted, task: &Task) -> Result<Vec<Submodule>, GitError> {
        let url = wanted.url.clone();
        let (cache, local) = (self.cache.clone(), wanted.clone());
        let present = move || submodules_of_whole(&cache, local.url, &local.commit);
        if let Some(submodules) = blocking::local(url.shown(), present).await? {
            return Ok(submodules);
        }
        let what = format!("the git cache of {}", url.shown());
        let lock = FileLock::take(ctx, self.cache.lock_path(&url), &what, LOCK_DEADLINE).await?;
        task.detail("fetching");
        // The lock goes with the work: a thread that outlives its caller still owns the cache.
        let (lock, notes) = (Arc::new(lock), ctx.progress.clone());
        self.with_retries(ctx, &url, Some(task), move |cache, url, control| {
            let _held = &lock;
            let Wanted { commit, git_ref, .. } = &wanted;
            if let Some(submodules) = submodules_of_whole(cache, url.clone(), commit)? {
                return Ok(submodules);
            }
            let repo = cache.open_for_fetch(url)?;
            let whole = remote::receive_commit(&repo, url, commit, git_ref.as_deref(), control)?;
            if whole {
                let url = url.shown();
                notes.note(format!("`{url}` speaks an old protocol: all of its history was received"));
            }
            submodules::of(&Cached::get(cache, url.clone(), commit)?)
        })
        .await
    }

    /// Returns whether a commit and its submodules' commits are in the object cache. Blocks, for a few
    /// small reads; anything that cannot be read counts as absent.
    pub fn has(&self, url: &str, commit: &CommitId) -> bool {
        RepoUrl::parse(url).is_ok_and(|url| submodules::all_cached(&self.cache, url, commit))
    }

    /// Returns when a cached commit was made, by its committer's clock.
    ///
    /// # Errors
    /// [`GitError::NotCached`] when it was not fetched.
    pub async fn commit_time(&self, url: &str, commit: &CommitId) -> Result<jiff::Timestamp, GitError> {
        self.with_commit(url, commit, |cached| {
            let time = cached.object()?.time().map_err(GitError::cache("read", cached.url.shown()))?;
            jiff::Timestamp::from_second(time.seconds)
                .map_err(|_| cached.content(format!("its time, {} s, is out of range", time.seconds)))
        })
        .await
    }

    /// Returns the content of a file of a cached commit; `None` when it has no such file. Links and
    /// submodules are not followed.
    ///
    /// # Errors
    /// [`GitError::NotCached`] when it was not fetched; a file of more than [`READ_LIMIT`] bytes.
    pub async fn read_file(
        &self,
        url: &str,
        commit: &CommitId,
        path: &str,
    ) -> Result<Option<Vec<u8>>, GitError> {
        let path = path.to_owned();
        self.with_commit(url, commit, move |cached| cached.read(&path, READ_LIMIT)).await
    }

    /// Returns how many commits lie between two: those that only the first has, and those that only the second
    /// has. Asks the host each time, for nothing but the commits.
    ///
    /// # Errors
    /// [`GitError::NoHistory`] where the host tells no history without its files.
    pub async fn between(
        &self,
        ctx: &Ctx,
        url: &str,
        (first, second): (&CommitId, &CommitId),
    ) -> Result<(u64, u64), GitError> {
        let (url, commits) = (RepoUrl::parse(url)?, [first.clone(), second.clone()]);
        let work = move |cache: &Cache, url: &RepoUrl, control: &Control| {
            history::between(cache, url, [&commits[0], &commits[1]], control)
        };
        self.with_retries(ctx, &url, None, work).await
    }

    /// Writes the files of a cached commit and its submodules into `dest`, which must be absent or
    /// empty. Nothing is synced, and `dest` is left as it is on failure: hand in a staging directory.
    /// `task` counts files where it counts objects.
    ///
    /// # Errors
    /// [`GitError::NotCached`] when it was not fetched. Broken objects are thrown away, so that the
    /// next fetch gets them anew. A cancelled checkout may go on writing for a moment, if the disk is slow.
    pub async fn checkout(
        &self,
        ctx: &Ctx,
        (url, commit): (&str, &CommitId),
        dest: &Path,
        task: &Task,
    ) -> Result<Checkout, GitError> {
        let url = RepoUrl::parse(url)?;
        let what = url.shown().to_owned();
        let (cache, commit, dest) = (self.cache.clone(), commit.clone(), dest.to_owned());
        task.detail("writing files");
        let work =
            move |control: &Control| checkout::write(&cache, (url, &commit), &dest, &|_| true, control);
        blocking::run(ctx, (Some(task), &what), CHECKOUT_LINGER, work).await
    }

    /// Compares the suspects of a checkout of a cached commit with their objects, and puts back what
    /// differs, as far as it is `allowed`. Its index is kept anew then.
    ///
    /// # Errors
    /// [`GitError::NotCached`] when it was not fetched. Files that were put back before stay so.
    pub async fn restore(
        &self,
        ctx: &Ctx,
        (url, commit): (&str, &CommitId),
        (place, suspects): (&Place, Suspects),
        allowed: Allowed,
    ) -> Result<Cleaned, GitError> {
        let url = RepoUrl::parse(url)?;
        let what = url.shown().to_owned();
        let (cache, commit, place) = (self.cache.clone(), commit.clone(), place.clone());
        let work = move |control: &Control| {
            let staging = StagingDir::beside(&place.index);
            // A killed one may have left its own.
            place.index.parent().into_iter().for_each(sweep);
            let wanted = |path: &BStr| suspects.contains(path) && !place.is_excepted(path);
            let places = (&place, staging.path());
            restore::restore(&cache, (url, &commit), places, &wanted, (allowed, control))
        };
        blocking::run(ctx, (None, &what), CHECKOUT_LINGER, work).await
    }

    async fn with_commit<T: Send + 'static>(
        &self,
        url: &str,
        commit: &CommitId,
        work: impl FnOnce(&Cached) -> Result<T, GitError> + Send + 'static,
    ) -> Result<T, GitError> {
        let url = RepoUrl::parse(url)?;
        let what = url.shown().to_owned();
        let (cache, commit) = (self.cache.clone(), commit.clone());
        blocking::local(&what, move || work(&Cached::get(&cache, url, &commit)?)).await
    }

    /// Runs work that talks to a server, again after a pause where the network failed.
    async fn with_retries<T: Send + 'static>(
        &self,
        ctx: &Ctx,
        url: &RepoUrl,
        task: Option<&Task>,
        work: impl Fn(&Cache, &RepoUrl, &Control) -> Result<T, GitError> + Send + Sync + 'static,
    ) -> Result<T, GitError> {
        const ATTEMPTS: usize = 3;
        let pauses =
            ExponentialBuilder::default().with_min_delay(Duration::from_millis(300)).with_factor(4.0);
        let mut pauses = pauses.with_max_times(ATTEMPTS - 1).with_jitter().build().enumerate();
        let work = Arc::new(work);
        loop {
            let (work, cache, here) = (work.clone(), self.cache.clone(), url.clone());
            let attempt = move |control: &Control| work(&cache, &here, control);
            let error = match blocking::run(ctx, (task, url.shown()), Duration::ZERO, attempt).await {
                Err(error) if error.is_transient() => error,
                other => return other,
            };
            let Some((failed, pause)) = pauses.next() else { return Err(error) };
            let (attempt, seconds) = (failed + 2, pause.as_secs_f32());
            ctx.progress.note(format!("attempt {attempt} of {ATTEMPTS} in {seconds:.1} s: {error}"));
            tokio::select! {
                () = ctx.cancel.cancelled() => return Err(GitError::Cancelled(url.shown().to_owned())),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
}

/// One commit to fetch.
#[derive(Debug, Clone)]
struct Wanted {
    url: RepoUrl,
    commit: CommitId,
    git_ref: Option<String>,
}

fn too_many(Wanted { url, commit, .. }: Wanted) -> GitError {
    let reason = "its submodules nest too deeply, or are too many".to_owned();
    GitError::Content { url: url.shown().to_owned(), commit, reason }
}

/// Returns the submodules of a commit whose objects are all there; `None` when it must be fetched. A
/// cache that holds the commit in pieces is thrown away. Blocks.
fn submodules_of_whole(
    cache: &Cache,
    url: RepoUrl,
    commit: &CommitId,
) -> Result<Option<Vec<Submodule>>, GitError> {
    let found = match Cached::find(cache, url, commit) {
        Err(error @ GitError::Content { .. }) => return Err(error),
        Err(_) | Ok(None) => return Ok(None),
        Ok(Some(found)) => found,
    };
    if found.is_complete() {
        return submodules::of(&found).map(Some);
    }
    cache.discard(&found.url)?;
    Ok(None)
}
