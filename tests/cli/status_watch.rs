//! `status --watch`: each change a line of JSON, or drawn in place on a terminal.

use crate::client::{gate, machine};
use crate::terminal::Terminal;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command};
use support::TestEnv;
use support::script_daemon::{Peer, ScriptDaemon};

/// Starts a watch without a terminal.
fn watch(env: &TestEnv) -> (Child, BufReader<ChildStdout>) {
    let mut child = env.spawn(&["status", "--watch"]);
    let stdout = BufReader::new(child.stdout.take().unwrap());
    (child, stdout)
}

/// Reads documents until one is as wanted. No two in a row have one mark.
fn until(lines: &mut BufReader<ChildStdout>, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let mut mark = Value::Null;
    loop {
        let mut line = String::new();
        assert!(lines.read_line(&mut line).unwrap() > 0, "{what}: the watch ended");
        let status: Value = serde_json::from_str(&line).unwrap();
        assert_ne!(status["mark"], mark, "nothing has changed: {status}");
        if wanted(&status) {
            return status;
        }
        mark = status["mark"].clone();
    }
}

fn interrupt(child: &Child) {
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
}

#[test]
fn each_change_is_a_document_until_ctrl_c() {
    let env = machine();
    let gate = gate(&env, "v");
    let (mut child, mut lines) = watch(&env);
    until(&mut lines, "at first", |status| status["jobs"] == json!([]));
    let realize = env.spawn(&["realize", "v"]);
    gate.reached();
    let at_work =
        |status: &Value| status["jobs"][0]["work"]["tasks"].as_array().is_some_and(|tasks| !tasks.is_empty());
    let status = until(&mut lines, "a realize", at_work);
    let job = &status["jobs"][0];
    assert_eq!((&job["version_id"], &job["waiting"]), (&json!("v"), &json!(1)), "{job}");
    assert!(job["work"]["known"].as_u64() >= job["work"]["ended"].as_u64(), "{job}");
    let known = until(&mut lines, "install.py", |status| {
        let tasks = status["jobs"][0]["work"]["tasks"].as_array().cloned().unwrap_or_default();
        tasks.iter().any(|task| task["kind"] == "install_script" && task["state"] == "running")
    });
    // One who comes later sees the same at once, and one who asks once does too.
    assert_eq!(env.json(&["status"])["jobs"][0]["work"], known["jobs"][0]["work"]);
    assert!(env.comfyctl(&["status"]).stdout.contains("\n  v  execute, "));
    gate.open();
    assert!(realize.wait_with_output().unwrap().status.success());
    until(&mut lines, "the end of it", |status| status["jobs"] == json!([]));
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(0), "Ctrl-C is how it ends");
}

#[test]
fn a_reader_that_leaves_ends_it_and_so_does_the_daemon() {
    let env = machine();
    let (mut child, mut lines) = watch(&env);
    until(&mut lines, "at first", |_| true);
    drop(lines);
    // It finds out when there is something to tell.
    env.write_spec("v", &env.spec());
    env.json(&["resolve", "v"]);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let (child, mut lines) = watch(&env);
    until(&mut lines, "at first", |_| true);
    env.json(&["shutdown"]);
    drop(lines);
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(17), "{}", String::from_utf8_lossy(&ended.stderr));
}

fn answer(mark: &str, phase: &str) -> Value {
    json!({"version": "1.2.3", "pid": 7, "uptime_s": 65, "socket": "/s", "places": {}, "instances": [], "mark": mark,
           "jobs": [{"version_id": "wan22", "home": "/v/comfy-wan22", "phase": phase, "waiting": 1}]})
}

/// A daemon that tells of one phase, and of another one from then on.
fn two_phases() -> ScriptDaemon {
    ScriptDaemon::start(|client| {
        client.hello();
        let call = client.expect("status");
        assert_eq!(call.params, json!({}));
        client.answer(&call, &answer("a", "plan"));
        let mut known = "a";
        while let Some(call) = next(client) {
            assert_eq!(call["params"], json!({"after": known}));
            known = "b";
            client.line(&json!({"jsonrpc": "2.0", "id": call["id"], "result": answer("b", "execute")}));
            // As a daemon does that has no news.
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    })
}

fn next(client: &mut Peer) -> Option<Value> {
    client.receive().filter(|call| call["method"] == "status")
}

fn on_terminal(daemon: &ScriptDaemon, size: (u16, u16), vars: &[(&str, &str)]) -> Terminal {
    let mut command = Command::new(env!("CARGO_BIN_EXE_comfyctl"));
    command.args(["status", "--watch"]).current_dir(daemon.dir());
    command.env("COMFYD_SOCKET", daemon.socket()).env("LANG", "C.UTF-8").envs(vars.iter().copied());
    Terminal::start(&command, size)
}

const OPEN: &str = "\x1b[?1049h\x1b[?25l";
const CLOSE: &str = "\x1b[?25h\x1b[?1049l";

#[test]
fn a_terminal_is_drawn_on_and_given_back() {
    let daemon = two_phases();
    let mut terminal = on_terminal(&daemon, (24, 80), &[("TERM", "xterm")]);
    terminal.shows("  wan22  execute, 1 client waiting");
    terminal.resize(4, 12);
    terminal.shows("… 4 more li…");
    terminal.types("\u{3}");
    let (status, seen) = terminal.ended();
    assert_eq!(status, Some(0));
    let (before, after) = seen.split_once(CLOSE).unwrap();
    assert!(before.starts_with(OPEN) && before.contains("\x1b[1mrealizes"), "{seen:?}");
    assert!(!after.contains('\x1b') || after.contains("\x1b[1mrealizes"), "{after:?}");
    assert!(after.contains("wan22  execute"), "what was seen last stays: {after:?}");
    assert_eq!((seen.matches(OPEN).count(), seen.matches(CLOSE).count()), (1, 1));
    daemon.finish();
}

#[test]
fn no_color_and_ascii_are_kept_and_a_dumb_terminal_gets_plain_text() {
    let daemon = two_phases();
    let vars = [("TERM", "xterm"), ("NO_COLOR", "1"), ("LANG", "C")];
    let mut terminal = on_terminal(&daemon, (24, 80), &vars);
    terminal.shows("  wan22  execute");
    terminal.types("\u{3}");
    let (status, seen) = terminal.ended();
    assert_eq!(status, Some(0));
    assert!(seen.is_ascii() && seen.starts_with(OPEN) && !seen.contains("\x1b[1m"), "{seen:?}");
    daemon.finish();

    let daemon = two_phases();
    let mut terminal = on_terminal(&daemon, (24, 80), &[("TERM", "dumb")]);
    terminal.shows("  wan22  execute");
    terminal.types("\u{3}");
    let (status, seen) = terminal.ended();
    assert_eq!(status, Some(0));
    assert!(!seen.contains('\x1b'), "{seen:?}");
    assert_eq!(
        (seen.matches("wan22  plan").count(), seen.matches("wan22  execute").count()),
        (1, 1),
        "{seen:?}"
    );
    daemon.finish();
}

#[test]
fn what_idle_time_does_is_told() {
    let env = machine();
    let gate = gate(&env, "v");
    assert_eq!(env.json(&["status"])["idle"], Value::Null);
    let prefetch = env.spawn(&["prefetch", "v"]);
    gate.reached();
    let idle = env.json(&["status"])["idle"].take();
    assert_eq!((&idle["version_id"], &idle["home"]), (&json!("v"), &json!(env.home("v"))));
    assert!(idle["what"].as_str().unwrap().starts_with("lifts it from unknown to "), "{idle}");
    assert!(env.comfyctl(&["status"]).stdout.contains("\nidle time\n  v  lifts it from unknown to "));
    gate.open();
    assert!(prefetch.wait_with_output().unwrap().status.success());
    assert_eq!(env.json(&["status"])["idle"], Value::Null);
}
