//! Ctrl-C: the first cancels, the second leaves at once; `ui` stops what it started.

use crate::client::spawn;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use std::process::Child;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use support::script_daemon::{Peer, ScriptDaemon};

const LIMIT: Duration = Duration::from_secs(20);

/// Starts a daemon whose script says on a channel when the time for a signal has come.
fn daemon(script: impl FnOnce(&mut Peer, &Sender<()>) + Send + 'static) -> (ScriptDaemon, Receiver<()>) {
    let (sender, moments) = channel();
    let daemon = ScriptDaemon::start(move |client| {
        client.hello();
        script(client, &sender);
    });
    (daemon, moments)
}

fn interrupt(child: &Child) {
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
}

#[test]
fn the_first_cancels_and_waits_for_the_answer() {
    let (daemon, moments) = daemon(|client, now| {
        let call = client.expect("realize");
        now.send(()).unwrap();
        client.expect_cancel(&call);
        client.fail(&call, proto::ErrorKind::Cancelled.code(), "cancelled", &json!({"kind": "cancelled"}));
    });
    let child = spawn(&daemon, &["realize", "x"]);
    moments.recv_timeout(LIMIT).unwrap();
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(told, "stopping; press Ctrl-C again to leave at once\nerror: cancelled\n");
    daemon.finish();
}

#[test]
fn the_second_leaves_a_daemon_that_does_not_answer() {
    let (daemon, moments) = daemon(|client, now| {
        let call = client.expect("realize");
        now.send(()).unwrap();
        client.expect_cancel(&call);
        now.send(()).unwrap();
        assert_eq!(client.receive(), None, "the client hangs up");
    });
    let child = spawn(&daemon, &["realize", "x"]);
    for _ in 0..2 {
        moments.recv_timeout(LIMIT).unwrap();
        interrupt(&child);
    }
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(130));
    daemon.finish();
}

#[test]
fn ui_stops_comfyui_and_ends_well() {
    let instance = json!({"version_id": "x", "home": "/h", "generation": "ab", "url": "http://127.0.0.1:8188",
                          "log": "/l", "state": {"kind": "ready", "pid": 9, "start_ms": 5}});
    let (daemon, moments) = daemon(move |client, now| {
        let call = client.expect("ui");
        client.answer(&call, &json!({"instance": instance, "already_running": false}));
        let logs = client.expect("logs");
        client.answer(&logs, &json!({"path": "/l", "text": "ready\n", "next": 6, "running": true}));
        now.send(()).unwrap();
        let mut next = client.receive().expect("a call after Ctrl-C");
        // A poll of the log may be on its way, and may be cancelled.
        while next["method"] != "stop" {
            if next["method"] == "logs" {
                let answer = json!({"path": "/l", "text": "", "next": 6, "running": true});
                client.line(&json!({"jsonrpc": "2.0", "id": next["id"], "result": answer}));
            }
            next = client.receive().expect("a call after Ctrl-C");
        }
        client.line(&json!({"jsonrpc": "2.0", "id": next["id"], "result": {"stopped": true}}));
    });
    let child = spawn(&daemon, &["ui", "x"]);
    moments.recv_timeout(LIMIT).unwrap();
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "http://127.0.0.1:8188\n");
    assert!(String::from_utf8(output.stderr).unwrap().ends_with("ComfyUI stopped\n"));
    daemon.finish();
}
