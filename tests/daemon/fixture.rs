//! A version whose ComfyUI is the fake one, and its supervisor.

use comfyd::boot::Boot;
use comfyd::config::Config;
use comfyd::ctx::{Ctx, Foreground};
use comfyd::run::{Failure, RunError, RunRequest, Start, Up, Workflows};
use comfyd::source::http::{Http, Timeouts};
use comfyd::supervise::{Gpus, Launch, Limits, Patience, Places, Purpose, Ready, Supervisor};
use nix::sys::signal::kill;
use nix::unistd::Pid;
use proto::VersionId;
use proto::method::{InstanceState, RunAnswer, Warmth};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::comfyui::fake_generation;
use tokio_util::sync::CancellationToken;

/// How long anything may take before a test calls it hung.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Version {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) supervisor: Supervisor,
    pub(crate) workflows: Workflows,
    pub(crate) home: PathBuf,
    misbehaviour: &'static str,
}

impl Version {
    /// Makes a home with generation `g1`, whose ComfyUI misbehaves as told; starts nothing.
    pub(crate) fn new(misbehaviour: &'static str) -> Self {
        Self::patient(misbehaviour, Patience::default())
    }

    /// The same, under a supervisor of this patience.
    pub(crate) fn patient(misbehaviour: &'static str, patience: Patience) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().canonicalize().unwrap().join("home");
        fake_generation(&home, "g1");
        let (state_dir, socket) = (dir.path().join("state"), dir.path().join("comfyd.sock"));
        let places = Places { state_dir, socket, boot: Boot::default() };
        let supervisor = Supervisor::new(places, Gpus::of_table(Vec::new), Limits::default(), patience);
        let workflows = workflows(&dir, &[]);
        Self { dir, supervisor, workflows, home, misbehaviour }
    }

    /// Forgets the workflows in memory, as the next daemon has, and sets variables of its own.
    pub(crate) fn next_daemon(&mut self, vars: &[(&str, &str)]) {
        self.workflows = workflows(&self.dir, vars);
    }

    /// Returns what runs a workflow without more.
    pub(crate) fn request(&self, workflow: &Value) -> RunRequest {
        RunRequest {
            version_id: VersionId::new("v").unwrap(),
            home: self.home.clone(),
            input_dir: self.home.join("input"),
            workflow: serde_json::value::to_raw_value(workflow).unwrap(),
            job_id: None,
            inputs: Vec::new(),
            api_key: None,
            deliver: None,
            output_dir: None,
            timeout: None,
        }
    }

    /// Runs a workflow on the version as it is launched.
    pub(crate) async fn run(&self, ctx: &Ctx, request: RunRequest) -> Result<RunAnswer, Arc<RunError>> {
        self.run_launched(ctx, request, self.launch("g1")).await
    }

    pub(crate) async fn run_launched(
        &self,
        ctx: &Ctx,
        request: RunRequest,
        launch: Launch,
    ) -> Result<RunAnswer, Arc<RunError>> {
        let supervisor = self.supervisor.clone();
        let start: Start = Box::new(move |ctx, _| {
            let (supervisor, launch) = (supervisor.clone(), launch.clone());
            Box::pin(async move {
                let held = supervisor.hold(&launch.home, Purpose::Workflow).await;
                let ready = supervisor.ensure_ready(&ctx, launch).await;
                let failure = |error| Arc::new(comfyd::error::Error::from(error)) as Arc<dyn Failure>;
                let ready = ready.map_err(failure)?;
                let how = if ready.started { Warmth::Started } else { Warmth::Running };
                Ok(Up { ready, held, how })
            })
        });
        let run = self.workflows.run(ctx, request, start);
        tokio::time::timeout(PATIENCE, run).await.expect("a job never hangs")
    }

    pub(crate) fn launch(&self, generation: &str) -> Launch {
        let env = [("PATH", "/usr/bin:/bin"), ("FAKE_COMFYUI", self.misbehaviour)];
        Launch {
            version_id: VersionId::new("v").unwrap(),
            home: self.home.clone(),
            generation: generation.to_owned(),
            generation_dir: self.home.join("generations").join(generation),
            rolled_back_from: None,
            extra_model_paths: None,
            inherited: BTreeMap::new(),
            env: BTreeMap::from(env.map(|(name, value)| (name.to_owned(), value.to_owned()))),
            extra_args: Vec::new(),
            models: Vec::new(),
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

fn workflows(dir: &tempfile::TempDir, vars: &[(&str, &str)]) -> Workflows {
    let (place, state) = (dir.path().display().to_string(), dir.path().join("state").display().to_string());
    let places = [("HOME", place.as_str()), ("COMFY_VOLUME", &place), ("COMFYD_STATE_DIR", &state)];
    let vars = places.iter().chain(vars).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let config = Arc::new(Config::from_vars(&vars.collect()).unwrap());
    let http = Http::new(config.hosts.clone(), Timeouts::default());
    Workflows::new(config, http, Foreground::default(), CancellationToken::new())
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
