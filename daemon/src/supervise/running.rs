//! A process and what belongs to it: how it is started and what it is called.

use super::error::SuperviseError;
use super::log::{self, NodeImport};
use super::policy::Identity;
use super::{Launch, command, millis};
use crate::comfy::Comfy;
use crate::process::Process;
use proto::method::{InstanceInfo, InstanceState};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use tokio::task::spawn_blocking;

/// A process and what belongs to it, from its start to its end.
pub(super) struct Running {
    pub(super) process: Process,
    pub(super) launch: Box<Launch>,
    pub(super) identity: Identity,
    pub(super) comfy: Comfy,
    pub(super) url: String,
    pub(super) log: PathBuf,
}

impl Running {
    pub(super) fn info(&self, state: InstanceState) -> InstanceInfo {
        InstanceInfo {
            version_id: self.launch.version_id.clone(),
            home: self.launch.home.display().to_string(),
            generation: self.launch.generation.clone(),
            state,
            url: self.url.clone(),
            log: self.log.display().to_string(),
            device: self.launch.device.clone(),
            leases: 0,
            workflows: 0,
            restarts: 0,
            adopted: false,
        }
    }

    pub(super) fn starting(&self, since: Instant) -> InstanceState {
        InstanceState::Starting { pid: self.process.pid(), for_ms: millis(since.elapsed()) }
    }

    pub(super) fn ready(&self, start_ms: u64) -> InstanceState {
        InstanceState::Ready { pid: self.process.pid(), start_ms }
    }

    pub(super) fn answer(&self, start_ms: u64, waited: bool, node_imports: &Arc<[NodeImport]>) -> Answer {
        Answer {
            info: self.info(self.ready(start_ms)),
            comfy: self.comfy.clone(),
            waited,
            node_imports: node_imports.clone(),
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
}

/// Starts the process of a launch. Does not wait for it.
pub(super) async fn spawn(state_dir: &Path, launch: Box<Launch>) -> Result<Running, SuperviseError> {
    let listen = launch.listen.clone().unwrap_or_else(|| command::LOOPBACK.to_owned());
    let port = free_port(&listen, launch.port).await?;
    let url = command::url(&listen, port);
    let comfy = Comfy::new(&url).map_err(Arc::new)?;
    let log = log::path(state_dir, &launch.version_id, &launch.home);
    let identity =
        Identity { generation: launch.generation.clone(), settings: launch.settings(), listen, port };
    blocking(move || {
        let command = command::command(&launch, &identity.listen, port).map_err(Arc::new)?;
        let file = log::open(&log).map_err(Arc::new)?;
        let process = Process::spawn(&command, &file).map_err(Arc::new)?;
        tracing::info!(version = %launch.version_id, pid = process.pid(), url, "started ComfyUI");
        Ok(Running { process, launch, identity, comfy, url, log })
    })
    .await
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
