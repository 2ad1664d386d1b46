//! The verbs, one file each. A method reads its parameters, asks the rooms, shapes the answer.

use super::leases::Leases;
use crate::ctx::Ctx;
use crate::daemon::Daemon;
use crate::error::Error;
use crate::realize::Request;
use crate::resolve::Mode;
use crate::store::places::Home;
use crate::store::specs::Loaded;
use proto::error::{METHOD_NOT_FOUND, excerpt};
use proto::method::{self as verb, Method, Target};
use proto::rpc::RpcError;
use serde_json::value::RawValue;

mod diff;
mod doctor;
mod export;
mod hello;
mod list;
mod logs;
mod new;
mod pin;
mod plan;
mod prefetch;
mod realize;
mod release;
mod resolve;
mod rollback;
mod run;
mod show;
mod shutdown;
mod status;
mod stop;
mod test;
mod ui;
mod warm;

/// The parts that a method works with, and what its connection holds.
pub(super) struct Client<'a> {
    pub(super) daemon: &'a Daemon,
    pub(super) leases: &'a Leases,
    /// Whether the client is of the daemon's own user, or root: it may read what the daemon may.
    pub(super) is_owner: bool,
}

/// Runs the method of that name.
pub(super) async fn call(
    client: &Client<'_>,
    ctx: &Ctx,
    method: &str,
    params: Option<&RawValue>,
) -> Result<Box<RawValue>, RpcError> {
    let Client { daemon, leases, .. } = client;
    match method {
        verb::Hello::NAME => reply::<verb::Hello>(Ok(hello::hello(daemon, &read(params)?))),
        verb::Resolve::NAME => reply::<verb::Resolve>(resolve::resolve(daemon, ctx, read(params)?).await),
        verb::GetPlan::NAME => reply::<verb::GetPlan>(plan::plan(daemon, ctx, read(params)?).await),
        verb::Realize::NAME => reply::<verb::Realize>(realize::realize(daemon, ctx, read(params)?).await),
        verb::Rollback::NAME => reply::<verb::Rollback>(rollback::rollback(daemon, ctx, read(params)?).await),
        verb::Diff::NAME => reply::<verb::Diff>(diff::diff(daemon, ctx, read(params)?).await),
        verb::Ui::NAME => reply::<verb::Ui>(ui::ui(daemon, ctx, read(params)?).await),
        verb::Test::NAME => reply::<verb::Test>(test::test(daemon, ctx, read(params)?).await),
        verb::Run::NAME => reply::<verb::Run>(run::run(daemon, ctx, read(params)?).await),
        verb::Warm::NAME => reply::<verb::Warm>(warm::warm(daemon, leases, ctx, read(params)?).await),
        verb::Release::NAME => reply::<verb::Release>(Ok(release::release(leases, &read(params)?))),
        verb::Doctor::NAME => reply::<verb::Doctor>(doctor::doctor(daemon, ctx, read(params)?).await),
        verb::Status::NAME => reply::<verb::Status>(Ok(status::status(daemon, ctx, &read(params)?).await)),
        verb::List::NAME => reply::<verb::List>(list::list(daemon, &read(params)?)),
        verb::Show::NAME => reply::<verb::Show>(show::show(daemon, &read(params)?)),
        verb::New::NAME => reply::<verb::New>(new::new(client, ctx, read(params)?).await),
        verb::Export::NAME => reply::<verb::Export>(export::export(daemon, &read(params)?)),
        verb::Logs::NAME => reply::<verb::Logs>(logs::logs(daemon, &read(params)?)),
        verb::Prefetch::NAME => reply::<verb::Prefetch>(prefetch::prefetch(daemon, ctx, read(params)?).await),
        verb::Pin::NAME => reply::<verb::Pin>(pin::pin(daemon, read(params)?)),
        verb::Unpin::NAME => reply::<verb::Unpin>(pin::unpin(daemon, &read(params)?)),
        verb::Pins::NAME => reply::<verb::Pins>(Ok(pin::pins(daemon, &read(params)?))),
        verb::Stop::NAME => reply::<verb::Stop>(stop::stop(daemon, &read(params)?).await),
        verb::Shutdown::NAME => reply::<verb::Shutdown>(Ok(shutdown::shutdown(daemon, &read(params)?))),
        _ => Err(RpcError {
            code: METHOD_NOT_FOUND,
            message: format!("there is no method `{}`", excerpt(method)),
            data: None,
        }),
    }
}

fn read<M: Method>(params: Option<&RawValue>) -> Result<M, RpcError> {
    let params = serde_json::from_str(params.map_or("{}", RawValue::get));
    params.map_err(|source| failure(&Error::Params { method: M::NAME, source }))
}

fn reply<M: Method>(answer: Result<M::Answer, Error>) -> Result<Box<RawValue>, RpcError> {
    let text = answer.and_then(|answer| serde_json::value::to_raw_value(&answer).map_err(Error::Answer));
    text.map_err(|error| failure(&error))
}

/// Puts an error into JSON-RPC's form: its kind decides the code.
fn failure(error: &Error) -> RpcError {
    let data = error.data();
    RpcError { code: data.kind.code(), message: error.to_string(), data: Some(Box::new(data)) }
}

/// Reads the spec that a call names and finds its home.
fn load(daemon: &Daemon, target: &Target) -> Result<(Loaded, Home), Error> {
    daemon.starter.load(target)
}

/// Makes the request of a realize.
fn request(daemon: &Daemon, loaded: &Loaded, home: Home, mode: Mode) -> Request {
    daemon.starter.request(loaded, home, mode)
}

/// Words for a spec's warnings.
fn warnings(loaded: &Loaded) -> Vec<String> {
    loaded.warnings.iter().map(ToString::to_string).collect()
}

/// Milliseconds since `started`.
fn elapsed_ms(started: std::time::Instant) -> u64 {
    crate::ctx::millis(started.elapsed())
}
