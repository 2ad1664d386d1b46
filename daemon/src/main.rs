//! comfyd: parse, run, map the end to an exit status.

use clap::Parser as _;
use comfyd::cli::Args;
use comfyd::config::Config;
use comfyd::daemon::{self, DaemonError};
use comfyd::error::chain;
use comfyd::process::{is_first, stand_in_front};
use comfyd::rpc::ListenError;
use comfyd::service::{Manager, Passed, Service};
use std::process::ExitCode;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// musl's own allocator has one lock for all threads.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A second daemon for one socket ends with this status, so that who started it can tell.
const ALREADY_RUNNING: u8 = 9;

fn main() -> ExitCode {
    let args = Args::parse();
    if args.background {
        // Fails only for a group leader, which then has a terminal of its own to lose.
        nix::unistd::setsid().ok();
    }
    let filter = EnvFilter::try_from_env("COMFYD_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    if is_first() {
        return first_of_container();
    }
    #[cfg(feature = "failpoints")]
    let _scenario = comfyd::failpoint::install();
    comfyd::source::http::install_tls();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", chain(&*error));
            match error.downcast_ref() {
                Some(DaemonError::Listen(ListenError::AlreadyRunning { .. })) => {
                    ExitCode::from(ALREADY_RUNNING)
                }
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn first_of_container() -> ExitCode {
    stand_in_front().map_or_else(
        |error| {
            tracing::error!("failed to run the daemon as a child of the container's first process: {error}");
            ExitCode::FAILURE
        },
        ExitCode::from,
    )
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    // In this order: it changes the environment, which only a process of one thread may do.
    let service = Service::take()?;
    let config = Config::from_env(service.socket.as_ref().map(Passed::path))?;
    let manager = Manager::new(config.is_service)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(daemon::run(config, (service, manager), CancellationToken::new()))?;
    // A thread that is stuck in a system call must not keep the process alive.
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    Ok(())
}
