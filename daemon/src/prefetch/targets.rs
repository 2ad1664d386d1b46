//! How versions are named by those who ask for them: a spec's path, or a `COMFY_HOME` of their own. Idle time
//! has to lift the very home that they will ask for, in the next daemon, too.

use crate::store::{read_json, write_json};
use proto::VersionId;
use proto::method::Target;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The most that are remembered: more than anyone uses at a time.
const MOST: usize = 1024;

/// How versions were named last, where that is not by their id alone. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Targets {
    path: Arc<PathBuf>,
    named: Arc<Mutex<BTreeMap<VersionId, Target>>>,
}

impl Targets {
    /// Reads what earlier daemons remembered; what cannot be read is named in the log and counts as nothing.
    /// Blocks.
    pub(super) fn open(path: PathBuf) -> Self {
        let read = read_json(&path).inspect_err(|error| tracing::warn!(%error, "names are ignored"));
        let named = Arc::new(Mutex::new(read.ok().flatten().unwrap_or_default()));
        Self { path: Arc::new(path), named }
    }

    /// Returns how a version is named.
    pub(super) fn of(&self, version: &VersionId) -> Target {
        self.lock().get(version).cloned().unwrap_or_else(|| plain(version))
    }

    /// Remembers how a version was named now; `is_listed`: its spec lies in the versions directory. Returns
    /// whether that is to be [kept](Self::keep). Never waits.
    pub(super) fn name(&self, version: &VersionId, target: &Target, is_listed: bool) -> bool {
        let mut named = self.lock();
        if is_listed && target.comfy_home.is_none() && target.version == version.as_str() {
            return named.remove(version).is_some();
        }
        if named.get(version) == Some(target) || (named.len() >= MOST && !named.contains_key(version)) {
            return false;
        }
        named.insert(version.clone(), target.clone());
        true
    }

    /// Keeps what is remembered for the next daemon. Blocks.
    pub(super) fn keep(&self) {
        let named = self.lock().clone();
        if let Err(error) = write_json(&self.path, &named) {
            tracing::warn!(%error, "how versions are named is not kept");
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<VersionId, Target>> {
        // Changed by single statements.
        self.named.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names a version by its id.
pub(super) fn plain(version: &VersionId) -> Target {
    Target { version: version.to_string(), cwd: None, comfy_home: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_uncommon_names_are_kept_and_the_next_daemon_knows_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("targets.json");
        let targets = Targets::open(path.clone());
        let (a, b) = (VersionId::new("a").unwrap(), VersionId::new("b").unwrap());
        let own = Target { comfy_home: Some("/data/{version_id}".to_owned()), ..plain(&a) };
        assert!(targets.name(&a, &own, true) && !targets.name(&a, &own, true));
        assert!(!targets.name(&b, &plain(&b), true));
        targets.keep();
        let next = Targets::open(path.clone());
        assert_eq!((next.of(&a), next.of(&b)), (own, plain(&b)));
        assert!(next.name(&a, &plain(&a), true));
        assert_eq!(next.of(&a), plain(&a));
        std::fs::write(&path, "{").unwrap();
        assert_eq!(Targets::open(path).of(&a), plain(&a), "a damaged file counts as nothing");
    }
}
