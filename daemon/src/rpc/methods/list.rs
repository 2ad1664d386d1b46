//! `list`: the versions there are, and how far each is.

use super::show::{Stand, stand};
use crate::daemon::Daemon;
use crate::error::Error;
use crate::store::places::Home;
use crate::store::specs::{self, SpecError};
use proto::method::{List, ListAnswer, ListedVersion, Target, VersionState};

pub(super) fn list(daemon: &Daemon, params: &List) -> Result<ListAnswer, Error> {
    let mut versions = Vec::new();
    for (version_id, path) in specs::list(&daemon.config, params.cwd.as_deref()) {
        let path = path.display().to_string();
        let target = Target { version: path.clone(), cwd: None, comfy_home: None };
        let (state, errors) = match specs::load(&daemon.config, &target) {
            Ok(loaded) => {
                let home = Home::find(&daemon.config, &version_id, params.comfy_home.as_deref())?;
                let Stand { state, .. } = stand(daemon, &loaded.spec, &home)?;
                (state, 0)
            }
            Err(SpecError::Invalid { diagnostics, .. }) => {
                (VersionState::Invalid, specs::errors(&diagnostics))
            }
            Err(error) => return Err(error.into()),
        };
        versions.push(ListedVersion { version_id, path, state, standing: None, errors });
    }
    let searched = specs::search_dirs(&daemon.config, params.cwd.as_deref());
    Ok(ListAnswer { searched: searched.iter().map(|dir| dir.display().to_string()).collect(), versions })
}
