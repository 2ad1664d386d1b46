//! `run`: runs a workflow and returns everything it put out.

use crate::ctx::Ctx;
use crate::daemon::Daemon;
use crate::error::Error;
use crate::resolve::Mode;
use crate::rpc::methods::load;
use crate::run::{Failure, RunRequest, Start, Up, input_dir};
use crate::start::{Address, Started, Wanted};
use crate::supervise::Purpose;
use proto::method::{Run, RunAnswer, Warmth};
use std::sync::Arc;
use std::time::Duration;

pub(super) async fn run(daemon: &Daemon, ctx: &Ctx, params: Run) -> Result<RunAnswer, Error> {
    let (loaded, home) = load(daemon, &params.target)?;
    daemon.prefetch.note(&loaded.spec.version_id, &params.target);
    let request = RunRequest {
        version_id: loaded.spec.version_id.clone(),
        input_dir: input_dir(&home.root, &loaded.spec.options.extra_args),
        home: home.root.clone(),
        workflow: params.workflow,
        job_id: params.job_id,
        inputs: params.inputs,
        api_key: params.comfy_org_api_key,
        deliver: params.deliver,
        output_dir: params.output_dir.map(Into::into),
        timeout: params.timeout_s.map(Duration::from_secs),
    };
    let mode = Mode { update: false, offline: params.offline, no_install_scripts: params.no_install_scripts };
    let work = daemon.ladder.work_on(&params.target);
    let (target, starter) = (params.target, daemon.starter.clone());
    let start: Start = Box::new(move |ctx, models| {
        let (starter, target) = (starter.clone(), target.clone());
        let (address, purpose) = (Address::default(), Purpose::Workflow);
        let wanted = Wanted { target, mode, address, purpose, models };
        Box::pin(async move {
            let warm = starter.warm(&ctx, wanted).await;
            let warm = warm.map_err(|error| Arc::new(error) as Arc<dyn Failure>)?;
            let Started { ready, held, how, .. } = warm;
            Ok(Up { ready, held, how })
        })
    });
    let answer = daemon.workflows.run(ctx, request, start).await?;
    if answer.how == Some(Warmth::Running) {
        work.changed_nothing();
    }
    Ok(answer)
}
