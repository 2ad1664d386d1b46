//! What is done when a run fails through no fault of the workflow.

use crate::fixture::{Version, eventually, pid_of};
use crate::run::{detail, files, save, slow};
use comfyd::ctx::Ctx;
use comfyd::run::RunRequest;
use proto::ErrorKind;
use serde_json::json;
use std::time::Duration;

/// Runs a workflow once and returns what was done for it, and how many processes it took.
async fn recoveries(misbehaviour: &'static str) -> (Vec<String>, bool) {
    let version = Version::new(misbehaviour);
    let before = pid_of(&version.ready().await);
    let answer = version.run(&Ctx::new(), version.request(&save("x"))).await.unwrap();
    assert_eq!(answer.outputs.len(), 1);
    let after = pid_of(&version.ready().await);
    version.supervisor.shutdown().await;
    (answer.recoveries, before != after)
}

#[tokio::test]
async fn what_another_run_may_not_meet_is_run_again_and_told() {
    for (misbehaviour, steps, is_new) in [
        ("oom=1", &["freed its memory"][..], false),
        ("oom=2", &["freed its memory", "new process"], true),
        ("cuda_error=1", &["new process"], true),
        ("die_running=1", &["SIGABRT"], true),
        ("worker_dies=1", &["worker thread"], true),
        ("forget=1", &["lost"], true),
        ("oom=1,cuda_error=1,die_running=1", &["SIGABRT", "freed", "new process"], true),
    ] {
        let (told, was_new) = recoveries(misbehaviour).await;
        assert_eq!(told.len(), steps.len(), "{misbehaviour}: {told:?}");
        for (line, step) in told.iter().zip(steps) {
            assert!(line.contains(step), "{misbehaviour}: {told:?}");
        }
        assert_eq!(was_new, is_new, "{misbehaviour}");
    }
}

#[tokio::test]
async fn memory_that_never_suffices_is_an_error_in_the_end() {
    let version = Version::new("oom");
    let error = version.run(&Ctx::new(), version.request(&save("x"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Execution);
    assert!(error.hint().unwrap().contains("smaller"), "{error}");
    let runs = std::fs::read(version.home.join("output/.oom")).unwrap().len();
    assert_eq!(runs, 3, "freed, then restarted, then no more");
    version.supervisor.shutdown().await;
}

#[tokio::test]
async fn a_post_without_an_answer_is_not_posted_twice() {
    let version = Version::new("cut_post");
    let answer = version.run(&Ctx::new(), version.request(&save("x"))).await.unwrap();
    assert_eq!(files(&answer), [version.home.join("output/x_00001_.png")]);
    assert!(!version.home.join("output/x_00002_.png").exists());
    assert_eq!(answer.recoveries, [""; 0]);
    version.supervisor.shutdown().await;
}

#[tokio::test]
async fn files_that_an_earlier_job_made_and_lost_are_made_again() {
    let version = Version::new("old_names");
    let first = version.run(&Ctx::new(), version.request(&save("x"))).await.unwrap();
    std::fs::remove_file(files(&first)[0]).unwrap();
    let second = version.run(&Ctx::new(), version.request(&save("x"))).await.unwrap();
    assert!(files(&second)[0].is_file());
    assert!(second.recoveries[0].contains("earlier job's"), "{:?}", second.recoveries);
    version.supervisor.shutdown().await;
}

#[tokio::test]
async fn a_stopped_version_is_not_started_again_by_its_jobs() {
    let version = Version::new("");
    let ctx = Ctx::new();
    let (result, ()) = tokio::join!(version.run(&ctx, version.request(&slow(100_000))), async {
        eventually("it runs", || detail(&ctx).starts_with("FakeSlow ")).await;
        version.supervisor.stop(&version.home).await;
    });
    let error = result.unwrap_err();
    assert!(error.to_string().contains("stopped"), "{error}");
    version.supervisor.shutdown().await;
}

#[tokio::test]
async fn what_does_not_let_go_answers_its_asker_at_once_and_keeps_its_turn() {
    let version = Version::new("stuck");
    let limit = Some(Duration::from_millis(300));
    let stuck = RunRequest { timeout: limit, ..version.request(&slow(100)) };
    let error = version.run(&Ctx::new(), stuck).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    let mut next = save("next");
    next["1"]["inputs"]["color"] = json!(1);
    let answer = version.run(&Ctx::new(), version.request(&next)).await.unwrap();
    assert_eq!(answer.outputs.len(), 1);
    version.supervisor.shutdown().await;
}
