//! A process and what belongs to it: how it is started and what it is called.

use super::error::SuperviseError;
use super::log::{self, NodeImport};
use super::policy::Identity;
use super::record::Record;
use super::{Launch, Places, adopt, command};
use crate::boot::{Recording, StartRecord};
use crate::comfy::Comfy;
use crate::process::{Birth, Process, ProcessError};
use crate::store::commit::step;
use crate::store::places::Home;
use crate::store::uses::Use;
use proto::method::{InstanceInfo, InstanceState};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::task::spawn_blocking;

/// Name of what a start that is recorded reports, beside its log.
const REPORT: &str = "start.report";

/// A process and what belongs to it, from its start to its end.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) process: Process,
    pub(super) record: Record,
    pub(super) comfy: Comfy,
    pub(super) log: PathBuf,
    /// Where in its log the words of its present start begin.
    pub(super) log_start: u64,
    /// Whether an earlier daemon started it.
    pub(super) adopted: bool,
    /// How often it was started again since it last ended well.
    pub(super) restarts: u32,
    /// Keeps its generation from being removed; nothing where the volume cannot be written.
    pub(super) generation_use: Option<Use>,
    /// Its start while it is recorded.
    pub(super) recording: Option<Recording>,
}

impl Running {
    pub(super) fn info(&self, state: InstanceState) -> InstanceInfo {
        let record = &self.record;
        InstanceInfo {
            version_id: record.version_id.clone(),
            home: record.home.display().to_string(),
            generation: record.identity.generation.clone(),
            rolled_back_from: record.rolled_back_from.clone(),
            state,
            url: record.url.clone(),
            log: self.log.display().to_string(),
            device: record.device.clone(),
            leases: 0,
            workflows: 0,
            restarts: self.restarts,
            adopted: self.adopted,
            forked: false,
        }
    }

    /// Keeps the record of its start with its generation, if it was recorded. Nothing depends on that.
    pub(super) async fn keep_start(recording: Recording, launch: Box<Launch>, pid: u32, took_ms: u64) {
        let kept = blocking(move || {
            let record = recording.end(&launch.generation, launch.start_settings(), took_ms);
            record.map_or(Ok(()), |mut record| {
                record.note_touched(pid, &launch.generation_dir);
                record.write(&launch.generation_dir)
            })
        });
        if let Err(error) = kept.await {
            tracing::warn!(error = %error, source = %error.source, "the record of a start is not kept");
        }
    }

    /// Writes its record. Without one it works as well, but the next daemon would not know it.
    pub(super) async fn write_record(&self) {
        let (record, log) = (self.record.clone(), self.log.clone());
        if let Err(error) = blocking(move || record.write(&log)).await {
            tracing::warn!(error = %error, source = %error.source, "a ComfyUI process is not recorded");
        }
    }
}

/// What one who waited gets.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) info: InstanceInfo,
    pub(super) comfy: Comfy,
    pub(super) waited: bool,
    pub(super) node_imports: Arc<[NodeImport]>,
    /// Which of the home's times of being ready this is.
    pub(super) serving: u64,
}

/// Starts the process of a launch, on `same_port` if that is free and no other is asked for: then those who
/// know its address find it again. Does not wait for it.
pub(super) async fn spawn(
    places: &Places,
    launch: Box<Launch>,
    same_port: Option<u16>,
) -> Result<Running, SuperviseError> {
    let listen = launch.listen.clone().unwrap_or_else(|| command::LOOPBACK.to_owned());
    let port = match (launch.port, same_port) {
        (None, Some(port)) if command::free_port(&listen, Some(port)).await.is_ok() => port,
        (asked, _) => free_port(&listen, asked).await?,
    };
    let url = command::url(&listen, port);
    let comfy = Comfy::new(&url).map_err(Arc::new)?;
    let log = log::path(&places.state_dir, &launch.version_id, &launch.home);
    let identity =
        Identity { generation: launch.generation.clone(), settings: launch.settings(), listen, port };
    let Places { state_dir, socket, boot } = places.clone();
    let tree = boot.tree(&launch.generation_dir).await;
    let running = blocking(move || {
        // Before the process is: from here on nobody removes what it is about to load.
        let home = home(&launch.home);
        let _own = Use::take(&home, &launch.generation, std::process::id());
        let command = command::command(&launch, &tree, (&identity.listen, port)).map_err(Arc::new)?;
        let mut command = command.env(adopt::MARK, socket.display().to_string());
        let report = log.with_file_name(REPORT);
        let recording = is_new(&launch)
            .then(|| Recording::begin(&state_dir, report, (&tree, port), &mut command.env))
            .transpose()
            .inspect_err(|error| tracing::warn!(%error, source = %error.source, "a start is not recorded"));
        let file = log::open(&log).map_err(Arc::new)?;
        let process = Process::spawn(&command, &file).map_err(Arc::new)?;
        tracing::info!(version = %launch.version_id, pid = process.pid(), url, "started ComfyUI");
        // The process lives, and nothing on disk says so yet.
        step("instance.spawned", "record", &log).map_err(Arc::new)?;
        let unknown = |source| ProcessError::Wait { program: command.program.display().to_string(), source };
        let birth = Birth::of(process.pid()).map_err(unknown).map_err(Arc::new)?;
        let generation_use = Use::take(&home, &launch.generation, birth.pid);
        let record = Record::new(&socket, birth, &launch, identity, url);
        Ok::<_, SuperviseError>(Running {
            process,
            record,
            comfy,
            log,
            log_start: 0,
            adopted: false,
            restarts: 0,
            generation_use,
            recording: recording.ok().flatten(),
        })
    })
    .await?;
    running.write_record().await;
    Ok(running)
}

/// Tells whether no start of the generation was recorded with these settings. Blocks.
fn is_new(launch: &Launch) -> bool {
    StartRecord::read(&launch.generation_dir).is_none_or(|record| record.settings != launch.start_settings())
}

/// Returns a home whose models are of no matter.
pub(super) fn home(root: &Path) -> Home {
    Home { root: root.to_owned(), models: PathBuf::new() }
}

async fn free_port(listen: &str, asked: Option<u16>) -> Result<u16, SuperviseError> {
    command::free_port(listen, asked).await.map_err(|error| {
        let address = asked.map_or_else(|| listen.to_owned(), |port| format!("{listen}:{port}"));
        match error.kind() {
            std::io::ErrorKind::AddrInUse => SuperviseError::AddressTaken { address },
            _ => SuperviseError::Address { address, source: Arc::new(error) },
        }
    })
}

/// Runs file work on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            // A bug in it is a bug here, as it would be without a thread.
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is going away, and this task with it.
            Err(_) => std::future::pending().await,
        },
    }
}
