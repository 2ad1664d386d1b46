//! Which generations and checkouts run right now: they are neither removed nor changed.

use crate::store::places::{Home, generation};
use proto::VersionId;
use proto::method::{InstanceInfo, InstanceState};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What runs, whenever it is asked. Cheap to clone.
#[derive(Clone)]
pub struct InUse(Arc<dyn Fn() -> Vec<InstanceInfo> + Send + Sync>);

impl InUse {
    /// Takes the instances, ended ones too, from `instances` at each question.
    pub fn new(instances: impl Fn() -> Vec<InstanceInfo> + Send + Sync + 'static) -> Self {
        Self(Arc::new(instances))
    }

    /// Returns the version whose process runs the generation in this directory.
    pub fn runs(&self, generation_dir: &Path) -> Option<VersionId> {
        self.running().find(|(_, dir)| dir == generation_dir).map(|(version, _)| version)
    }

    /// Returns a version whose process runs this custom node's checkout; a process in the home `ended`
    /// does not count. Blocks, for a look at each running version's links.
    pub fn runs_node(&self, checkout: &Path, ended: Option<&Path>) -> Option<VersionId> {
        let checkout = checkout.canonicalize().ok()?;
        let others = self.running().filter(|(_, dir)| ended.is_none_or(|home| !dir.starts_with(home)));
        let mut using = others.filter(|(_, dir)| {
            let nodes = std::fs::read_dir(dir.join(generation::COMFY).join("custom_nodes"));
            let nodes = nodes.into_iter().flatten().flatten();
            nodes.into_iter().any(|node| node.path().canonicalize().is_ok_and(|place| place == checkout))
        });
        using.next().map(|(version, _)| version)
    }

    fn running(&self) -> impl Iterator<Item = (VersionId, PathBuf)> {
        let has_ended = |state: &_| matches!(state, InstanceState::Exited | InstanceState::Failed { .. });
        let running = (self.0)().into_iter().filter(move |instance| !has_ended(&instance.state));
        running.map(|instance| {
            // Where models lie is of no matter here.
            let home = Home { root: instance.home.into(), models: PathBuf::new() };
            (instance.version_id, home.generation(&instance.generation))
        })
    }
}

impl std::fmt::Debug for InUse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.running()).finish()
    }
}
