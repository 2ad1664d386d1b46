//! `diff`: what differs between two locks.

use super::load;
use crate::ctx::Ctx;
use crate::daemon::Daemon;
use crate::error::{Error, chain};
use crate::resolve::{self as room, CountError, Differences, Which};
use proto::Spec;
use proto::method::{Diff, DiffAnswer, Target};

pub(super) async fn diff(daemon: &Daemon, ctx: &Ctx, params: Diff) -> Result<DiffAnswer, Error> {
    let Diff { old: seen_from, new, offline } = params;
    let (older, newer) = names(&seen_from.version, new.as_deref());
    let read = |(version, which): &(&str, Which)| {
        let target = Target { version: (*version).to_owned(), ..seen_from.clone() };
        let (loaded, home) = load(daemon, &target)?;
        let side = room::side(&daemon.sources, (&loaded.spec, &home), which)?;
        Ok::<_, Error>((loaded.spec, side))
    };
    let ((old_spec, old), (new_spec, new)) = (read(&older)?, read(&newer)?);
    let mut warnings: Vec<String> = [(&old_spec, &old), (&new_spec, &new)]
        .into_iter()
        .filter(|(_, side)| side.is_old)
        .map(|(spec, _)| edited(spec))
        .collect();
    let Differences { mut repositories, python, packages, models } = room::differences(&old.lock, &new.lock);
    if !(offline || daemon.config.offline) {
        let uncounted = room::count(ctx, &daemon.sources, &mut repositories).await;
        warnings.extend(unknown(&uncounted));
    }
    if ctx.cancel.is_cancelled() {
        return Err(Error::Cancelled);
    }
    let are_specs = (&older.1, &newer.1) == (&Which::Pinned, &Which::Pinned);
    let settings = if are_specs { room::settings(&old_spec, &new_spec) } else { Vec::new() };
    let (old, new) = (old.told, new.told);
    Ok(DiffAnswer { old, new, repositories, python, packages, models, settings, warnings })
}

/// What is compared with what: without a second one, the present with what was before.
fn names<'a>(old: &'a str, new: Option<&'a str>) -> ((&'a str, Which), (&'a str, Which)) {
    let (version, which) = Which::split(old);
    match new {
        Some(new) => ((version, which), Which::split(new)),
        None if which == Which::Pinned => ((version, Which::Previous), (version, Which::Current)),
        None => ((version, which), (version, Which::Current)),
    }
}

/// Says for which repositories no number of commits is told. They mostly have one reason.
fn unknown(uncounted: &[(String, CountError)]) -> Option<String> {
    let (name, error) = uncounted.first()?;
    let others = match uncounted.len() - 1 {
        0 => String::new(),
        others => format!(", nor for {others} more"),
    };
    Some(format!("how many commits lie between is not known for `{name}`{others}: {}", chain(error)))
}

fn edited(spec: &Spec) -> String {
    let id = &spec.version_id;
    format!(
        "the spec of `{id}` was edited since it was resolved: `comfyctl realize {id} --dry-run` tells what would change"
    )
}
