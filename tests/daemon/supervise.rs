//! Instances, against a ComfyUI that can misbehave.

use crate::fixture::{PATIENCE, Version, eventually, gone, pid_of};
use comfyd::ctx::Ctx;
use comfyd::supervise::SuperviseError;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use proto::ErrorKind;
use proto::event::TaskState;
use proto::method::InstanceState;
use std::time::{Duration, Instant};
use support::comfyui::fake_generation;
use tokio::time::timeout;

#[tokio::test]
async fn all_who_ask_share_one_start() {
    let version = Version::new("slow_start");
    let ctx = Ctx::new();
    let other = Ctx::new();
    let (first, second, ()) = tokio::join!(
        version.supervisor.ensure_ready(&ctx, version.launch("g1")),
        version.supervisor.ensure_ready(&other, version.launch("g1")),
        async {
            version.starting().await;
            version.go();
        }
    );
    let (first, second) = (first.unwrap(), second.unwrap());
    assert!(first.started && second.started, "both had to wait for it");
    assert_eq!(pid_of(&first), pid_of(&second));
    let progress = ctx.progress.subscribe().borrow().clone();
    assert_eq!((progress.phase.as_str(), progress.tasks[0].state), ("start", TaskState::Done));
    let third = version.ready().await;
    assert!(!third.started, "it ran already");
    assert_eq!(pid_of(&third), pid_of(&first));
    assert_eq!(version.supervisor.instances(), [third.info]);
    version.supervisor.shutdown().await;
}

#[tokio::test]
async fn a_death_at_the_start_is_told_at_once_with_the_end_of_the_log() {
    let version = Version::new("grandchild,die_starting");
    let ctx = Ctx::new();
    let start = version.supervisor.ensure_ready(&ctx, version.launch("g1"));
    let error = timeout(PATIENCE, start).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("exit status: 1"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Instance);
    assert!(error.details().last().unwrap().contains("No module named 'requests'"), "{:?}", error.details());
    assert!(error.hint().unwrap().contains("python_packages"));
    assert!(matches!(version.state(), Some(InstanceState::Failed { .. })));
    let grandchild = version.logged("grandchild").unwrap();
    gone(Pid::from_raw(grandchild.parse().unwrap())).await;
}

#[tokio::test]
async fn an_end_with_status_0_that_nobody_asked_for_is_a_failure() {
    let version = Version::new("exit_zero");
    let error = version.supervisor.ensure_ready(&Ctx::new(), version.launch("g1")).await.unwrap_err();
    assert!(matches!(&error, SuperviseError::Died { status, .. } if status.contains("by itself")), "{error}");
}

#[tokio::test]
async fn a_start_that_nobody_waits_for_is_stopped() {
    let version = Version::new("never_ready");
    let (one, other) = (Ctx::new(), Ctx::new());
    let (first, second, pid) = tokio::join!(
        version.supervisor.ensure_ready(&one, version.launch("g1")),
        version.supervisor.ensure_ready(&other, version.launch("g1")),
        async {
            let pid = version.starting().await;
            one.cancel.cancel();
            other.cancel.cancel();
            pid
        }
    );
    for result in [first, second] {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Cancelled);
    }
    gone(pid).await;
    eventually("it has ended", || version.state() == Some(InstanceState::Exited)).await;
}

#[tokio::test]
async fn one_who_leaves_takes_nothing_from_those_who_wait() {
    let version = Version::new("slow_start");
    let leaves = Ctx::new();
    let stays = Ctx::new();
    let wait = version.supervisor.ensure_ready(&stays, version.launch("g1"));
    let (left, stayed) =
        tokio::join!(version.supervisor.ensure_ready(&leaves, version.launch("g1")), async {
            let lead = async {
                version.starting().await;
                leaves.cancel.cancel();
                version.go();
            };
            tokio::join!(wait, lead).0
        });
    assert_eq!(left.unwrap_err().kind(), ErrorKind::Cancelled);
    assert!(stayed.is_ok(), "{stayed:?}");
    version.supervisor.shutdown().await;
}

#[tokio::test]
async fn what_ignores_sigterm_is_killed_with_all_it_started() {
    let version = Version::new("ignore_term,grandchild");
    let pid = pid_of(&version.ready().await);
    let grandchild = version.logged("grandchild").unwrap();
    assert!(timeout(PATIENCE, version.supervisor.stop(&version.home)).await.unwrap(), "something ran");
    gone(pid).await;
    gone(Pid::from_raw(grandchild.parse().unwrap())).await;
    assert_eq!(version.state(), Some(InstanceState::Exited));
    assert!(!version.supervisor.stop(&version.home).await, "nothing runs any more");
}

#[tokio::test]
async fn a_death_is_told_to_those_who_work_with_it_and_the_next_start_is_fresh() {
    let version = Version::new("");
    let ready = version.ready().await;
    kill(pid_of(&ready), Signal::SIGKILL).unwrap();
    let ended = timeout(PATIENCE, ready.ended()).await.unwrap();
    assert!(!ended.asked && ended.reason.contains("SIGKILL"), "{ended:?}");
    assert!(ended.tail.iter().any(|line| line.contains("Starting server")), "{ended:?}");
    let again = version.ready().await;
    assert!(again.started);
    assert_ne!(pid_of(&again), pid_of(&ready));
    version.supervisor.stop(&version.home).await;
    assert!(timeout(PATIENCE, again.ended()).await.unwrap().asked);
}

#[tokio::test]
async fn another_generation_takes_the_place_of_the_old_one() {
    let version = Version::new("");
    fake_generation(&version.home, "g2");
    let old = version.ready().await;
    let new = version.supervisor.ensure_ready(&Ctx::new(), version.launch("g2")).await.unwrap();
    assert_eq!((new.info.generation.as_str(), new.started), ("g2", true));
    gone(pid_of(&old)).await;
    version.supervisor.shutdown().await;
}

#[tokio::test]
async fn a_port_that_is_asked_for_is_used_or_refused_before_anything_is_loaded() {
    let version = Version::new("");
    let held = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = held.local_addr().unwrap().port();
    let mut launch = version.launch("g1");
    launch.port = Some(port);
    let error = version.supervisor.ensure_ready(&Ctx::new(), launch.clone()).await.unwrap_err();
    assert!(matches!(error, SuperviseError::AddressTaken { .. }), "{error}");
    assert_eq!(version.state(), None, "nothing was started");
    drop(held);
    let ready = version.supervisor.ensure_ready(&Ctx::new(), launch.clone()).await.unwrap();
    assert_eq!(ready.info.url, format!("http://127.0.0.1:{port}"));
    launch.port = Some(port ^ 1);
    let error = version.supervisor.ensure_ready(&Ctx::new(), launch).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.hint().unwrap().contains("comfyctl stop v"), "{error}");
    version.supervisor.shutdown().await;
}

#[tokio::test]
async fn a_free_port_that_is_lost_to_another_program_is_replaced() {
    let version = Version::new("port_race");
    version.ready().await;
    assert!(version.home.join("output/port_race").exists(), "the first start found its port taken");
    version.supervisor.shutdown().await;
}

#[tokio::test]
async fn flags_that_this_comfyui_does_not_know_are_not_passed() {
    let version = Version::new("");
    let cli_args = version.comfy_dir().join("comfy/cli_args.py");
    let text = std::fs::read_to_string(&cli_args).unwrap();
    let newer = ["--database-url", "--disable-auto-launch", "--max-upload-size", "--cpu"];
    let old = text.lines().filter(|line| !newer.iter().any(|flag| line.contains(flag)));
    std::fs::write(&cli_args, old.collect::<Vec<_>>().join("\n")).unwrap();
    version.ready().await;
    version.supervisor.shutdown().await;
}

#[tokio::test]
async fn what_the_version_passes_itself_is_passed_and_a_wrong_flag_is_explained() {
    let version = Version::new("");
    let mut launch = version.launch("g1");
    launch.extra_args = vec!["--no-such-flag".to_owned()];
    let error = version.supervisor.ensure_ready(&Ctx::new(), launch).await.unwrap_err();
    assert!(error.details().iter().any(|line| line.contains("--no-such-flag")), "{:?}", error.details());
    assert!(error.hint().unwrap().contains("arguments"));
}

#[tokio::test]
async fn after_a_shutdown_nothing_runs_and_nothing_starts() {
    let version = Version::new("");
    let pid = pid_of(&version.ready().await);
    let began = Instant::now();
    version.supervisor.shutdown().await;
    assert!(began.elapsed() < Duration::from_secs(30));
    gone(pid).await;
    let error = version.supervisor.ensure_ready(&Ctx::new(), version.launch("g1")).await.unwrap_err();
    assert!(matches!(error, SuperviseError::ShuttingDown), "{error}");
}
