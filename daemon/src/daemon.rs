//! The composition root: build the parts, run, stop them in order.

use crate::boot::Boot;
use crate::config::{CHILD_OF, Config};
use crate::ctx::Ctx;
use crate::prefetch::ladder::Ladder;
use crate::prefetch::lift::Lifter;
use crate::prefetch::{Prefetch, watch};
use crate::process::{end_orphans, raise_open_files};
use crate::realize::job::Jobs;
use crate::realize::{self, InUse};
use crate::rpc::{self, ControlSocket, Life, ListenError, RpcServer};
use crate::run::Workflows;
use crate::service::{Manager, Service};
use crate::signals;
use crate::source::Sources;
use crate::start::Starter;
use crate::store::commit::{StoreError, create_dir_all};
use crate::store::places::{Home, homes};
use crate::store::sweep::sweep_all;
use crate::supervise::{Gpus, Limits, Patience, Places, Supervisor};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long each step of an orderly stop may take.
const STOP_STEP: Duration = Duration::from_secs(30);

/// The parts that methods work with.
pub struct Daemon {
    /// Where things are.
    pub config: Arc<Config>,
    /// The outside.
    pub sources: Sources,
    /// Realizes under way.
    pub jobs: Jobs,
    /// ComfyUI processes.
    pub supervisor: Supervisor,
    /// How versions become ready.
    pub starter: Starter,
    /// Workflows that wait or run.
    pub workflows: Workflows,
    /// Where the versions stand.
    pub ladder: Ladder,
    /// What idle time does.
    pub prefetch: Prefetch,
    /// When the daemon began.
    pub started: Instant,
    /// Cancelled to stop the daemon.
    pub stop: CancellationToken,
}

/// Why a daemon did not run, or not to an orderly end.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// A place cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No socket, or another daemon serves it.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// No signal handlers.
    #[error("failed to install signal handlers")]
    Signals(#[source] std::io::Error),
}

/// Runs the daemon until `stop` is cancelled, by a signal, by a `shutdown` call, or by the caller; then
/// stops everything in order. Each step of the stop is bounded.
///
/// # Errors
/// When it cannot begin. [`ListenError::AlreadyRunning`] is how a second daemon ends.
pub async fn run(
    config: Config,
    (service, manager): (Service, Manager),
    stop: CancellationToken,
) -> Result<(), DaemonError> {
    let config = Arc::new(config);
    // Held for life, and taken before the socket is touched: a second daemon never takes the first one's.
    create_dir_all(&config.state_dir)?;
    let life = Life::take(&config.socket)?;
    let open_files = raise_open_files();
    let tasks = TaskTracker::new();
    signals::install(&tasks, stop.clone()).map_err(DaemonError::Signals)?;
    let sources = Sources::new(Arc::clone(&config));
    let work = CancellationToken::new();
    let jobs = Jobs::new(sources.clone(), work.clone());
    let boot = Boot::new(&config);
    let supervisor = supervisor(&config, boot.clone());
    let starter = Starter::new(sources.clone(), jobs.clone(), supervisor.clone());
    let ladder = Ladder::new(sources.clone(), supervisor.clone());
    let lifter =
        Lifter { sources: sources.clone(), jobs: jobs.clone(), starter: starter.clone(), boot: boot.clone() };
    let prefetch = Prefetch::new((lifter, ladder.clone(), supervisor.clone()), &tasks, work.clone());
    let (http, foreground) = (sources.http.clone(), jobs.foreground().clone());
    let daemon = Arc::new(Daemon {
        workflows: Workflows::new(Arc::clone(&config), http, foreground, work.clone()),
        starter,
        ladder,
        prefetch,
        jobs,
        supervisor,
        started: Instant::now(),
        stop: stop.clone(),
        config: Arc::clone(&config),
        sources,
    });
    // Before anyone sweeps or builds: they would go on writing.
    end_orphans(CHILD_OF, &config.socket.display().to_string()).await;
    // Before anyone can ask for a start: what runs already is not started beside itself.
    daemon.supervisor.adopt().await;
    let (sweep, shadows) = (Arc::clone(&daemon), boot.clone());
    // Nobody waits for it: what is left costs space only.
    tasks.spawn_blocking(move || {
        sweep_all(&sweep.config);
        sweep.sources.git.sweep();
        shadows.tidy();
    });
    tasks.spawn(keep_tidy(Arc::clone(&daemon), tasks.clone(), work.clone()));
    if config.prefetch.until.is_some() {
        let news = watch::start(&config, config.state_dir.join("specs.json"), &tasks, work.clone());
        tasks.spawn(daemon.prefetch.clone().run(news, work.clone()));
    }
    let socket = ControlSocket::listen(life, service.socket, config.group.clone())?;
    let server = RpcServer::new(Arc::clone(&daemon), work.clone(), open_files);
    tracing::info!(socket = %config.socket.display(), "serving");
    tasks.spawn(keep_telling(manager.clone(), service.watchdog, Arc::clone(&daemon)));
    let closed = server.serve(socket, &stop).await;

    tracing::info!("stopping");
    // What is under way is cancelled and answers its callers; partial work is found again later.
    work.cancel();
    bounded(&manager, "workflows", daemon.workflows.ended()).await;
    bounded(&manager, "realizes", daemon.jobs.ended()).await;
    bounded(&manager, "ComfyUI processes", daemon.supervisor.shutdown()).await;
    bounded(&manager, "reading ahead", boot.shutdown()).await;
    bounded(&manager, "connections", server.ended()).await;
    tasks.close();
    bounded(&manager, "signal handlers", tasks.wait()).await;
    closed.remove();
    Ok(())
}

/// Removes the generations that nobody uses any more: of all homes that are known now, then of each whose
/// process has ended. Ends with `work`.
async fn keep_tidy(daemon: Arc<Daemon>, tasks: TaskTracker, work: CancellationToken) {
    let Some(mut ends) = daemon.supervisor.ends() else { return };
    let supervisor = daemon.supervisor.clone();
    let in_use = InUse::new(move || supervisor.instances());
    let tidy = |root: PathBuf| {
        let (ctx, in_use) = (Ctx { cancel: work.child_token(), ..Ctx::new() }, in_use.clone());
        let home = Home { root, models: PathBuf::new() };
        // Each of its own: the lock of one home may be held for long.
        tasks.spawn(async move { realize::tidy(&ctx, home, in_use).await });
    };
    let config = Arc::clone(&daemon.config);
    let known = tokio::task::spawn_blocking(move || homes(&config)).await;
    known.unwrap_or_default().into_iter().for_each(&tidy);
    while let Some(Some(home)) = work.run_until_cancelled(ends.recv()).await {
        tidy(home);
    }
}

fn supervisor(config: &Config, boot: Boot) -> Supervisor {
    let gpus = Gpus::of_driver(&config.child_env);
    let limits =
        Limits { max_instances: config.max_instances, pinned: config.pinned.clone(), ..Limits::default() };
    let limits = Limits { reserve: config.gpu_reserve.unwrap_or(limits.reserve), ..limits };
    let (state_dir, socket) = (config.state_dir.clone(), config.socket.clone());
    let places = Places { state_dir, socket, boot };
    Supervisor::new(places, gpus, limits, Patience::default())
}

/// Tells the service manager that clients are served; then, more often than its watchdog asks for, that the daemon
/// lives, for as long as a client would be answered and no lock of the rooms is held for ever. Ends when the daemon
/// is asked to stop.
async fn keep_telling(manager: Manager, watchdog: Option<Duration>, daemon: Arc<Daemon>) {
    manager.ready();
    let Some(within) = watchdog else { return };
    // A pause and an answer that takes its time: two thirds of what it waits for.
    let part = within / 3;
    while daemon.stop.run_until_cancelled(tokio::time::sleep(part)).await.is_some() {
        if tokio::time::timeout(part, rpc::answers(&daemon.config.socket)).await == Ok(true) {
            let instances = daemon.supervisor.instances().len();
            let (realizes, workflows) = (daemon.jobs.list().len(), daemon.workflows.list().len());
            manager.alive(&format!(
                "serving: {instances} ComfyUI processes, {realizes} realizes, {workflows} workflows"
            ));
        } else {
            tracing::error!(
                "a client would get no answer: the service manager is not told that the daemon lives"
            );
        }
    }
}

async fn bounded(manager: &Manager, what: &str, step: impl Future<Output = ()>) {
    manager.stopping(what, STOP_STEP);
    if tokio::time::timeout(STOP_STEP, step).await.is_err() {
        tracing::warn!("{what} did not end within {} s; leaving them behind", STOP_STEP.as_secs());
    }
}
