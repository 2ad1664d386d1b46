//! Starting the daemon when none listens. The daemons here are shell scripts.

use crate::client::{comfyctl, run};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::script_daemon::ScriptDaemon;
use support::unfolded;

/// Writes a program. Another process writes it: a descriptor of ours that is open for writing could
/// be inherited by a child that a test beside this one forks just now, and then the kernel refuses
/// to execute the file (ETXTBSY).
fn script(dir: &Path, text: &str) -> PathBuf {
    let path = dir.join("comfyd");
    let write = "printf '#!/bin/sh\\n%s\\n' \"$1\" > \"$0\" && chmod 755 \"$0\"";
    let status = Command::new("/bin/sh").arg("-c").arg(write).arg(&path).arg(text).status().unwrap();
    assert!(status.success());
    path
}

#[test]
fn without_a_daemon_and_told_not_to_start_one_the_remedy_is_named() {
    let home = tempfile::tempdir().unwrap();
    let ended = run(&mut comfyctl(home.path()), &["list", "--no-start"]);
    assert_eq!(ended.status, Some(17));
    let socket = home.path().join(".local/state/comfyd/comfyd.sock");
    let expected = format!(
        "error: no daemon listens on `{}`\n\nhint: start one with `comfyd`, or leave out `--no-start`\n",
        socket.display()
    );
    assert_eq!(ended.stderr, expected);
}

#[test]
fn shutdown_never_starts_a_daemon() {
    let home = tempfile::tempdir().unwrap();
    let ended = run(&mut comfyctl(home.path()), &["shutdown", "--json"]);
    assert_eq!((ended.status, ended.json()["error"]["kind"].clone()), (Some(17), json!("unavailable")));
}

#[test]
fn a_daemon_that_is_not_installed_is_told_with_the_remedy() {
    let home = tempfile::tempdir().unwrap();
    let ended = run(&mut comfyctl(home.path()), &["list"]);
    assert_eq!(ended.status, Some(17));
    assert!(
        ended.stderr.starts_with("error: failed to start the daemon `/nonexistent/comfyd`\n  caused by: ")
    );
    assert!(ended.stderr.contains("COMFYD_BIN"), "{}", ended.stderr);
}

#[test]
fn a_daemon_that_dies_early_shows_the_end_of_its_log() {
    let home = tempfile::tempdir().unwrap();
    let program = script(home.path(), "echo \"$1: no place for versions\" >&2; exit 3");
    let state = home.path().join("state");
    fs::create_dir(&state).unwrap();
    fs::write(state.join("comfyd.log"), "of an earlier daemon\n").unwrap();
    let mut command = comfyctl(home.path());
    command.env("COMFYD_BIN", &program).env("COMFYD_STATE_DIR", &state);
    let ended = run(&mut command, &["list"]);
    assert_eq!(ended.status, Some(17));
    let expected = format!(
        "error: the daemon `{}` ended before it listened: exit status: 3\n  --background: no place for versions\n\n\
         hint: the daemon's whole log is `{}`\n",
        program.display(),
        state.join("comfyd.log").display()
    );
    assert_eq!(unfolded(&ended.stderr), unfolded(&expected));
}

/// Two clients at once: this one's daemon finds the lock held, and the other one's socket appears.
#[test]
fn a_daemon_that_loses_the_race_leaves_the_winner_to_its_client() {
    let daemon = ScriptDaemon::start(|client| {
        client.hello();
        let call = client.expect("list");
        client.answer(&call, &json!({"searched": [], "versions": []}));
    });
    let socket = daemon.dir().join("late.sock");
    let busy = proto::ErrorKind::Busy.exit_status();
    // A link to a listening socket is as good as the socket: the winner "appears".
    let text = format!("test \"$COMFYD_SOCKET\" && ln -s comfyd.sock \"$COMFYD_SOCKET\"; exit {busy}");
    let program = script(daemon.dir(), &text);
    let mut command = comfyctl(daemon.dir());
    command.env("COMFYD_BIN", program).args(["--socket", "late.sock"]);
    let ended = run(&mut command, &["list", "--json"]);
    assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""));
    assert!(socket.is_symlink());
    daemon.finish();
}
