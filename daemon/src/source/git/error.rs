//! Why something about a repository did not work, and what to do about it.

use super::url::redact;
use crate::store::commit::{StoreError, disk_remedy};
use crate::store::file_lock::LockError;
use proto::{CommitId, ErrorKind};
use std::io::ErrorKind as Io;
use std::path::Path;

/// Why something about a repository did not work.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// The link cannot be used.
    #[error("the repository link `{url}` cannot be used: {reason}")]
    Url {
        /// The link, without password.
        url: String,
        /// Why not.
        reason: &'static str,
    },
    /// The user's git configuration cannot be read.
    #[error("failed to read the git configuration")]
    Settings(#[source] Cause),
    /// The remote side failed.
    #[error("failed to {attempt} `{url}`")]
    Remote {
        /// What was attempted.
        attempt: &'static str,
        /// The repository.
        url: String,
        /// What kind of failure it was.
        failure: Failure,
        /// What git said.
        source: Cause,
    },
    /// There is no such branch or tag.
    #[error("`{url}` has no branch or tag `{name}`")]
    UnknownRef {
        /// The repository.
        url: String,
        /// The name that was asked for.
        name: String,
        /// Names it may have been meant to be.
        similar: Vec<String>,
    },
    /// An abbreviated commit, which no server can look up.
    #[error("`{name}` is no branch or tag of `{url}`, and abbreviated commits cannot be looked up")]
    Abbreviated {
        /// The repository.
        url: String,
        /// The digits.
        name: String,
    },
    /// The repository has no commit.
    #[error("`{0}` is empty: it has no commit yet")]
    Empty(String),
    /// There is no such commit.
    #[error("`{url}` has no commit `{commit}`")]
    UnknownCommit {
        /// The repository.
        url: String,
        /// The commit.
        commit: CommitId,
    },
    /// A name or commit is not known here, and nothing may be fetched.
    #[error("`{0}` is not cached, and the network may not be used")]
    Offline(String),
    /// The host knows no filters: a history comes with all its files, or not at all.
    #[error("`{0}` does not tell its history without its files")]
    NoHistory(String),
    /// The commit was expected in the object cache.
    #[error("commit `{commit}` of `{url}` is not cached")]
    NotCached {
        /// The repository.
        url: String,
        /// The commit.
        commit: CommitId,
    },
    /// The object cache does not work; it is thrown away where that may help.
    #[error("failed to {attempt} the cached objects of `{url}`")]
    Cache {
        /// What was attempted.
        attempt: &'static str,
        /// The repository.
        url: String,
        /// What git said.
        source: Cause,
    },
    /// The commit's content cannot be used.
    #[error("commit `{commit}` of `{url}` cannot be used: {reason}")]
    Content {
        /// The repository.
        url: String,
        /// The commit.
        commit: CommitId,
        /// What is wrong.
        reason: String,
    },
    /// The disk refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another process held the object cache all the time, or the wait was cancelled.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Nobody wants the result any more.
    #[error("cancelled while working on `{0}`")]
    Cancelled(String),
    /// A bug: the work panicked.
    #[error("the work on `{0}` ended unexpectedly")]
    Panicked(String),
}

/// What kind of failure a remote operation met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No connection, a broken one, or a server in trouble.
    Unreachable,
    /// Credentials are missing or not enough; hosts also answer so for a repository that is not there.
    Denied,
    /// The host has no such repository.
    Missing,
    /// The server does not hand out the wanted commit by its id.
    NotOurRef,
    /// The disk is full, or something else on this side.
    Disk,
    /// The server answered something that cannot be used.
    Other,
}

impl GitError {
    /// Returns the kind, which decides exit status and error code.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Url { .. } | Self::Content { .. } => ErrorKind::Spec,
            Self::Settings(_) => ErrorKind::Toolchain,
            Self::Remote { failure, .. } => match failure {
                Failure::Denied => ErrorKind::Access,
                Failure::Missing | Failure::NotOurRef => ErrorKind::NotFound,
                Failure::Disk => ErrorKind::Disk,
                Failure::Unreachable | Failure::Other => ErrorKind::Network,
            },
            Self::UnknownRef { .. }
            | Self::Abbreviated { .. }
            | Self::Empty(_)
            | Self::NoHistory(_)
            | Self::UnknownCommit { .. }
            | Self::NotCached { .. } => ErrorKind::NotFound,
            Self::Offline(_) => ErrorKind::Offline,
            Self::Cache { .. } | Self::Store(_) | Self::Lock(LockError::Store(_)) => ErrorKind::Disk,
            Self::Lock(LockError::Timeout { .. }) => ErrorKind::Busy,
            Self::Lock(LockError::Cancelled(_)) | Self::Cancelled(_) => ErrorKind::Cancelled,
            Self::Panicked(_) => ErrorKind::Internal,
        }
    }

    /// Returns the remedy, where there is one.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Url { .. } => "write `https://host/owner/repository`".to_owned(),
            Self::Settings(_) => "check it with `git config --global --list`".to_owned(),
            Self::Remote { failure: Failure::Denied | Failure::Missing, .. } => {
                "check the link for typing errors; for a private repository set up a git credential helper"
                    .to_owned()
            }
            Self::Remote { failure: Failure::Unreachable, .. } => {
                "check the host's name and the network; a proxy is taken from git's `http.proxy` or HTTPS_PROXY"
                    .to_owned()
            }
            Self::UnknownRef { similar, .. } if !similar.is_empty() => {
                format!("did you mean {}?", similar.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", "))
            }
            Self::Abbreviated { .. } => "write all 40 digits of the commit".to_owned(),
            Self::UnknownCommit { .. } => {
                "it may have been removed by a forced push: resolve the version again with `--update`".to_owned()
            }
            Self::NotCached { .. } | Self::Offline(_) => "run it once with network".to_owned(),
            Self::Cache { .. } => {
                disk_remedy(self).unwrap_or("run it again: broken objects are fetched anew").to_owned()
            }
            _ => return None,
        };
        Some(hint)
    }

    /// Returns whether the same attempt may succeed a moment later.
    pub(super) fn is_transient(&self) -> bool {
        matches!(self, Self::Remote { failure: Failure::Unreachable, .. })
    }

    pub(super) fn remote(attempt: &'static str, url: &str, error: &gix::Error) -> Self {
        if error.is_cancelled() {
            return Self::Cancelled(url.to_owned());
        }
        Self::Remote { attempt, url: url.to_owned(), failure: classify(error), source: Cause::from(error) }
    }

    pub(super) fn cache(attempt: &'static str, url: &str) -> impl FnOnce(gix::Error) -> Self {
        let url = url.to_owned();
        move |error| Self::Cache { attempt, url, source: Cause::from(&error) }
    }

    /// The same for a change of the cache in `dir`, which the disk may refuse.
    pub(super) fn cache_at(attempt: &'static str, url: &str, dir: &Path) -> impl FnOnce(gix::Error) -> Self {
        let (path, otherwise) = (dir.to_owned(), Self::cache(attempt, url));
        move |error| match disk_refusal(&error) {
            Some(source) => Self::Store(StoreError { attempt, path, source }),
            None => otherwise(error),
        }
    }
}

/// What git said, in one line and without passwords: its own error values may hold links that
/// `insteadOf` put a token into.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Cause(String);

impl From<&gix::Error> for Cause {
    fn from(error: &gix::Error) -> Self {
        let mut texts: Vec<String> = Vec::new();
        for error in error.iter_errors() {
            let text = error.to_string();
            let text = redact(text.lines().next().unwrap_or_default().trim());
            if !text.is_empty() && !texts.iter().any(|seen| seen.contains(&text)) {
                texts.push(text);
            }
        }
        Self(texts.join(": "))
    }
}

/// Returns what this machine's disk refused with, where it did. Hosts that deny access are told by the same
/// kinds of error, but without a number.
pub(super) fn disk_refusal(error: &gix::Error) -> Option<std::io::Error> {
    use nix::errno::Errno as E;
    let number = |error: &std::io::Error| match (error.kind(), error.raw_os_error()) {
        // gix puts words of its own around some, which loses their number.
        (Io::StorageFull, None) => Some(E::ENOSPC),
        (Io::QuotaExceeded, None) => Some(E::EDQUOT),
        (Io::ReadOnlyFilesystem, None) => Some(E::EROFS),
        (_, number) => number.map(E::from_raw),
    };
    let causes = error.iter_errors().filter_map(|error| error.downcast_ref::<std::io::Error>());
    let refusals = [E::ENOSPC, E::EDQUOT, E::EROFS, E::EACCES, E::EPERM, E::EIO];
    causes.filter_map(number).find(|number| refusals.contains(number)).map(Into::into)
}

fn classify(error: &gix::Error) -> Failure {
    let says = |words: &str| error.iter_errors().any(|error| error.to_string().contains(words));
    let io = |kinds: &[Io]| {
        error
            .iter_errors()
            .any(|e| e.downcast_ref::<std::io::Error>().is_some_and(|e| kinds.contains(&e.kind())))
    };
    if disk_refusal(error).is_some() {
        Failure::Disk
    } else if says("not our ref") {
        // Servers say this in words only; gix has no class for it.
        Failure::NotOurRef
    } else if says("HTTP status 404") || says("HTTP status 410") || says("is a valid git directory") {
        Failure::Missing
    } else if error.is_unauthenticated() || error.is_permission_denied() || says("HTTP status 403") {
        Failure::Denied
    } else if error.can_retry_lenient()
        || io(&[
            Io::ConnectionAborted,
            Io::ConnectionReset,
            Io::ConnectionRefused,
            Io::TimedOut,
            Io::UnexpectedEof,
        ])
        || error.iter_errors().any(|e| e.downcast_ref::<reqwest::Error>().is_some())
    {
        Failure::Unreachable
    } else {
        Failure::Other
    }
}
