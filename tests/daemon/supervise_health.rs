//! Instances that die again and again, that answer and get nowhere, and that restart themselves.

use crate::fixture::{PATIENCE, Version, eventually, gone, pid_of};
use comfyd::ctx::Ctx;
use comfyd::supervise::{Patience, Purpose, Ready, SuperviseError};
use nix::sys::signal::{Signal, kill};
use proto::ErrorKind;
use proto::method::InstanceState;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::timeout;

/// What is wrong counts as wrong after seconds instead of minutes.
const SHORT: Patience = Patience {
    loading: PATIENCE,
    pause: Duration::from_millis(1),
    asking: Duration::from_millis(400),
    unexecuted: Duration::from_secs(1),
    idle: Duration::from_secs(2),
    silent: Duration::from_secs(2),
};

/// Queues a prompt of `steps` × 100 ms and leaves it there.
async fn queue(ready: &Ready, steps: u32) {
    let prompt: Value = json!({
        "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 4, "batch_size": 1, "color": 255}},
        "2": {"class_type": "FakeSlow", "inputs": {"image": ["1", 0], "steps": steps, "ms": 100}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "made"}},
    });
    // What the prompt does may cut the answer off.
    timeout(Duration::from_secs(2), ready.comfy.queue_prompt(&prompt, "prompt", None)).await.ok();
}

async fn restarts(version: &Version) -> Ready {
    eventually("it is ready again", || {
        version
            .supervisor
            .find(&version.home)
            .is_some_and(|info| info.restarts > 0 && matches!(info.state, InstanceState::Ready { .. }))
    })
    .await;
    version.ready().await
}

#[tokio::test]
async fn what_dies_while_someone_holds_it_is_started_again_where_it_was() {
    let version = Version::new("");
    let ready = version.ready().await;
    let lease = ready.hold(Purpose::Lease).unwrap();
    kill(pid_of(&ready), Signal::SIGKILL).unwrap();
    assert!(timeout(PATIENCE, ready.ended()).await.unwrap().reason.contains("SIGKILL"));
    let again = restarts(&version).await;
    assert!(!again.started, "nobody had to ask for it");
    assert_eq!((again.info.restarts, &again.info.url), (1, &ready.info.url));
    assert_ne!(pid_of(&again), pid_of(&ready));
    drop(lease);
    kill(pid_of(&again), Signal::SIGKILL).unwrap();
    timeout(PATIENCE, again.ended()).await.unwrap();
    assert!(matches!(version.state(), Some(InstanceState::Failed { .. })), "nobody holds it");
    version.supervisor.shutdown().await;
}

#[tokio::test]
async fn what_keeps_dying_is_started_after_pauses_and_then_not_any_more() {
    let version = Version::patient("die_importing", SHORT);
    let start = async |launch| version.supervisor.ensure_ready(&Ctx::new(), launch).await;
    for _ in 0..5 {
        let error = start(version.launch("g1")).await.unwrap_err();
        assert!(matches!(error, SuperviseError::Died { .. }), "{error}");
    }
    let refused = start(version.launch("g1")).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Instance);
    assert!(refused.to_string().contains("keeps dying: 5 times"), "{refused}");
    assert!(refused.details().iter().any(|line| line.contains("libcudart")), "{:?}", refused.details());
    assert!(refused.hint().unwrap().contains("`comfyctl stop v`"), "{refused}");
    let Some(InstanceState::Failed { reason }) = version.state() else { panic!("{:?}", version.state()) };
    assert_eq!(reason, refused.to_string());
    // One who stops it begins anew, and so do other settings.
    version.supervisor.stop(&version.home).await;
    assert!(matches!(start(version.launch("g1")).await.unwrap_err(), SuperviseError::Died { .. }));
    let mut launch = version.launch("g1");
    launch.env.insert("FAKE_COMFYUI".to_owned(), String::new());
    start(launch).await.unwrap();
    version.supervisor.shutdown().await;
}

#[tokio::test]
async fn the_pause_before_a_start_is_told_and_can_be_left() {
    let version = Version::patient("die_importing", Patience { pause: PATIENCE, ..SHORT });
    version.supervisor.ensure_ready(&Ctx::new(), version.launch("g1")).await.unwrap_err();
    let ctx = Ctx::new();
    let (paused, ()) = tokio::join!(version.supervisor.ensure_ready(&ctx, version.launch("g1")), async {
        eventually("the pause is told", || {
            let progress = ctx.progress.subscribe();
            progress.borrow().tasks.iter().any(|task| task.detail.contains("in a moment"))
        })
        .await;
        ctx.cancel.cancel();
    });
    assert_eq!(paused.unwrap_err().kind(), ErrorKind::Cancelled);
    version.supervisor.shutdown().await;
}

#[tokio::test]
async fn a_condemned_process_is_replaced_for_those_who_hold_it() {
    let version = Version::new("");
    let ready = version.ready().await;
    let _held = ready.hold(Purpose::Workflow).unwrap();
    ready.condemn("its CUDA context is broken").await;
    gone(pid_of(&ready)).await;
    assert_eq!(ready.ended().await.reason, "its CUDA context is broken");
    let again = version.ready().await;
    assert_ne!(pid_of(&again), pid_of(&ready));
    ready.condemn("once more").await;
    assert!(!version.ready().await.started, "one who is late condemns nothing");
    version.supervisor.shutdown().await;
}

/// Each way to get nowhere, and what is told of it.
#[tokio::test]
async fn what_answers_and_gets_nowhere_is_replaced() {
    let told = async |misbehaviour: &'static str| {
        let version = Version::patient(misbehaviour, SHORT);
        let ready = version.ready().await;
        queue(&ready, 1).await;
        let ended = timeout(PATIENCE, ready.ended()).await.expect(misbehaviour);
        assert!(!ended.asked, "{ended:?}");
        gone(pid_of(&ready)).await;
        version.supervisor.shutdown().await;
        ended.reason
    };
    let (dies, exits, gone, wedge) =
        tokio::join!(told("worker_dies"), told("worker_exits"), told("worker_gone"), told("wedge"));
    assert!(dies.contains("worker thread died"), "{dies}");
    assert!(exits.contains("worker thread ended"), "{exits}");
    assert!(gone.contains("executes none"), "{gone}");
    assert!(wedge.contains("neither answers nor works"), "{wedge}");
}

#[tokio::test]
async fn a_long_prompt_that_uses_no_processor_is_left_alone() {
    let version = Version::patient("", SHORT);
    let ready = version.ready().await;
    queue(&ready, 60).await;
    eventually("it is done", || version.home.join("output/made_00001_.png").exists()).await;
    assert_eq!(version.state(), Some(ready.info.state.clone()));
    version.supervisor.shutdown().await;
}

#[tokio::test]
async fn a_comfyui_that_restarts_itself_is_not_ready_until_it_answers_again() {
    let version = Version::patient("exec_restart=1", SHORT);
    let ready = version.ready().await;
    queue(&ready, 1).await;
    let ended = timeout(PATIENCE, ready.ended()).await.unwrap();
    assert_eq!((ended.reason.as_str(), ended.asked), ("ComfyUI restarted itself", false));
    let again = version.ready().await;
    assert_eq!((pid_of(&again), &again.info.url), (pid_of(&ready), &ready.info.url));
    assert_eq!(again.comfy.queue_remaining().await.unwrap(), 0, "what was on it is gone");
    queue(&again, 1).await;
    eventually("it works", || version.home.join("output/made_00001_.png").exists()).await;
    version.supervisor.shutdown().await;
}
