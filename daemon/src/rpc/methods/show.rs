//! `show`: spec, lock and state side by side.

use super::load;
use crate::daemon::Daemon;
use crate::error::Error;
use crate::realize::layout::Layout;
use crate::realize::{lacks, skips_scripts};
use crate::resolve;
use crate::store::inspect;
use crate::store::places::{Home, lock_file};
use proto::method::{InstanceInfo, InstanceState, Show, ShowAnswer, VersionState};
use proto::{Lock, Spec};
use std::collections::BTreeMap;

pub(super) fn show(daemon: &Daemon, params: &Show) -> Result<ShowAnswer, Error> {
    let (loaded, home) = load(daemon, &params.target)?;
    let stand = stand(daemon, &loaded.spec, &home)?;
    let no_scripts = skips_scripts(&daemon.config, &loaded.spec);
    let layout = stand.lock.as_ref().map(|lock| Layout::new(&daemon.config, home.clone(), lock, no_scripts));
    let linked = layout.iter().flat_map(|layout| layout.links.iter());
    let linked = linked.filter(|link| link.node.is_some() && inspect::is_link_to(&link.path, &link.target));
    let nodes = stand.lock.iter().flat_map(|lock| lock.custom_nodes.iter()).collect::<Vec<_>>();
    Ok(ShowAnswer {
        spec_path: loaded.path.display().to_string(),
        lock_path: lock_file(&daemon.config, &loaded.spec.version_id).display().to_string(),
        diagnostics: loaded.warnings,
        home: home.root.display().to_string(),
        generation: inspect::linked_generation(&home.current()),
        previous: inspect::linked_generation(&home.previous()),
        state: stand.state,
        standing: None,
        lacks: stand.lacks,
        linked_nodes: linked.filter_map(|link| Some(nodes.get(link.node?)?.dir.clone())).collect(),
        instance: stand.instance,
        spec: Spec { env: hidden(&loaded.spec.env), ..loaded.spec },
        lock: stand.lock,
    })
}

/// How far a version is.
pub(super) struct Stand {
    pub(super) state: VersionState,
    pub(super) lock: Option<Lock>,
    pub(super) lacks: Vec<String>,
    pub(super) instance: Option<InstanceInfo>,
}

/// Looks at the lock, the disk and the processes. No network, no subprocess.
pub(super) fn stand(daemon: &Daemon, spec: &Spec, home: &Home) -> Result<Stand, Error> {
    let instance = daemon.supervisor.find(&home.root);
    let is_running = instance.as_ref().is_some_and(|info| matches!(info.state, InstanceState::Ready { .. }));
    let lock = resolve::valid_lock(&daemon.sources, spec, home)?;
    let lacks = match &lock {
        Some(lock) => lacks(&daemon.sources, spec, home, lock)?,
        None => vec!["the version is not resolved".to_owned()],
    };
    let state = match &lock {
        _ if is_running => VersionState::Running,
        None => VersionState::Unresolved,
        Some(_) if lacks.is_empty() => VersionState::Realized,
        Some(_) => VersionState::Resolved,
    };
    Ok(Stand { state, lock, lacks, instance })
}

/// Values of `env` may be secrets; the names are enough to see what is set.
fn hidden(env: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    env.keys().map(|name| (name.clone(), "…".to_owned())).collect()
}
