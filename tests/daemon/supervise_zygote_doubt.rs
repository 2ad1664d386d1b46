//! Versions that misbehave when they are forked are started plainly, and say so.

use crate::fixture::{Version, eventually, pid_of};
use crate::supervise_zygote::{generation, primed, recorded};
use comfyd::boot::StartRecord;
use comfyd::ctx::Ctx;
use comfyd::supervise::{Primed, Ready};
use nix::sys::signal::{Signal, kill};

const NODE: &str = "import heavy\nheavy.check()\nNODE_CLASS_MAPPINGS = {}\n";

/// Ends the process where it is not the one that imported it.
const KNOWS_ITS_PROCESS: &str = "
import os, sys
PID = os.getpid()
def check():
    if os.getpid() != PID:
        sys.exit('this is not my process')
";

/// Needs a thread that does not live on in a child.
const HAS_A_THREAD: &str = "
import queue, threading
asked, answers = queue.Queue(), queue.Queue()
def work():
    while True:
        answers.put(asked.get())
threading.Thread(target=work, daemon=True).start()
def check():
    asked.put(1)
    answers.get(timeout=30)
";

async fn start(version: &Version) -> (Ready, Vec<String>) {
    let ctx = Ctx::new();
    let ready = version.supervisor.ensure_ready(&ctx, version.launch("g1")).await.unwrap();
    let notes = ctx.progress.subscribe().borrow().notes.iter().map(|note| note.text.clone()).collect();
    (ready, notes)
}

async fn refusal(version: &Version) -> String {
    match version.supervisor.prime(&Ctx::new(), version.launch("g1")).await.unwrap() {
        Primed::NotYet(reason) => reason,
        Primed::Waits(zygote) => panic!("{zygote:?}"),
    }
}

#[tokio::test]
async fn a_version_that_dies_when_it_is_forked_is_started_plainly_at_once_and_from_then_on() {
    let version = recorded("", NODE, KNOWS_ITS_PROCESS).await;
    version.supervisor.stop(&version.home).await;
    primed(&version).await;
    let (ready, notes) = start(&version).await;
    assert!(!ready.info.forked && ready.comfy.is_ready().await);
    let note = notes.iter().find(|note| note.starts_with("started plainly: the start from its zygote died"));
    assert!(note.is_some_and(|note| note.contains("exit status: 1")), "{notes:?}");
    assert!(version.supervisor.zygotes().is_empty());
    let distrust = StartRecord::read(&generation(&version)).unwrap().distrust.unwrap();
    assert_eq!(refusal(&version).await, distrust.reason);
    version.supervisor.stop(&version.home).await;
    let (again, notes) = start(&version).await;
    assert!(!again.info.forked && notes.is_empty(), "{notes:?}");
    version.supervisor.shutdown().await;
}

#[tokio::test]
async fn a_version_that_dies_plainly_too_is_not_distrusted_for_it() {
    let version = recorded("", "NODE_CLASS_MAPPINGS = {}", "").await;
    version.supervisor.stop(&version.home).await;
    primed(&version).await;
    std::fs::write(version.comfy_dir().join("execution.py"), "raise ImportError('broken')").unwrap();
    let error = version.supervisor.ensure_ready(&Ctx::new(), version.launch("g1")).await.unwrap_err();
    let (comfyd::supervise::SuperviseError::Died { tail, .. }, details) = (&error, error.details()) else {
        panic!("{error}")
    };
    assert!(tail.last().unwrap().contains("broken"), "{details:?}");
    assert_eq!(StartRecord::read(&generation(&version)).unwrap().distrust, None);
    version.supervisor.shutdown().await;
}

#[tokio::test]
async fn a_module_that_starts_a_thread_is_imported_after_the_fork() {
    let version = recorded("", NODE, HAS_A_THREAD).await;
    version.supervisor.stop(&version.home).await;
    primed(&version).await;
    let (ready, notes) = start(&version).await;
    assert!(ready.info.forked && notes.is_empty(), "{notes:?}");
    version.supervisor.shutdown().await;
}

#[tokio::test]
async fn what_dies_twice_soon_after_it_was_forked_is_started_plainly() {
    let version = recorded("", "NODE_CLASS_MAPPINGS = {}", "").await;
    version.supervisor.stop(&version.home).await;
    primed(&version).await;
    // Who is killed did nothing wrong. After five deaths of any kind nothing is started for a while.
    let signals = [Signal::SIGKILL, Signal::SIGKILL, Signal::SIGSEGV, Signal::SIGSEGV];
    for signal in signals {
        let (ready, _) = start(&version).await;
        assert!(ready.info.forked);
        kill(pid_of(&ready), signal).unwrap();
        ready.ended().await;
    }
    let distrusted =
        || StartRecord::read(&generation(&version)).is_some_and(|record| record.distrust.is_some());
    eventually("it is distrusted", distrusted).await;
    assert!(refusal(&version).await.contains("2 times soon after it was forked"));
    assert!(!start(&version).await.0.info.forked);
    version.supervisor.shutdown().await;
}
