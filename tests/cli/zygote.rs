//! Zygotes and the death of daemons: what was forked lives on, what forks does not.

use crate::adoption::crash;
use crate::client::machine;
use serde_json::{Value, json};
use support::TestEnv;
use support::process::{eventually, kill};

fn number(value: &Value) -> u32 {
    u32::try_from(value.as_u64().unwrap()).unwrap()
}

/// Returns the process of the one zygote.
fn zygote(env: &TestEnv) -> Option<u32> {
    let status = env.json(&["status"]);
    let versions = status["versions"].as_array().cloned().unwrap_or_default();
    versions.iter().find_map(|version| version["zygote"]["pid"].as_u64()).map(|pid| number(&json!(pid)))
}

/// Makes a machine on which a version is primed, and was started once.
fn primed() -> (TestEnv, u32) {
    let mut env = machine();
    env.set("COMFYD_PREFETCH", "primed");
    env.set("COMFYD_PREFETCH_AFTER", "0");
    env.write_spec("v", &env.spec());
    env.json(&["pin", "v", "--rung", "primed"]);
    env.json(&["ui", "v", "--detach"]);
    eventually("a zygote waits", || zygote(&env).is_some());
    let zygote = zygote(&env).unwrap();
    (env, zygote)
}

#[test]
fn a_killed_daemon_leaves_what_was_forked_and_not_its_zygote() {
    let (env, zygote) = primed();
    env.json(&["stop", "v"]);
    let instance = env.json(&["ui", "v", "--detach"])["instance"].take();
    assert_eq!(instance["forked"], true, "{instance}");
    let pid = number(&instance["state"]["pid"]);
    crash(&env);
    eventually("the zygote is gone", || !env.processes().contains(&zygote));
    let found = env.json(&["status"])["instances"][0].take();
    assert_eq!((&found["adopted"], &found["forked"]), (&json!(true), &json!(true)), "{found}");
    assert_eq!(number(&found["state"]["pid"]), pid);
    assert_eq!(env.json(&["version", "test", "v"])["passed"], true);
    kill(pid, "KILL");
    let state = || env.json(&["status"])["instances"][0]["state"]["kind"].take();
    eventually("its end is told", || state() == "failed");
    assert_eq!(env.comfyctl(&["shutdown"]).status, Some(0));
    assert_eq!(env.processes(), [0_u32; 0]);
}

#[test]
fn a_shutdown_ends_zygotes_too() {
    let (env, zygote) = primed();
    assert!(env.processes().contains(&zygote));
    assert_eq!(env.comfyctl(&["shutdown"]).status, Some(0));
    assert_eq!(env.processes(), [0_u32; 0]);
}

#[test]
fn a_frozen_zygote_of_a_killed_daemon_is_ended_by_the_next() {
    let (env, zygote) = primed();
    kill(zygote, "STOP");
    crash(&env);
    env.json(&["status"]);
    eventually("it is gone", || !env.processes().contains(&zygote));
    env.json(&["stop", "v"]);
    assert_eq!(env.comfyctl(&["shutdown"]).status, Some(0));
}
