//! `run`: runs a workflow and returns everything it put out.

use super::{load, request};
use crate::ctx::Ctx;
use crate::daemon::Daemon;
use crate::error::Error;
use crate::resolve::Mode;
use crate::run::{Failure, RunRequest, Start, input_dir};
use crate::start::{Address, start};
use proto::method::{Run, RunAnswer};
use std::sync::Arc;
use std::time::Duration;

pub(super) async fn run(daemon: &Daemon, ctx: &Ctx, params: Run) -> Result<RunAnswer, Error> {
    let (loaded, home) = load(daemon, &params.target)?;
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
    let realize = self::request(daemon, &loaded, home, Mode { update: false, offline: params.offline });
    let (sources, jobs, supervisor) =
        (daemon.sources.clone(), daemon.jobs.clone(), daemon.supervisor.clone());
    let start: Start = Box::new(move |ctx| {
        let (sources, jobs, supervisor) = (sources.clone(), jobs.clone(), supervisor.clone());
        let wanted = (realize.clone(), Address::default());
        Box::pin(async move {
            let started = start(&ctx, &sources, &jobs, &supervisor, wanted).await;
            started.map(|(_, ready)| ready).map_err(|error| Arc::new(error) as Arc<dyn Failure>)
        })
    });
    Ok(daemon.workflows.run(ctx, request, start).await?)
}
