//! The lock that a version has: in the user's cache, which is its place, or carried by the volume's home.
//!
//! Machines that share a volume have a cache each. Of two locks for one spec the one that was chosen later
//! counts, so an update or a rollback on one machine holds on the others too. The home's is read only where the
//! one in the cache leaves something to do: a version that is ready is answered without it.

use crate::source::Sources;
use crate::source::python;
use crate::store::places::{self, Home, generation};
use crate::store::{self, StoreError};
use jiff::{Timestamp, ToSpan as _};
use proto::lock::LOCK_SCHEMA_VERSION;
use proto::{Lock, Spec};
use serde::Serialize;

/// Returns the spec's lock if there is one that belongs to it. No network. Blocks, shortly.
///
/// # Errors
/// When a lock is there and cannot be read.
pub fn valid_lock(sources: &Sources, spec: &Spec, home: &Home) -> Result<Option<Lock>, StoreError> {
    let spec_digest = spec_digest(spec);
    let (lock, _) = present_lock(sources, spec, home, &spec_digest)?;
    let Some(lock) = lock.filter(|lock| lock.spec_digest == spec_digest) else { return Ok(None) };
    Ok(Some(later(spec, home, &lock)?.unwrap_or(lock)))
}

/// Returns the lock that the home carries, if it is this spec's and was chosen later than `lock`.
pub(super) fn later(spec: &Spec, home: &Home, lock: &Lock) -> Result<Option<Lock>, StoreError> {
    let is_later = |carried: &Lock| {
        is_usable(carried, spec)
            && carried.spec_digest == lock.spec_digest
            && carried.resolved_at > lock.resolved_at
    };
    Ok(carried(home)?.filter(is_later))
}

/// Returns the moment of a choice of pins: now, and later than that of the locks before it, whatever the clocks
/// of the machines that chose them say. Blocks, shortly.
///
/// # Errors
/// When the lock that the home carries is there and cannot be read.
pub fn next_moment(before: Option<&Lock>, home: &Home) -> Result<Timestamp, StoreError> {
    let carried = carried(home)?;
    let last = before.into_iter().chain(&carried).map(|lock| lock.resolved_at).max();
    // The end of time has no later moment, and is no worse than now.
    let next = last.and_then(|last| last.checked_add(1.second()).ok());
    Ok(next.map_or_else(Timestamp::now, |next| next.max(Timestamp::now())))
}

/// Tells whether a lock is one of this version, in the form of this comfyd. One that is not is named in the log.
pub fn is_usable(lock: &Lock, spec: &Spec) -> bool {
    let is_usable = lock.schema_version == LOCK_SCHEMA_VERSION && lock.version_id == spec.version_id;
    if !is_usable {
        let (version, of, format) = (&spec.version_id, &lock.version_id, lock.schema_version);
        tracing::warn!(lock = %format!("{version}.lock.json"), %of, format, "ignoring a lock of another version or format");
    }
    is_usable
}

/// Returns the lock in the user's cache; else the copy that the volume's home carries, so that a version
/// realized on a pod is the same on a worker that has an empty cache. Tells whether it is the one in the
/// cache, which is a lock's place.
pub(super) fn present_lock(
    sources: &Sources,
    spec: &Spec,
    home: &Home,
    spec_digest: &str,
) -> Result<(Option<Lock>, bool), StoreError> {
    let is_usable = |lock: &Lock| is_usable(lock, spec);
    let cached: Option<Lock> = store::read_json(&places::lock_file(&sources.config, &spec.version_id))?;
    let cached = cached.filter(is_usable);
    if cached.as_ref().is_some_and(|lock| lock.spec_digest == spec_digest) {
        return Ok((cached, true));
    }
    let carried = carried(home)?.filter(is_usable);
    match carried {
        Some(lock) if cached.is_none() || lock.spec_digest == spec_digest => Ok((Some(lock), false)),
        _ => Ok((cached, true)),
    }
}

fn carried(home: &Home) -> Result<Option<Lock>, StoreError> {
    store::read_json(&home.current().join(generation::LOCK))
}

/// Digests what resolution depends on; `env` other than the interpreter and the switches of a single
/// run are not part of it.
pub fn spec_digest(spec: &Spec) -> String {
    #[derive(Serialize)]
    struct Inputs<'a> {
        comfy: &'a proto::spec::RepoSpec,
        custom_nodes: &'a [proto::spec::NodeSpec],
        models: Vec<proto::lock::LockedModel>,
        python_packages: &'a [String],
        python: Option<&'a String>,
        exclude_newer: &'a proto::spec::ExcludeNewer,
        conflicts: proto::spec::Conflicts,
    }
    store::digest(&Inputs {
        comfy: &spec.comfy,
        custom_nodes: &spec.custom_nodes,
        models: super::models(spec),
        python_packages: &spec.python_packages,
        python: spec.env.get(python::INTERPRETER),
        exclude_newer: &spec.options.exclude_newer,
        conflicts: spec.options.conflicts,
    })
}
