//! `run`: runs a workflow and returns everything it put out.

use super::{load, request};
use crate::ctx::Ctx;
use crate::daemon::Daemon;
use crate::error::Error;
use crate::resolve::Mode;
use crate::run::{self as room, Graph, RunRequest};
use crate::start::{Address, start};
use proto::method::{Method as _, Run, RunAnswer};
use std::time::Duration;

pub(super) async fn run(daemon: &Daemon, ctx: &Ctx, params: Run) -> Result<RunAnswer, Error> {
    let (loaded, home) = load(daemon, &params.target)?;
    let request = request(daemon, &loaded, home, Mode { update: false, offline: params.offline });
    let parts = (request, Address::default());
    // Before minutes of loading: a workflow that cannot run is refused at once.
    let workflow = serde_json::from_str(params.workflow.get());
    let graph = Graph::parse(workflow.map_err(|source| Error::Params { method: Run::NAME, source })?)?;
    let (_, ready) = start(ctx, &daemon.sources, &daemon.jobs, &daemon.supervisor, parts).await?;
    let request = RunRequest {
        graph,
        inputs: params.inputs,
        output_dir: params.output_dir.map(Into::into),
        timeout: params.timeout_s.map(Duration::from_secs),
    };
    Ok(room::workflow(ctx, &ready, request).await?)
}
