//! `pin`, `unpin` and `pins`: versions that idle time lifts before all others.

use super::load;
use crate::daemon::Daemon;
use crate::error::Error;
use crate::prefetch::pins::Pinned;
use crate::store::places::Home;
use proto::Rung;
use proto::method::{Pin, PinAnswer, Pins, PinsAnswer, Unpin};

pub(super) fn pin(daemon: &Daemon, params: Pin) -> Result<PinAnswer, Error> {
    let (loaded, home) = load(daemon, &params.target)?;
    let version_id = loaded.spec.version_id;
    let pinned = Pinned { version_id: version_id.clone(), target: params.target, rung: params.rung };
    let before = daemon.ladder.pins.pin(&home.root, pinned)?;
    daemon.prefetch.wake();
    let warnings = too_high(daemon.config.prefetch.until, params.rung);
    Ok(PinAnswer { warnings: warnings.into_iter().collect(), ..answer(daemon, &home, version_id, before) })
}

pub(super) fn unpin(daemon: &Daemon, params: &Unpin) -> Result<PinAnswer, Error> {
    let (loaded, home) = load(daemon, &params.target)?;
    let version_id = loaded.spec.version_id;
    let before = daemon.ladder.pins.unpin(&home.root, &version_id)?;
    daemon.prefetch.wake();
    let is_still = daemon.ladder.pins.is_by_environment(&version_id);
    let warning =
        is_still.then(|| format!("COMFYD_PINNED of the daemon names `{version_id}`: it stays pinned"));
    Ok(PinAnswer { warnings: warning.into_iter().collect(), ..answer(daemon, &home, version_id, before) })
}

pub(super) fn pins(daemon: &Daemon, _params: &Pins) -> PinsAnswer {
    let home_of = |id: &_| Home::find(&daemon.config, id, None).ok().map(|home| home.root);
    PinsAnswer { pins: daemon.ladder.pins.list(home_of) }
}

fn answer(daemon: &Daemon, home: &Home, version_id: proto::VersionId, before: Option<Rung>) -> PinAnswer {
    let rung = daemon.ladder.pins.of(&home.root, &version_id);
    PinAnswer { version_id, home: home.root.display().to_string(), rung, before, warnings: Vec::new() }
}

/// Idle time goes no higher than it may, pinned or not.
fn too_high(until: Option<Rung>, rung: Rung) -> Option<String> {
    match until {
        None => Some("COMFYD_PREFETCH of the daemon is `off`: nothing lifts it by itself".to_owned()),
        Some(until) if until < rung => {
            Some(format!("COMFYD_PREFETCH of the daemon is `{until}`: it is lifted no higher by itself"))
        }
        Some(_) => None,
    }
}
