//! A version whose ComfyUI is the fake one, and its supervisor.

use comfyd::ctx::Ctx;
use comfyd::supervise::{Gpus, Launch, Limits, Ready, Supervisor};
use nix::sys::signal::kill;
use nix::unistd::Pid;
use proto::VersionId;
use proto::method::InstanceState;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use support::comfyui::fake_generation;

/// How long anything may take before a test calls it hung.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Version {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) supervisor: Supervisor,
    pub(crate) home: PathBuf,
    misbehaviour: &'static str,
}

impl Version {
    /// Makes a home with generation `g1`, whose ComfyUI misbehaves as told; starts nothing.
    pub(crate) fn new(misbehaviour: &'static str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().canonicalize().unwrap().join("home");
        fake_generation(&home, "g1");
        let supervisor =
            Supervisor::new(dir.path().join("state"), Gpus::of_table(Vec::new), Limits::default());
        Self { dir, supervisor, home, misbehaviour }
    }

    pub(crate) fn launch(&self, generation: &str) -> Launch {
        let env = [("PATH", "/usr/bin:/bin"), ("FAKE_COMFYUI", self.misbehaviour)];
        Launch {
            version_id: VersionId::new("v").unwrap(),
            home: self.home.clone(),
            generation: generation.to_owned(),
            generation_dir: self.home.join("generations").join(generation),
            extra_model_paths: None,
            env: BTreeMap::from(env.map(|(name, value)| (name.to_owned(), value.to_owned()))),
            extra_args: Vec::new(),
            port: None,
            listen: None,
            device: None,
        }
    }

    pub(crate) fn comfy_dir(&self) -> PathBuf {
        self.home.join("generations/g1/ComfyUI")
    }

    pub(crate) async fn ready(&self) -> Ready {
        self.supervisor.ensure_ready(&Ctx::new(), self.launch("g1")).await.unwrap()
    }

    /// Waits until the instance is starting and returns its process id.
    pub(crate) async fn starting(&self) -> Pid {
        let mut pid = None;
        eventually("the instance starts", || {
            if let Some(InstanceState::Starting { pid: found, .. }) = self.state() {
                pid = Some(found);
            }
            pid.is_some()
        })
        .await;
        Pid::from_raw(pid.unwrap().cast_signed())
    }

    /// Lets an instance that starts slowly go on.
    pub(crate) fn go(&self) {
        std::fs::write(self.home.join("input/go"), "").unwrap();
    }

    pub(crate) fn state(&self) -> Option<InstanceState> {
        self.supervisor.find(&self.home).map(|info| info.state)
    }

    /// Returns the first line of the log that begins with `prefix`, without it.
    pub(crate) fn logged(&self, prefix: &str) -> Option<String> {
        let log = std::fs::read_to_string(self.supervisor.find(&self.home)?.log).ok()?;
        log.lines().find_map(|line| line.strip_prefix(prefix).map(|rest| rest.trim().to_owned()))
    }
}

pub(crate) fn pid_of(ready: &Ready) -> Pid {
    let InstanceState::Ready { pid, .. } = ready.info.state else { panic!("{:?}", ready.info) };
    Pid::from_raw(pid.cast_signed())
}

/// Waits for a condition.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until a process is gone; an orphan that nobody reaps counts as gone.
pub(crate) async fn gone(pid: Pid) {
    eventually("the process is gone", || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let zombie = stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'));
        kill(pid, None).is_err() || zombie
    })
    .await;
}
