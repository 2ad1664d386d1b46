//! A daemon that is killed leaves its ComfyUI processes running, and the next one takes them over.

use crate::client::machine;
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use support::TestEnv;
use support::process::{eventually, kill};

/// Makes a version whose ComfyUI misbehaves as told.
fn version(misbehaviour: &str) -> TestEnv {
    let env = machine();
    let mut spec = env.spec();
    spec["env"] = json!({ "FAKE_COMFYUI": misbehaviour });
    env.write_spec("v", &spec);
    env
}

fn ui(env: &TestEnv) -> Value {
    env.json(&["ui", "v", "--detach"])
}

fn number(value: &Value) -> u32 {
    u32::try_from(value.as_u64().unwrap()).unwrap()
}

/// Kills the daemon, and it alone.
pub(crate) fn crash(env: &TestEnv) {
    let daemon = number(&env.json(&["status", "--no-start"])["pid"]);
    kill(daemon, "KILL");
    eventually("the daemon is gone", || !env.processes().contains(&daemon));
}

fn instances(env: &TestEnv) -> Vec<Value> {
    env.json(&["status"])["instances"].as_array().unwrap().clone()
}

fn record(env: &TestEnv) -> Option<PathBuf> {
    let dirs = fs::read_dir(env.path("state/comfyd/instances")).ok()?;
    dirs.flatten().map(|dir| dir.path().join("instance.json")).find(|path| path.exists())
}

#[test]
fn the_next_daemon_goes_on_with_what_a_killed_one_left_running() {
    let env = version("");
    let before = ui(&env)["instance"].take();
    let pid = number(&before["state"]["pid"]);
    crash(&env);
    assert!(env.processes().contains(&pid), "it lives on");
    let after = instances(&env).remove(0);
    assert_eq!((&after["state"], &after["url"]), (&before["state"], &before["url"]));
    assert_eq!(after["adopted"], true);
    assert!(env.json(&["logs", "v"])["text"].as_str().unwrap().contains("Starting server"));
    assert_eq!(env.json(&["list"])["versions"][0]["state"], "running");
    let again = ui(&env);
    assert_eq!((&again["already_running"], number(&again["instance"]["state"]["pid"])), (&json!(true), pid));
    assert_eq!(env.json(&["version", "test", "v"])["passed"], true);
    assert_eq!(env.comfyctl(&["shutdown"]).status, Some(0));
    assert_eq!(env.processes(), [0_u32; 0], "an orderly stop ends the adopted too");
    assert_eq!(record(&env), None);
}

#[test]
fn another_shell_is_no_reason_to_end_what_was_adopted() {
    let mut env = version("");
    let pid = number(&ui(&env)["instance"]["state"]["pid"]);
    crash(&env);
    env.set("SSH_TTY", "/dev/pts/7");
    assert_eq!(number(&ui(&env)["instance"]["state"]["pid"]), pid);
}

#[test]
fn a_start_goes_on_under_the_next_daemon() {
    let env = version("slow_start");
    let client = env.spawn(&["ui", "v", "--detach"]);
    eventually("it starts", || record(&env).is_some());
    crash(&env);
    client.wait_with_output().unwrap();
    let starting = instances(&env).remove(0);
    assert_eq!((&starting["state"]["kind"], &starting["adopted"]), (&json!("starting"), &json!(true)));
    fs::write(env.home("v").join("input/go"), "").unwrap();
    let ready = ui(&env);
    assert_eq!(ready["instance"]["state"]["pid"], starting["state"]["pid"]);
}

#[test]
fn an_adopted_process_is_stopped_with_all_it_started() {
    let env = version("ignore_term,grandchild");
    ui(&env);
    crash(&env);
    assert_eq!(env.json(&["stop", "v"])["stopped"], true);
    let daemon = number(&env.json(&["status"])["pid"]);
    assert_eq!(env.processes(), [daemon]);
}

#[test]
fn the_death_of_an_adopted_process_is_noticed() {
    let env = version("");
    let pid = number(&ui(&env)["instance"]["state"]["pid"]);
    crash(&env);
    assert_eq!(instances(&env).remove(0)["state"]["kind"], "ready");
    kill(pid, "KILL");
    eventually("its death is told", || instances(&env).remove(0)["state"]["kind"] == "failed");
    assert_ne!(number(&ui(&env)["instance"]["state"]["pid"]), pid);
}

#[test]
fn what_died_with_its_daemon_is_not_missed() {
    let env = version("");
    ui(&env);
    env.kill_all();
    assert!(record(&env).is_some());
    assert_eq!(instances(&env), [Value::Null; 0]);
    assert_eq!(record(&env), None);
}

/// The number of the process was given to another one, which is none of our business. The process itself, which no
/// record names now, is ended: nobody would ever find it again.
#[test]
fn a_process_of_another_birth_is_neither_adopted_nor_ended() {
    let env = version("");
    let pid = number(&ui(&env)["instance"]["state"]["pid"]);
    crash(&env);
    let mut bystander = Command::new("sleep").arg("600").spawn().unwrap();
    let path = record(&env).unwrap();
    let mut told: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    told["pid"] = json!(bystander.id());
    fs::write(&path, told.to_string()).unwrap();
    assert_eq!(instances(&env), [Value::Null; 0]);
    assert_eq!(record(&env), None);
    assert_ne!(number(&ui(&env)["instance"]["state"]["pid"]), pid);
    eventually("nobody knew it any more, and it is ended", || !env.processes().contains(&pid));
    assert!(bystander.try_wait().unwrap().is_none(), "it was left alone");
    bystander.kill().unwrap();
    bystander.wait().unwrap();
}
