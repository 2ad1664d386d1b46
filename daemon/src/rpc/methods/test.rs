//! `test`: proves that a version works.

use super::{load, request};
use crate::ctx::Ctx;
use crate::daemon::Daemon;
use crate::error::Error;
use crate::resolve::Mode;
use crate::run;
use crate::start::{Address, start};
use proto::method::{Check, CheckOutcome, Test, TestAnswer};

pub(super) async fn test(daemon: &Daemon, ctx: &Ctx, params: Test) -> Result<TestAnswer, Error> {
    let (loaded, home) = load(daemon, &params.target)?;
    let request = request(daemon, &loaded, home, Mode { update: false, offline: params.offline });
    let parts = (request, Address::default());
    let (realization, ready) = start(ctx, &daemon.config, &daemon.jobs, &daemon.supervisor, parts).await?;
    let missing = realization.missing.iter().map(|missing| Check {
        name: missing.clone(),
        outcome: CheckOutcome::Failed,
        detail: "not cached, and offline".to_owned(),
    });
    let mut checks: Vec<Check> = missing.collect();
    checks.extend(run::checks(ctx, &ready, &realization.lock).await?);
    let passed = checks.iter().all(|check| check.outcome != CheckOutcome::Failed);
    Ok(TestAnswer { version_id: loaded.spec.version_id, passed, checks })
}
