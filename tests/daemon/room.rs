//! Room for several versions: processes and GPUs, which are a table here.

use crate::fixture::{PATIENCE, eventually};
use comfyd::boot::Boot;
use comfyd::ctx::Ctx;
use comfyd::supervise::{
    Gpu, Gpus, Launch, Limits, Patience, Places, Purpose, Ready, SuperviseError, Supervisor,
};
use proto::event::Wait;
use proto::method::{Device, InstanceState};
use proto::{ErrorKind, VersionId};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use support::comfyui::fake_generation;
use tokio::time::timeout;

const GB: u64 = 1 << 30;

struct Machine {
    dir: tempfile::TempDir,
    supervisor: Supervisor,
}

impl Machine {
    fn new(gpus: &[u64], limits: Limits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let table: Vec<Gpu> = gpus.iter().zip(0..).map(|(free, index)| gpu(index, *free)).collect();
        let gpus = Gpus::of_table(move || table.clone());
        let (state_dir, socket) = (dir.path().join("state"), dir.path().join("comfyd.sock"));
        let places = Places { state_dir, socket, boot: Boot::default() };
        let supervisor = Supervisor::new(places, gpus, limits, Patience::default());
        Self { dir, supervisor }
    }

    fn home(&self, version: &str) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join(version)
    }

    fn launch(&self, version: &str) -> Launch {
        let home = self.home(version);
        if !home.exists() {
            fake_generation(&home, "g1");
        }
        Launch {
            version_id: VersionId::new(version).unwrap(),
            generation: "g1".to_owned(),
            generation_dir: home.join("generations/g1"),
            home,
            rolled_back_from: None,
            extra_model_paths: None,
            inherited: BTreeMap::new(),
            env: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
            extra_args: Vec::new(),
            models: Vec::new(),
            port: None,
            listen: None,
            device: None,
        }
    }

    async fn ready(&self, version: &str) -> Ready {
        let ctx = Ctx::new();
        let start = self.supervisor.ensure_ready(&ctx, self.launch(version));
        timeout(PATIENCE, start).await.unwrap().unwrap()
    }

    fn is_ready(&self, version: &str) -> bool {
        let info = self.supervisor.find(&self.home(version));
        info.is_some_and(|info| matches!(info.state, InstanceState::Ready { .. }))
    }

    /// Tells whether a version's ComfyUI was asked to give its memory back.
    fn was_freed(&self, version: &str) -> bool {
        let log = self.supervisor.log_path(&VersionId::new(version).unwrap(), &self.home(version));
        std::fs::read_to_string(log).unwrap_or_default().lines().any(|line| line == "freed")
    }
}

fn gpu(index: u32, free: u64) -> Gpu {
    let (uuid, name) = (format!("GPU-{index}"), "T4".to_owned());
    Gpu { index, uuid, name, total: 16 * GB, free: free * GB, used_by: BTreeMap::new() }
}

fn bound(max_instances: usize) -> Limits {
    Limits { max_instances: Some(max_instances), ..Limits::default() }
}

/// Waits until a wait is shown that says `what`.
async fn told(ctx: &Ctx, what: &str) {
    let mut progress = ctx.progress.subscribe();
    let says = |wait: &Wait| format!("{} has {}", wait.holder, wait.for_what).contains(what);
    let wait = progress.wait_for(|state| state.waits.iter().any(says));
    timeout(PATIENCE, wait).await.unwrap().unwrap();
}

#[tokio::test]
async fn an_idle_version_makes_room_for_another_the_least_used_first_and_pinned_ones_last() {
    let pinned = [VersionId::new("a").unwrap()].into();
    let machine = Machine::new(&[], Limits { pinned, ..bound(2) });
    machine.ready("a").await;
    machine.ready("b").await;
    machine.ready("c").await;
    assert!(machine.is_ready("a") && !machine.is_ready("b") && machine.is_ready("c"), "a is pinned");
    machine.ready("d").await;
    assert!(machine.is_ready("a") && !machine.is_ready("c") && machine.is_ready("d"));
    machine.supervisor.shutdown().await;
}

#[tokio::test]
async fn who_is_claimed_is_waited_for_and_the_wait_is_told() {
    let machine = Machine::new(&[], bound(1));
    let claim = machine.ready("a").await.hold(Purpose::Lease).unwrap();
    let ctx = Ctx::new();
    let (second, ()) = tokio::join!(machine.supervisor.ensure_ready(&ctx, machine.launch("b")), async {
        told(&ctx, "a has room for ComfyUI of `b`").await;
        assert!(machine.is_ready("a"));
        drop(claim);
    });
    assert!(second.unwrap().room_ms > 0 && !machine.is_ready("a"));
    machine.supervisor.shutdown().await;
}

#[tokio::test]
async fn a_wait_for_room_has_an_end_and_can_be_cancelled() {
    let machine = Machine::new(&[], Limits { patience: Duration::from_secs(2), ..bound(1) });
    let _claim = machine.ready("a").await.hold(Purpose::Workflow).unwrap();
    let error = machine.supervisor.ensure_ready(&Ctx::new(), machine.launch("b")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(error.to_string().contains("`a` is in use"), "{error}");
    let ctx = Ctx::new();
    ctx.cancel.cancel();
    let error = machine.supervisor.ensure_ready(&ctx, machine.launch("b")).await.unwrap_err();
    assert!(matches!(error, SuperviseError::Cancelled(_)), "{error}");
    assert!(machine.is_ready("a"));
    machine.supervisor.shutdown().await;
}

#[tokio::test]
async fn two_that_start_at_once_do_not_take_the_same_place() {
    let machine = Machine::new(&[], bound(1));
    let ctx = Ctx::new();
    let one = async |version: &str| {
        let _claim = machine.supervisor.hold(&machine.home(version), Purpose::Lease).await;
        machine.supervisor.ensure_ready(&ctx, machine.launch(version)).await.unwrap();
        let running = ["a", "b"].into_iter().filter(|other| machine.is_ready(other)).count();
        assert_eq!(running, 1);
    };
    timeout(PATIENCE, async { tokio::join!(one("a"), one("b")) }).await.unwrap();
    machine.supervisor.shutdown().await;
}

#[tokio::test]
async fn each_takes_a_gpu_and_sees_no_other() {
    let machine = Machine::new(&[12, 16], Limits::default());
    let (first, second) = (machine.ready("a").await, machine.ready("b").await);
    for (ready, index) in [(&first, 1), (&second, 0)] {
        assert_eq!(ready.info.device, Some(Device::Gpu { index }));
        let InstanceState::Ready { pid, .. } = ready.info.state else { panic!("{:?}", ready.info) };
        let environ = std::fs::read_to_string(format!("/proc/{pid}/environ")).unwrap();
        assert!(environ.contains(&format!("CUDA_VISIBLE_DEVICES={index}\0")), "{environ:?}");
        let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
        assert!(!command.contains("--cpu"), "{command:?}");
    }
    let mut other = machine.launch("c");
    other.extra_args = vec!["--cpu".to_owned()];
    let third = machine.supervisor.ensure_ready(&Ctx::new(), other).await.unwrap();
    assert_eq!(third.info.device, Some(Device::Cpu));
    machine.supervisor.shutdown().await;
}

#[tokio::test]
async fn a_full_gpu_is_freed_by_asking_before_anyone_is_stopped() {
    let machine = Machine::new(&[16], Limits { reserve: 2 * GB, ..Limits::default() });
    machine.ready("a").await;
    let full = Machine { dir: machine.dir, supervisor: machine.supervisor };
    full.ready("b").await;
    assert!(!full.was_freed("a"), "there was room");
    full.supervisor.shutdown().await;
    let full = Machine::new(&[1], Limits { reserve: 2 * GB, ..Limits::default() });
    full.ready("a").await;
    full.ready("b").await;
    assert!(full.was_freed("a") && !full.is_ready("a"), "it did not help: the table stays as it is");
    full.supervisor.shutdown().await;
}

#[tokio::test]
async fn workflows_of_two_versions_take_turns_on_one_gpu() {
    let machine = Machine::new(&[16], Limits::default());
    let (a, b) = (machine.ready("a").await, machine.ready("b").await);
    let first = a.turn(&Ctx::new()).await.unwrap();
    assert!(machine.was_freed("b") && !machine.was_freed("a"));
    let ctx = Ctx::new();
    let second = timeout(PATIENCE, a.turn(&ctx)).await.unwrap().unwrap();
    let (third, ()) = tokio::join!(b.turn(&ctx), async {
        told(&ctx, "a has the GPU of `b`").await;
        let late = Ctx::new();
        let overtaking = async {
            told(&late, "b has the GPU of `a`").await;
            late.cancel.cancel();
        };
        let (late, ()) = tokio::join!(a.turn(&late), overtaking);
        assert!(matches!(late, Err(SuperviseError::Cancelled(_))), "b asked before");
        drop(first);
        assert!(!machine.was_freed("a"));
        drop(second);
    });
    drop(third.unwrap());
    eventually("a gave its memory back", || machine.was_freed("a")).await;
    machine.supervisor.shutdown().await;
}
