//! Spec → Lock: every name pinned.
//!
//! A lock that belongs to the spec is used as it is. Otherwise what the spec did not change keeps its
//! pins, unless an update is asked for; the rest is resolved: refs to commits, then the requirements
//! found at those commits to packages. Models need no resolution here: the link is their key.

use crate::ctx::Ctx;
use crate::source::Sources;
use crate::source::git::GitError;
use crate::source::python::{PythonError, Resolved};
use crate::store::places::{self, Home};
use crate::store::{self, StoreError};
use proto::lock::{LOCK_SCHEMA_VERSION, LockedModel};
use proto::{ErrorKind, Lock, Spec};

mod changes;
mod compare;
mod packages;
mod present;
mod repositories;

pub use changes::{Differences, changes, differences};
pub use compare::{CountError, Side, SideError, Which, count, settings, side};
pub use present::{is_usable, next_moment, spec_digest, valid_lock};

/// What the request allows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Mode {
    /// Pin everything anew.
    pub update: bool,
    /// Nothing may be fetched.
    pub offline: bool,
    /// No custom node's `install.py` may be run. Pins are the same.
    pub no_install_scripts: bool,
}

/// What is to be pinned, from what.
struct Question<'a> {
    sources: &'a Sources,
    spec: &'a Spec,
    /// Earlier pins that still hold where the spec did not change.
    pins: Option<&'a Lock>,
    mode: Mode,
}

/// A lock and how it came about.
#[derive(Debug, Clone)]
pub struct Resolution {
    /// The lock.
    pub lock: Lock,
    /// The lock that stood there before.
    pub previous: Option<Lock>,
    /// Whether it is not yet written at its place.
    pub is_new: bool,
    /// Custom nodes that offline mode could not pin; such a lock is used but never written.
    pub missing: Vec<String>,
    /// What people should know.
    pub warnings: Vec<String>,
}

/// Why a spec could not be pinned.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// A repository could not be pinned.
    #[error("failed to pin `{name}`")]
    Repository {
        /// `ComfyUI` or the node's directory.
        name: String,
        /// Why.
        source: GitError,
    },
    /// A file of a repository is not text.
    #[error("`{file}` of `{name}` at {commit} is not UTF-8 text")]
    NotText {
        /// The repository.
        name: String,
        /// The file.
        file: String,
        /// The commit.
        commit: String,
    },
    /// The packages could not be resolved.
    #[error("failed to resolve the Python packages of `{version}`")]
    Packages {
        /// The version.
        version: String,
        /// Why.
        source: PythonError,
    },
    /// The lock could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ResolveError {
    /// Returns what kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Repository { source, .. } => source.kind(),
            Self::Packages { source, .. } => source.kind(),
            Self::NotText { .. } => ErrorKind::Conflict,
            Self::Store(_) => ErrorKind::Disk,
        }
    }

    /// Returns what to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Repository { source, .. } => source.hint(),
            Self::Packages { source, .. } => source.hint(),
            Self::NotText { .. } => {
                Some("pin another commit, or set `install_requirements` to false".to_owned())
            }
            Self::Store(_) => None,
        }
    }
}

/// Returns the spec's lock: the present one where it still belongs to the spec, else a new one, which
/// is not yet written. Cancel-safe.
///
/// # Errors
/// When something cannot be pinned.
pub async fn resolve(
    ctx: &Ctx,
    sources: &Sources,
    spec: &Spec,
    home: &Home,
    mode: Mode,
) -> Result<Resolution, ResolveError> {
    let spec_digest = spec_digest(spec);
    let (previous, is_written) = present::present_lock(sources, spec, home, &spec_digest)?;
    if let Some(lock) = previous.as_ref().filter(|lock| lock.spec_digest == spec_digest && !mode.update) {
        return Ok(Resolution {
            lock: lock.clone(),
            previous,
            is_new: !is_written,
            missing: Vec::new(),
            warnings: Vec::new(),
        });
    }
    ctx.turn().await;
    ctx.progress.phase("resolve");
    let pins = previous.as_ref().filter(|_| !mode.update);
    let question = Question { sources, spec, pins, mode };
    let mut pinned = repositories::pin(ctx, &question).await?;
    let packages_digest = packages::digest(spec, &pinned);
    let packages = match pins.filter(|pins| pins.packages_digest == packages_digest) {
        Some(pins) => Resolved { python: pins.python.clone(), warnings: Vec::new() },
        None => packages::resolve(ctx, &question, &pinned).await?,
    };
    pinned.warnings.extend(packages.warnings);
    // A lock without all of the spec's nodes belongs to no spec: the next call resolves again.
    let spec_digest = if pinned.missing.is_empty() { spec_digest } else { String::new() };
    let lock = Lock {
        schema_version: LOCK_SCHEMA_VERSION,
        version_id: spec.version_id.clone(),
        spec_digest,
        resolved_at: next_moment(previous.as_ref(), home)?,
        rolled_back_from: None,
        comfy: pinned.comfy.locked,
        custom_nodes: pinned.nodes.into_iter().map(|node| node.locked).collect(),
        packages_digest,
        python: packages.python,
        models: models(spec),
    };
    let is_new = !is_written
        || previous
            .as_ref()
            .is_none_or(|old| !changes(old, &lock).is_empty() || old.spec_digest != lock.spec_digest);
    Ok(Resolution { lock, previous, is_new, missing: pinned.missing, warnings: pinned.warnings })
}

impl Resolution {
    /// Writes a new lock to its place. Does nothing for a lock that stands there or that is partial.
    /// Blocks.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, sources: &Sources) -> Result<(), StoreError> {
        if !self.is_new || !self.missing.is_empty() {
            return Ok(());
        }
        let path = places::lock_file(&sources.config, &self.lock.version_id);
        store::commit::step("resolve.lock", "write", &path)?;
        store::write_json(&path, &self.lock)
    }

    /// Returns the lock that the home carries instead, where another machine chose it later for the same
    /// spec: it updated the version, or rolled it back. Blocks, shortly.
    ///
    /// # Errors
    /// When that lock is there and cannot be read.
    pub fn or_later(self, spec: &Spec, home: &Home) -> Result<Self, StoreError> {
        match present::later(spec, home, &self.lock)? {
            None => Ok(self),
            Some(lock) => Ok(Self { previous: Some(self.lock), lock, is_new: true, ..self }),
        }
    }
}

fn models(spec: &Spec) -> Vec<LockedModel> {
    let model = |model: &proto::spec::ModelSpec| LockedModel {
        target: model.target.clone(),
        source: model.source.without_secrets(),
        checksum: model.checksum.clone(),
    };
    spec.models.iter().map(model).collect()
}
