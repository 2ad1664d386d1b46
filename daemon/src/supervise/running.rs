//! A process and what belongs to it: how it is started and what it is called.

use super::error::SuperviseError;
use super::instance::Others;
use super::log::{self, NodeImport};
use super::policy::Identity;
use super::record::Record;
use super::zygote::Child;
use super::{Launch, Places, adopt, command};
use crate::boot::{Recording, Touched};
use crate::comfy::Comfy;
use crate::ctx::blocking;
use crate::process::{Birth, Command, Process, ProcessError};
use crate::store::commit::{StoreError, step};
use crate::store::places::Home;
use crate::store::uses::Use;
use proto::method::{InstanceInfo, InstanceState};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::spawn_blocking;

/// Name of what a start that is recorded reports, beside its log.
const REPORT: &str = "start.report";

/// What one that was forked may take beyond twice a plain start.
const FORKED_AT_LEAST: Duration = Duration::from_secs(10);

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
    /// How long it may load: one that was forked and takes longer than a plain start is stuck.
    pub(super) patience: Duration,
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
            forked: record.forked,
        }
    }

    /// Keeps the record of its start with its generation, if it was recorded. Nothing depends on that, and nobody
    /// waits for it: on a volume that is far away it takes a while. Needs a runtime.
    pub(super) fn keep_start(recording: Recording, launch: Box<Launch>, touched: Touched, took_ms: u64) {
        drop(spawn_blocking(move || {
            let Some(mut record) = recording.end(&launch.generation, launch.start_settings(), took_ms) else {
                return;
            };
            record.note_touched(touched, &launch.generation_dir);
            if let Err(error) = record.write(&launch.generation_dir) {
                tracing::warn!(error = %error, source = %error.source, "the record of a start is not kept");
            }
        }));
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
    /// What people should know of the start.
    pub(super) note: Option<String>,
}

/// Returns the tree that a process is to be started from, and begins to read what it will need.
async fn tree(others: &Others, launch: &Launch) -> PathBuf {
    let boot = &others.places.boot;
    let tree = match others.zygotes.tree(launch) {
        Some(tree) => tree,
        None => boot.tree(&launch.generation_dir).await,
    };
    boot.read_models_ahead(launch.models.clone());
    tree
}

/// Starts the process of a launch, on `same_port` if that is free and no other is asked for: then those who
/// know its address find it again. It is forked where a zygote waits for it. Does not wait for it.
pub(super) async fn spawn(
    others: &Others,
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
    let identity =
        Identity { generation: launch.generation.clone(), settings: launch.settings(), listen, port };
    let tree = tree(others, &launch).await;
    let (places, asked, at, from) =
        (others.places.clone(), launch.clone(), identity.listen.clone(), tree.clone());
    // Dropped when the process has its own.
    let (prepared, _own) = blocking(move || {
        // Before the process is: from here on nobody removes what it is about to load.
        let own = Use::take(&home(&asked.home), &asked.generation, std::process::id());
        Prepared::make(&places, &asked, &from, (&at, port)).map(|prepared| (prepared, own))
    })
    .await
    .map_err(Arc::new)?;
    let log = prepared.log.clone();
    let forked = others.zygotes.fork(&launch, prepared.child()).await;
    let patience = match &forked {
        Some(_) => prepared.plain_start * 2 + FORKED_AT_LEAST,
        None => Duration::MAX,
    };
    let socket = others.places.socket.clone();
    let running = blocking(move || {
        let is_forked = forked.is_some();
        let (process, recording) = match forked {
            Some(process) => (process, None),
            None => prepared.spawn(&tree, port)?,
        };
        tracing::info!(version = %launch.version_id, pid = process.pid(), is_forked, url, "started ComfyUI");
        // The process lives, and nothing on disk says so yet.
        step("instance.spawned", "record", &log).map_err(Arc::new)?;
        let unknown = |source| ProcessError::Wait { program: format!("process {}", process.pid()), source };
        let birth = Birth::of(process.pid()).map_err(unknown).map_err(Arc::new)?;
        let generation_use = Use::take(&home(&launch.home), &launch.generation, birth.pid);
        let mut record = Record::new(&socket, birth, &launch, identity, url);
        record.forked = is_forked;
        let (adopted, restarts, log_start) = (false, 0, 0);
        Ok::<_, SuperviseError>(Running {
            process,
            record,
            comfy,
            log,
            log_start,
            adopted,
            restarts,
            generation_use,
            patience,
            recording,
        })
    })
    .await?;
    running.write_record().await;
    Ok(running)
}

/// What a process needs, before it is.
struct Prepared {
    command: Command,
    log: PathBuf,
    file: File,
    state_dir: PathBuf,
    /// Whether no start with these settings was recorded.
    is_new: bool,
    /// How long one took that was recorded.
    plain_start: Duration,
}

impl Prepared {
    /// Blocks.
    fn make(places: &Places, launch: &Launch, tree: &Path, at: (&str, u16)) -> Result<Self, StoreError> {
        let log = log::path(&places.state_dir, &launch.version_id, &launch.home);
        let command = command::command(launch, tree, at)?;
        let command = command.env(adopt::MARK, places.socket.display().to_string());
        let file = log::open(&log)?;
        let record = launch.start_record();
        let plain_start = Duration::from_millis(record.as_ref().map_or(0, |record| record.took_ms));
        Ok(Self {
            command,
            log,
            file,
            state_dir: places.state_dir.clone(),
            is_new: record.is_none(),
            plain_start,
        })
    }

    /// Returns what a zygote makes it of; none where its command line is no text.
    fn child(&self) -> Option<Child> {
        let program = self.command.program.to_str()?.to_owned();
        let rest = self.command.args.iter().map(|arg| arg.to_str().map(str::to_owned));
        let argv = [Some(program)].into_iter().chain(rest).collect::<Option<_>>()?;
        Some(Child { argv, env: self.command.env.clone(), log: self.file.try_clone().ok()? })
    }

    /// Starts it plainly, and records that where it was not yet. Blocks.
    fn spawn(mut self, tree: &Path, port: u16) -> Result<(Process, Option<Recording>), SuperviseError> {
        let recording = self.is_new.then(|| {
            let report = self.log.with_file_name(REPORT);
            Recording::begin(&self.state_dir, report, (tree, port), &mut self.command.env)
        });
        let recording = recording
            .transpose()
            .inspect_err(|error| tracing::warn!(%error, source = %error.source, "a start is not recorded"));
        let process = Process::spawn(&self.command, &self.file).map_err(Arc::new)?;
        Ok((process, recording.ok().flatten()))
    }
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
