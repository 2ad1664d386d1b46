//! `doctor`: whether this machine is fit.

use crate::ctx::Ctx;
use crate::daemon::Daemon;
use crate::doctor;
use crate::error::Error;
use proto::method::{Doctor, DoctorAnswer};

pub(super) async fn doctor(daemon: &Daemon, ctx: &Ctx, params: Doctor) -> Result<DoctorAnswer, Error> {
    // Boxed, since a dozen looks go on at once: other calls need not be as large.
    let findings = Box::pin(doctor::examine(ctx, &daemon.sources, &daemon.supervisor, &params)).await;
    if ctx.cancel.is_cancelled() {
        return Err(Error::Cancelled);
    }
    Ok(DoctorAnswer { findings })
}
