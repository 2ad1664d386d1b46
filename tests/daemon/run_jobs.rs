//! Jobs by name: once each, in turn, and known to the next daemon.

use crate::fixture::{Version, eventually};
use crate::run::{detail, files, save, slow};
use comfyd::ctx::Ctx;
use comfyd::run::{RunRequest, Start, Up};
use comfyd::supervise::Purpose;
use proto::ErrorKind;
use proto::method::Warmth;
use proto::method::WorkflowState::{Queued, Running};
use serde_json::Value;
use std::path::PathBuf;

fn named(version: &Version, name: &str, workflow: &Value) -> RunRequest {
    RunRequest { job_id: Some(name.to_owned()), ..version.request(workflow) }
}

fn made(version: &Version) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(version.home.join("output")).unwrap();
    entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some()).collect()
}

#[tokio::test]
async fn one_name_is_one_run_however_often_it_is_asked_for() {
    let mut version = Version::new("");
    let (a, b) = (Ctx::new(), Ctx::new());
    let both = async || {
        tokio::join!(version.run(&a, named(&version, "j", &slow(20))), async {
            eventually("it runs", || detail(&a).starts_with("FakeSlow ")).await;
            version.run(&b, named(&version, "j", &slow(20))).await
        })
    };
    let (first, second) = both().await;
    let first = first.unwrap();
    assert_eq!(first, second.unwrap());
    assert_eq!(first.job_id, "j");
    let later = version.run(&Ctx::new(), named(&version, "j", &slow(20))).await.unwrap();
    assert_eq!(later, first);
    version.next_daemon(&[]);
    let next = version.run(&Ctx::new(), named(&version, "j", &slow(20))).await.unwrap();
    assert_eq!(next, first);
    assert_eq!(made(&version).len(), 1);
    let error = version.run(&Ctx::new(), named(&version, "j", &slow(21))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    // What it made is gone: then it is not known any more.
    std::fs::remove_file(files(&first)[0]).unwrap();
    let again = version.run(&Ctx::new(), named(&version, "j", &slow(20))).await.unwrap();
    assert_ne!(again.prompt_id, first.prompt_id);
    version.supervisor.shutdown().await;
}

#[tokio::test]
async fn a_failure_is_not_remembered() {
    let version = Version::new("oom=3");
    assert!(version.run(&Ctx::new(), named(&version, "j", &save("x"))).await.is_err());
    assert!(version.run(&Ctx::new(), named(&version, "j", &save("x"))).await.is_ok());
    version.supervisor.shutdown().await;
}

#[tokio::test]
async fn one_who_leaves_leaves_the_job_to_the_others() {
    let version = Version::new("");
    let (leaves, stays) = (Ctx::new(), Ctx::new());
    let (left, stayed, ()) = tokio::join!(
        version.run(&leaves, named(&version, "j", &slow(50))),
        version.run(&stays, named(&version, "j", &slow(50))),
        async {
            eventually("it runs", || detail(&stays).starts_with("FakeSlow ")).await;
            leaves.cancel.cancel();
        }
    );
    assert_eq!(left.unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(stayed.unwrap().outputs.len(), 1);
    version.supervisor.shutdown().await;
}

#[tokio::test]
async fn workflows_wait_in_order_and_too_many_are_refused() {
    let mut version = Version::new("");
    version.next_daemon(&[("COMFYD_MAX_QUEUE", "1")]);
    version.ready().await;
    let (one, two, three) = (Ctx::new(), Ctx::new(), Ctx::new());
    let states = || version.workflows.list().iter().map(|info| info.state).collect::<Vec<_>>();
    let (first, second, third, ()) = tokio::join!(
        version.run(&one, version.request(&slow(100_000))),
        async {
            eventually("one runs", || states() == [Running]).await;
            version.run(&two, version.request(&slow(100_001))).await
        },
        async {
            eventually("two are in ComfyUI", || states() == [Running, Running]).await;
            version.run(&three, version.request(&save("x"))).await
        },
        async {
            eventually("three waits here", || states() == [Running, Running, Queued]).await;
            assert_eq!(version.supervisor.find(&version.home).unwrap().workflows, 3);
            let error = version.run(&Ctx::new(), version.request(&save("y"))).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Busy);
            assert!(error.hint().unwrap().contains("COMFYD_MAX_QUEUE"));
            one.cancel.cancel();
            two.cancel.cancel();
        }
    );
    assert!(first.is_err() && second.is_err());
    let third = third.unwrap();
    assert!(third.outputs.len() == 1 && third.queue_ms > 0, "{third:?}");
    assert!(states().is_empty());
    assert_eq!(version.supervisor.find(&version.home).unwrap().workflows, 0);
    version.supervisor.shutdown().await;
}

// The daemon is killed, ComfyUI is not: the next one finds the prompt by what the first one wrote.
#[tokio::test]
async fn the_next_daemon_finds_the_prompt_of_the_one_before() {
    let mut version = Version::new("");
    let ready = version.ready().await;
    let dir = version.dir.path().join("state/jobs");
    let before = version.workflows.clone();
    let ctx = Ctx::new();
    let request = named(&version, "j", &slow(100));
    let supervisor = version.supervisor.clone();
    let launch = version.launch("g1");
    let record = async {
        eventually("it is posted", || detail(&ctx).starts_with("FakeSlow ")).await;
        let path = std::fs::read_dir(&dir).unwrap().next().unwrap().unwrap().path();
        (std::fs::read(&path).unwrap(), path)
    };
    let start: Start = Box::new(move |ctx, _| {
        let (supervisor, launch) = (supervisor.clone(), launch.clone());
        Box::pin(async move {
            let held = supervisor.hold(&launch.home, Purpose::Workflow).await;
            let ready = supervisor.ensure_ready(&ctx, launch).await.unwrap();
            Ok(Up { ready, held, how: Warmth::Started })
        })
    });
    let (first, (text, path)) = tokio::join!(before.run(&ctx, request, start), record);
    let first = first.unwrap();
    // As a kill would have left it.
    std::fs::write(path, text).unwrap();
    version.next_daemon(&[]);
    let next = version.run(&Ctx::new(), named(&version, "j", &slow(100))).await.unwrap();
    assert_eq!(next.prompt_id, first.prompt_id);
    assert_eq!((next.outputs, made(&version).len()), (first.outputs, 1));
    assert!(ready.comfy.history(&next.prompt_id).await.unwrap().is_some());
    version.supervisor.shutdown().await;
}
