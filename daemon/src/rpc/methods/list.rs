//! `list`: the versions there are, and how far each is.

use super::show::state;
use crate::daemon::Daemon;
use crate::error::Error;
use crate::store::specs::{self, SpecError};
use proto::method::{List, ListAnswer, ListedVersion, Target, VersionState};

pub(super) fn list(daemon: &Daemon, params: &List) -> Result<ListAnswer, Error> {
    let mut versions = Vec::new();
    for (version_id, path) in specs::list(&daemon.config, params.cwd.as_deref()) {
        let path = path.display().to_string();
        let comfy_home = params.comfy_home.clone();
        let target = Target { version: path.clone(), cwd: None, comfy_home };
        let (state, standing, errors) = match daemon.ladder.look(&target) {
            Ok(known) => {
                let instance = daemon.supervisor.find(&known.home.root);
                (state(&known.standing, instance.as_ref()), Some(known.standing), 0)
            }
            Err(Error::Spec(SpecError::Invalid { diagnostics, .. })) => {
                (VersionState::Invalid, None, specs::errors(&diagnostics))
            }
            Err(error) => return Err(error),
        };
        versions.push(ListedVersion { version_id, path, state, standing, errors });
    }
    let searched = specs::search_dirs(&daemon.config, params.cwd.as_deref());
    Ok(ListAnswer { searched: searched.iter().map(|dir| dir.display().to_string()).collect(), versions })
}
