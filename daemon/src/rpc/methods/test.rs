//! `test`: proves that a version works.

use crate::ctx::Ctx;
use crate::daemon::Daemon;
use crate::error::Error;
use crate::realize::Realization;
use crate::resolve::Mode;
use crate::run;
use crate::start::{Address, Wanted};
use crate::store::inspect::file_size;
use crate::supervise::Purpose;
use proto::Lock;
use proto::method::{Check, CheckOutcome, Test, TestAnswer};
use std::sync::Arc;

pub(super) async fn test(daemon: &Daemon, ctx: &Ctx, params: Test) -> Result<TestAnswer, Error> {
    let target = params.target.clone();
    let mode = Mode { update: false, offline: params.offline, no_install_scripts: params.no_install_scripts };
    let _work = daemon.ladder.work_on(&params.target);
    let wanted = Wanted {
        target: target.clone(),
        mode,
        address: Address::default(),
        purpose: Purpose::Workflow,
        models: Vec::new(),
    };
    let started = daemon.starter.start(ctx, wanted).await?;
    daemon.prefetch.note(&started.version_id, &target);
    let (present, mut checks) = present(&started.realization);
    checks.extend(run::checks(ctx, &started.ready, &present).await.map_err(Arc::new)?);
    let passed = checks.iter().all(|check| check.outcome != CheckOutcome::Failed);
    Ok(TestAnswer { version_id: started.version_id, passed, checks })
}

/// Returns the lock without what is not here, and a check for each such thing: what offline mode could
/// not find has failed, what the spec leaves out is skipped.
fn present(realization: &Realization) -> (Lock, Vec<Check>) {
    let failed = |missing: &String| Check {
        name: missing.clone(),
        outcome: CheckOutcome::Failed,
        detail: "not cached, and offline".to_owned(),
    };
    let mut checks: Vec<Check> = realization.missing.iter().map(failed).collect();
    let mut lock = Lock::clone(&realization.lock);
    let mut checkouts = realization.layout.checkouts.iter();
    lock.custom_nodes.retain(|_| checkouts.next().is_some_and(|checkout| checkout.is_dir()));
    let home = &realization.layout.home;
    let (here, absent) =
        lock.models.into_iter().partition(|model| file_size(&home.model(&model.target)).is_some());
    lock.models = here;
    if realization.missing.is_empty() {
        checks.extend(absent.into_iter().map(|model| Check {
            name: format!("model {}", model.target),
            outcome: CheckOutcome::Skipped,
            detail: "the spec says `skip_models`".to_owned(),
        }));
    }
    (lock, checks)
}
