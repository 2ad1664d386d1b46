//! Back to the generation before: its lock becomes the version's, and then it becomes current.
//!
//! The lock is the moment of the change. Written for the present spec, it is what the next realize makes
//! true: if the daemon is killed before `current` leads to the generation, that realize goes on; if it is
//! killed before the lock is written, nothing has changed. The generation's own copy is written first, for other
//! machines find it as soon as the generation is current.

use super::layout::Layout;
use super::record::Record;
use super::{LOCK_DEADLINE, RealizeError, check_owner, current, skips_scripts};
use crate::ctx::Ctx;
use crate::resolve::{self, changes};
use crate::source::Sources;
use crate::store;
use crate::store::commit::step;
use crate::store::file_lock::FileLock;
use crate::store::inspect::linked_generation;
use crate::store::places::{Home, generation, lock_file};
use proto::{Lock, Spec};
use std::sync::Arc;

/// What a rollback came to.
#[derive(Debug, Clone)]
pub struct RolledBack {
    /// The generation that is current now.
    pub generation: String,
    /// The generation that was current.
    pub previous: String,
    /// Whether it took an earlier rollback back.
    pub forward: bool,
    /// How the lock differs from the one before.
    pub changes: Vec<String>,
    /// What people should know.
    pub warnings: Vec<String>,
}

/// Makes the generation before current again, and its lock the version's. A running ComfyUI keeps what it
/// runs. Waits for the home's lock; cancel-safe.
///
/// # Errors
/// There is nothing to go back to, or it is not whole; the home is as it was before.
pub async fn rollback(
    ctx: &Ctx,
    sources: &Sources,
    spec: Arc<Spec>,
    home: Home,
) -> Result<RolledBack, RealizeError> {
    check_owner(&home, &spec)?;
    let what = home.root.display().to_string();
    let lock = FileLock::take(ctx, home.lock(), &what, LOCK_DEADLINE).await;
    let lock = lock.map_err(|source| RealizeError::Locked { what, source })?;
    let sources = sources.clone();
    let go = move || {
        // The lock goes with the work, which is not stopped in its middle.
        let _lock = lock;
        go_back(&sources, &spec, &home)
    };
    tokio::task::spawn_blocking(go).await.map_err(RealizeError::Crashed)?
}

fn go_back(sources: &Sources, spec: &Spec, home: &Home) -> Result<RolledBack, RealizeError> {
    let version = &spec.version_id;
    let links = (linked_generation(&home.current()), linked_generation(&home.previous()));
    let (from, to) = match links {
        (Some(from), Some(to)) if from != to => (from, to),
        _ => return Err(RealizeError::NothingBefore(version.clone())),
    };
    let dir = home.generation(&to);
    let record = Record::complete(&dir)?.filter(|record| record.version_id == *version);
    let lock = store::read_json::<Lock>(&dir.join(generation::LOCK))?;
    let lock = lock.filter(|lock| record.is_some() && resolve::is_usable(lock, spec));
    let Some(lock) = lock else {
        return Err(RealizeError::NotWhole { generation: dir.display().to_string() });
    };
    let present = resolve::valid_lock(sources, spec, home)?;
    let forward = present.as_ref().is_some_and(|lock| lock.rolled_back_from.as_ref() == Some(&to));
    let lock = Lock {
        spec_digest: resolve::spec_digest(spec),
        resolved_at: resolve::next_moment(present.as_ref(), home)?,
        rolled_back_from: Some(from.clone()).filter(|_| !forward),
        ..lock
    };
    for (place, path) in [
        ("rollback.copy", dir.join(generation::LOCK)),
        ("rollback.lock", lock_file(&sources.config, version)),
    ] {
        step(place, "write", &path)?;
        store::write_json(&path, &lock)?;
    }
    current::flip(home, &to)?;
    let left = store::read_json::<Lock>(&home.generation(&from).join(generation::LOCK))?;
    let changes = left.or(present).map(|old| changes(&old, &lock)).unwrap_or_default();
    let no_scripts = skips_scripts(&sources.config, spec);
    let is_same = Layout::new(&sources.config, home.clone(), &lock, no_scripts).generation == to;
    let warnings = if is_same { Vec::new() } else { vec![OTHER_RULES.to_owned()] };
    Ok(RolledBack { generation: to, previous: from, forward, changes, warnings })
}

const OTHER_RULES: &str = "this generation was made by other rules (an earlier comfyd, or `--no-install-scripts`): the next realize makes \
                           another one from the same pins";
