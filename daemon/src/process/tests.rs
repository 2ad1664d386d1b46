//! Children that end, that stay, and that leave others behind.

use super::*;
use crate::ctx::Foreground;
use nix::unistd::Pid;
use std::time::Instant;

fn sh(script: &str) -> Command {
    let path = BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]);
    Command::new("/bin/sh", path).args(["-c", script])
}

#[tokio::test]
async fn output_and_status_come_back() {
    let mut lines = Vec::new();
    let finished =
        run(&Ctx::new(), &sh("echo out; echo err >&2; exit 3"), |line| lines.push(line.to_owned()))
            .await
            .unwrap();
    assert_eq!(
        (finished.status.code(), finished.stdout.as_str(), finished.stderr.as_str()),
        (Some(3), "out\n", "err")
    );
    assert_eq!(lines, ["err"]);
}

#[tokio::test]
async fn a_child_sees_only_the_environment_it_is_given() {
    let finished = run(&Ctx::new(), &sh("env | grep -v '^PWD=\\|^_=\\|^SHLVL='"), |_| ()).await.unwrap();
    assert_eq!(finished.stdout, "PATH=/usr/bin:/bin\n");
}

// A grandchild that inherits the pipes used to keep supervisors waiting for ever.
#[tokio::test]
async fn a_grandchild_that_holds_the_pipe_does_not_hold_us() {
    let started = Instant::now();
    let finished = run(&Ctx::new(), &sh("sleep 1000 & echo started"), |_| ()).await.unwrap();
    assert_eq!(finished.stdout, "started\n");
    assert!(started.elapsed() < Duration::from_secs(100));
}

#[tokio::test]
async fn cancelling_takes_the_whole_group_down() {
    let ctx = Ctx::new();
    let pid_seen = std::cell::Cell::new(0);
    let script = sh("sleep 1000 & echo $! >&2; wait");
    let work = run(&ctx, &script, |line| {
        pid_seen.set(line.parse().unwrap());
        ctx.cancel.cancel();
    });
    assert!(matches!(work.await, Err(ProcessError::Cancelled(_))));
    let grandchild = Pid::from_raw(pid_seen.get());
    let deadline = Instant::now() + Duration::from_secs(20);
    while is_alive(grandchild) {
        assert!(Instant::now() < deadline, "the grandchild survived");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
#[allow(clippy::print_stdout, reason = "the figure is a result")]
async fn a_child_in_the_background_is_stopped_while_others_work_and_goes_on_after() {
    let foreground = Foreground::default();
    let ctx = Ctx { standing: foreground.standing(true), ..Ctx::new() };
    let (said, mut saying) = tokio::sync::mpsc::unbounded_channel();
    // A grandchild counts: the whole group stops. The shell waits for it, and does not fork itself: one whose child
    // was stopped in the middle of a vfork() cannot stop before that child goes on.
    let script = sh("echo $$ >&2; (while :; do /bin/echo x >&2; done) & wait").alone();
    let work = run(&ctx, &script, |line| drop(said.send((Instant::now(), line.to_owned()))));
    let others = async {
        let pid = saying.recv().await.unwrap().1;
        saying.recv().await.unwrap();
        let (began, busy) = (Instant::now(), foreground.busy());
        while !state(&pid).starts_with('T') {
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        let took = began.elapsed();
        println!("background child: {took:?} until it stood still");
        drop(busy);
        while saying.recv().await.unwrap().0 < began + took {}
        ctx.cancel.cancel();
    };
    let (ended, ()) = tokio::join!(work, others);
    assert!(matches!(ended, Err(ProcessError::Cancelled(_))));
}

#[tokio::test]
async fn a_stopped_child_is_ended_in_time() {
    let foreground = Foreground::default();
    let ctx = Ctx { standing: foreground.standing(true), ..Ctx::new() };
    let script = sh("echo $$ >&2; exec sleep 1000").alone();
    let (said, mut saying) = tokio::sync::mpsc::unbounded_channel();
    let work = run(&ctx, &script, |line| drop(said.send(line.to_owned())));
    let others = async {
        let pid = saying.recv().await.unwrap();
        let _busy = foreground.busy();
        while !state(&pid).starts_with('T') {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        ctx.cancel.cancel();
        Instant::now()
    };
    let (ended, cancelled) = tokio::join!(work, others);
    assert!(matches!(ended, Err(ProcessError::Cancelled(_))) && cancelled.elapsed() < GRACE / 2);
}

/// The letter of a process's state (proc_pid_stat(5)).
fn state(pid: &str) -> String {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().unwrap_or_default().trim_start().to_owned()
}

/// A killed orphan may stay a zombie where nobody reaps.
fn is_alive(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
}
