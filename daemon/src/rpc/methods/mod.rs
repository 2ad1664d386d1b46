//! The verbs, one file each. A method reads its parameters, asks the rooms, shapes the answer.

use crate::ctx::Ctx;
use crate::daemon::Daemon;
use crate::error::Error;
use crate::realize::Request;
use crate::resolve::Mode;
use crate::store::places::Home;
use crate::store::specs::{self, Loaded};
use proto::error::METHOD_NOT_FOUND;
use proto::method::{self as verb, Method, Target};
use proto::rpc::RpcError;
use serde_json::value::RawValue;
use std::sync::Arc;

mod hello;
mod list;
mod logs;
mod plan;
mod realize;
mod resolve;
mod run;
mod show;
mod shutdown;
mod status;
mod stop;
mod test;
mod ui;

/// Runs the method of that name.
pub(super) async fn call(
    daemon: &Daemon,
    ctx: &Ctx,
    method: &str,
    params: Option<&RawValue>,
) -> Result<Box<RawValue>, RpcError> {
    match method {
        verb::Hello::NAME => answer(params, async |params| hello::hello(daemon, &params)).await,
        verb::Resolve::NAME => answer(params, async |params| resolve::resolve(daemon, ctx, params).await).await,
        verb::GetPlan::NAME => answer(params, async |params| plan::plan(daemon, ctx, params).await).await,
        verb::Realize::NAME => answer(params, async |params| realize::realize(daemon, ctx, params).await).await,
        verb::Ui::NAME => answer(params, async |params| ui::ui(daemon, ctx, params).await).await,
        verb::Test::NAME => answer(params, async |params| test::test(daemon, ctx, params).await).await,
        verb::Run::NAME => answer(params, async |params| run::run(daemon, ctx, params).await).await,
        verb::Status::NAME => answer(params, async |params| status::status(daemon, &params)).await,
        verb::List::NAME => answer(params, async |params| list::list(daemon, &params)).await,
        verb::Show::NAME => answer(params, async |params| show::show(daemon, &params)).await,
        verb::Logs::NAME => answer(params, async |params| logs::logs(daemon, &params)).await,
        verb::Stop::NAME => answer(params, async |params| stop::stop(daemon, &params).await).await,
        verb::Shutdown::NAME => answer(params, async |params| shutdown::shutdown(daemon, &params)).await,
        _ => Err(RpcError { code: METHOD_NOT_FOUND, message: format!("there is no method `{method}`"), data: None }),
    }
}

async fn answer<M: Method>(
    params: Option<&RawValue>,
    method: impl AsyncFnOnce(M) -> Result<M::Answer, Error>,
) -> Result<Box<RawValue>, RpcError> {
    let work = async {
        let params = serde_json::from_str(params.map_or("{}", RawValue::get));
        let params = params.map_err(|source| Error::Params { method: M::NAME, source })?;
        let answer = method(params).await?;
        serde_json::value::to_raw_value(&answer).map_err(Error::Answer)
    };
    work.await.map_err(|error| error.to_rpc())
}

/// Reads the spec that a call names and finds its home.
fn load(daemon: &Daemon, target: &Target) -> Result<(Loaded, Home), Error> {
    let loaded = specs::load(&daemon.config, target)?;
    let home = Home::find(&daemon.config, &loaded.spec.version_id, target.comfy_home.as_deref())?;
    Ok((loaded, home))
}

/// Makes the request of a realize, for a call that may be offline for its own reasons, the daemon's or
/// the spec's.
fn request(daemon: &Daemon, loaded: &Loaded, home: Home, mode: Mode) -> Request {
    let offline = mode.offline || daemon.config.offline || loaded.spec.options.offline;
    let mine = home.root.display().to_string();
    let instances = daemon.supervisor.instances().into_iter();
    let in_use = instances.filter(|instance| instance.home == mine).map(|instance| instance.generation).collect();
    Request { spec: Arc::new(loaded.spec.clone()), home, mode: Mode { offline, ..mode }, in_use }
}

/// Words for a spec's warnings.
fn warnings(loaded: &Loaded) -> Vec<String> {
    loaded.warnings.iter().map(ToString::to_string).collect()
}

/// Milliseconds since `started`.
fn elapsed_ms(started: std::time::Instant) -> u64 {
    u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)
}
