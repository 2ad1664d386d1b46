//! From a launch to a zygote that waits.

use super::waiting::Waiting;
use super::wire::{Order, Told, Wire};
use super::{Zygote, ZygoteInfo, record};
use crate::boot::{StartRecord, keep_script};
use crate::config::CHILD_OF;
use crate::ctx::{Ctx, blocking};
use crate::process::{Command, Process, ProcessError};
use crate::store::commit::{StoreError, create_dir_all};
use crate::store::uses::Use;
use crate::supervise::running::home;
use crate::supervise::{Launch, SuperviseError, Supervisor, command, gpu, log};
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

const SCRIPT: &str = include_str!("zygote.py");

/// What a zygote's imports say, beside the instance's log.
const SAID: &str = "zygote.log";

/// How long the imports may take, without the time in which they stand aside.
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// How often it is begun anew without what must not be imported.
const ATTEMPTS: usize = 12;

/// How a request for a zygote ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Primed {
    /// It waits.
    Waits(ZygoteInfo),
    /// There is none, for this reason.
    NotYet(String),
}

/// What came of one attempt.
enum Attempt {
    Waits(Box<(Process, Wire)>),
    Unfit(String),
    Fails(String),
}

pub(super) async fn prime(
    supervisor: &Supervisor,
    ctx: &Ctx,
    launch: Launch,
) -> Result<Primed, SuperviseError> {
    let zygotes = Arc::clone(supervisor.zygote_table());
    let cancelled = || SuperviseError::Cancelled(launch.version_id.to_string());
    let _one_at_a_time =
        ctx.cancel.run_until_cancelled(zygotes.priming.lock()).await.ok_or_else(cancelled)?;
    let waits = zygotes.waiting().get(&launch.home).cloned();
    if let Some(zygote) = waits.filter(|zygote| zygote.fits(&launch)) {
        return Ok(Primed::Waits(zygote.info(&launch.home)));
    }
    supervisor.unprime(&launch.home).await;
    let asked = launch.clone();
    let record = match blocking(move || record(&asked)).await {
        Ok(record) => record,
        Err(reason) => return Ok(Primed::NotYet(reason)),
    };
    let tree = supervisor.shared.places.boot.tree(&launch.generation_dir).await;
    for _ in 0..ATTEMPTS {
        let skip = zygotes.unfit().get(&launch.generation_dir).cloned().unwrap_or_default();
        match attempt(supervisor, ctx, (&launch, &tree), (&record, skip)).await? {
            Attempt::Waits(zygote) => {
                let info = settle(supervisor, &launch, tree, *zygote).await;
                return Ok(Primed::Waits(info));
            }
            Attempt::Unfit(name) => {
                tracing::info!(version = %launch.version_id, name, "must not be imported before a fork");
                zygotes.unfit().entry(launch.generation_dir.clone()).or_default().insert(name);
            }
            Attempt::Fails(reason) => return Ok(Primed::NotYet(reason)),
        }
    }
    Ok(Primed::NotYet("too much of what it imports must not be imported before a fork".to_owned()))
}

/// Starts a process and has it import all but `skip`.
async fn attempt(
    supervisor: &Supervisor,
    ctx: &Ctx,
    (launch, tree): (&Launch, &Path),
    (record, skip): (&StartRecord, BTreeSet<String>),
) -> Result<Attempt, SuperviseError> {
    let (process, stream, said) = spawn(supervisor, launch, tree).await?;
    let broken = |error: std::io::Error| Attempt::Fails(format!("its zygote does not answer: {error}"));
    let mut wire = match Wire::new(stream) {
        Ok(wire) => wire,
        Err(error) => return Ok(broken(error)),
    };
    let order = Order::Prime { environ: &record.environ, modules: &record.modules, skip: &skip, said: &said };
    let talk = async {
        wire.tell(&order, None).await?;
        wire.next().await
    };
    let told = match while_it_may(ctx, &process, talk).await {
        Some(told) => told,
        None if ctx.cancel.is_cancelled() => {
            return Err(SuperviseError::Cancelled(launch.version_id.to_string()));
        }
        None => {
            return Ok(Attempt::Fails(format!(
                "its imports took longer than {} min",
                LONGEST.as_secs() / 60
            )));
        }
    };
    Ok(match told {
        Ok(Some(Told::Primed { .. })) => Attempt::Waits(Box::new((process, wire))),
        Ok(Some(Told::Unfit { unfit })) => Attempt::Unfit(unfit),
        Ok(Some(Told::Cannot { cannot })) => Attempt::Fails(cannot),
        Ok(Some(other)) => Attempt::Fails(format!("its zygote says {other:?}")),
        Ok(None) => {
            let tail = blocking(move || log::tail(&said, 1)).await;
            Attempt::Fails(format!("its zygote died: {}", tail.concat()))
        }
        Err(error) => broken(error),
    })
}

/// Waits for work of a process, which stands still while `ctx` stands aside. None when that was cancelled or took
/// too long.
async fn while_it_may<T>(ctx: &Ctx, process: &Process, work: impl Future<Output = T>) -> Option<T> {
    let mut work = std::pin::pin!(work);
    let mut left = LONGEST;
    loop {
        let since = Instant::now();
        tokio::select! {
            biased;
            () = ctx.cancel.cancelled() => return None,
            done = &mut work => return Some(done),
            () = tokio::time::sleep(left) => return None,
            () = ctx.standing.aside() => {
                left = left.saturating_sub(since.elapsed());
                process.freeze();
                ctx.turn().await;
                process.thaw();
            }
        }
    }
}

/// Starts Python with the script. What it says goes to the file that is returned.
async fn spawn(
    supervisor: &Supervisor,
    launch: &Launch,
    tree: &Path,
) -> Result<(Process, std::os::unix::net::UnixStream, PathBuf), SuperviseError> {
    let places = supervisor.shared.places.clone();
    let said = supervisor.log_path(&launch.version_id, &launch.home).with_file_name(SAID);
    let command = command::environment(launch, tree);
    blocking(move || {
        let script = keep_script(&places.state_dir.join("zygote"), "zygote.py", SCRIPT).map_err(Arc::new)?;
        if let Some(dir) = said.parent() {
            create_dir_all(dir).map_err(Arc::new)?;
        }
        let log = File::options().append(true).create(true).open(&said);
        let log = log.and_then(|log| log.set_len(0).map(|()| log));
        let log = log.map_err(StoreError::at("open the log", &said)).map_err(Arc::new)?;
        // Each child has its own; what killed the daemon must not leave this one behind.
        let mut command: Command = command.arg(script).env(CHILD_OF, places.socket.display().to_string());
        for device in [gpu::VISIBLE, gpu::ORDER.0] {
            command.env.remove(device);
        }
        let spawned: Result<_, ProcessError> = Process::spawn_with_socket(&command, &log);
        let (process, stream) = spawned.map_err(Arc::new)?;
        Ok((process, stream, said))
    })
    .await
}

/// Gives a zygote that waits to a task of its own.
async fn settle(
    supervisor: &Supervisor,
    launch: &Launch,
    tree: PathBuf,
    (process, wire): (Process, Wire),
) -> ZygoteInfo {
    let (requests, received) = mpsc::channel(1);
    let ending = &supervisor.shared.ending;
    let zygote = Arc::new(Zygote {
        version_id: launch.version_id.clone(),
        generation: launch.generation.clone(),
        settings: launch.settings(),
        tree,
        pid: process.pid(),
        since: Timestamp::now(),
        pss_bytes: AtomicU64::new(0),
        requests,
        end: ending.child_token(),
        ended: tokio_util::sync::CancellationToken::new(),
    });
    zygote.measure().await;
    let (root, generation, pid) = (launch.home.clone(), launch.generation.clone(), process.pid());
    let generation_use = blocking(move || Use::take(&home(&root), &generation, pid)).await;
    let zygotes = Arc::clone(supervisor.zygote_table());
    zygotes.waiting().insert(launch.home.clone(), Arc::clone(&zygote));
    let (version, took) = (&launch.version_id, zygote.pss_bytes.load(std::sync::atomic::Ordering::Relaxed));
    tracing::info!(%version, pid, pss_bytes = took, "a zygote waits");
    let waiting = Waiting {
        zygotes,
        zygote: Arc::clone(&zygote),
        process,
        wire,
        home: launch.home.clone(),
        generation_dir: launch.generation_dir.clone(),
        children: std::collections::BTreeMap::new(),
        generation_use,
    };
    supervisor.shared.tasks.spawn(waiting.run(received));
    zygote.info(&launch.home)
}
