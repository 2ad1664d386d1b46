//! `export`: writes a version's lock in another program's format.

use crate::daemon::Daemon;
use crate::error::Error;
use crate::import::snapshot;
use proto::method::{Export, ExportAnswer, ExportFormat};

pub(super) fn export(daemon: &Daemon, params: &Export) -> Result<ExportAnswer, Error> {
    let known = daemon.ladder.look(&params.target)?;
    let version_id = known.loaded.spec.version_id;
    let lock = known.look.lock.ok_or_else(|| Error::NoLock(version_id.to_string()))?;
    let (text, left_out) = match params.format {
        ExportFormat::Snapshot => snapshot::write(&lock).map_err(Error::Answer)?,
    };
    Ok(ExportAnswer { version_id, text, left_out })
}
