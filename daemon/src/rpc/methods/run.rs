//! `run`: runs a workflow and returns everything it put out.

use crate::ctx::Ctx;
use crate::daemon::Daemon;
use crate::error::Error;
use crate::run::{self as room, Graph, RunRequest};
use crate::start::{Address, Wanted};
use crate::supervise::Purpose;
use proto::method::{Method as _, Run, RunAnswer};
use std::time::Duration;

pub(super) async fn run(daemon: &Daemon, ctx: &Ctx, params: Run) -> Result<RunAnswer, Error> {
    // Before minutes of loading: a workflow that cannot run is refused at once.
    let workflow = serde_json::from_str(params.workflow.get());
    let graph = Graph::parse(workflow.map_err(|source| Error::Params { method: Run::NAME, source })?)?;
    let (target, offline) = (params.target, params.offline);
    let wanted = Wanted { target, offline, address: Address::default(), purpose: Purpose::Workflow };
    let started = daemon.starter.warm(ctx, wanted).await?;
    let request = RunRequest {
        graph,
        inputs: params.inputs,
        output_dir: params.output_dir.map(Into::into),
        timeout: params.timeout_s.map(Duration::from_secs),
    };
    Ok(room::workflow(ctx, &started.ready, request).await?)
}
