//! `show`: spec, lock and state side by side.

use crate::daemon::Daemon;
use crate::error::Error;
use crate::prefetch::ladder::Known;
use crate::realize::layout::Layout;
use crate::realize::skips_scripts;
use crate::store::inspect;
use crate::store::places::lock_file;
use proto::method::{InstanceInfo, InstanceState, Show, ShowAnswer, Standing, VersionState};
use proto::{Rung, Spec};
use std::collections::BTreeMap;

pub(super) fn show(daemon: &Daemon, params: &Show) -> Result<ShowAnswer, Error> {
    let Known { loaded, home, look, standing, .. } = daemon.ladder.look(&params.target)?;
    let instance = daemon.supervisor.find(&home.root);
    let no_scripts = skips_scripts(&daemon.config, &loaded.spec);
    let layout = look.lock.as_ref().map(|lock| Layout::new(&daemon.config, home.clone(), lock, no_scripts));
    let linked = layout.iter().flat_map(|layout| layout.links.iter());
    let linked = linked.filter(|link| link.node.is_some() && inspect::is_link_to(&link.path, &link.target));
    let nodes = look.lock.iter().flat_map(|lock| lock.custom_nodes.iter()).collect::<Vec<_>>();
    Ok(ShowAnswer {
        spec_path: loaded.path.display().to_string(),
        lock_path: lock_file(&daemon.config, &loaded.spec.version_id).display().to_string(),
        diagnostics: loaded.warnings,
        home: home.root.display().to_string(),
        generation: inspect::linked_generation(&home.current()),
        previous: inspect::linked_generation(&home.previous()),
        state: state(&standing, instance.as_ref()),
        standing: Some(standing),
        lacks: look.lacks(),
        linked_nodes: linked.filter_map(|link| Some(nodes.get(link.node?)?.dir.clone())).collect(),
        instance,
        spec: Spec { env: hidden(&loaded.spec.env), ..loaded.spec },
        lock: look.lock,
    })
}

/// How far a version is, in the words of clients that know no rungs. They call one running whose ComfyUI
/// answers, whichever generation that runs.
pub(super) fn state(standing: &Standing, instance: Option<&InstanceInfo>) -> VersionState {
    let runs = instance.is_some_and(|info| matches!(info.state, InstanceState::Ready { .. }));
    match standing.rung {
        _ if runs => VersionState::Running,
        Rung::Unknown => VersionState::Unresolved,
        Rung::Resolved | Rung::Fetched => VersionState::Resolved,
        Rung::Realized | Rung::Primed | Rung::Running => VersionState::Realized,
    }
}

/// Values of `env` may be secrets; the names are enough to see what is set.
fn hidden(env: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    env.keys().map(|name| (name.clone(), "…".to_owned())).collect()
}
