//! Many clients at once: one daemon, one realize, and everyone's own Ctrl-C.

use crate::client::{Gate, gate, machine};
use serde_json::json;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::Child;
use support::TestEnv;
use support::env::Ended;
use support::file_server::Fault;
use support::process::{eventually, kill};

/// Waits until so many clients wait for the one realize under way.
fn waiting(env: &TestEnv, clients: u64) {
    eventually("all clients wait", || {
        let jobs = env.json(&["status"])["jobs"].take();
        jobs[0]["waiting"].as_u64() == Some(clients)
    });
}

fn ended(child: Child) -> Ended {
    child.wait_with_output().unwrap().into()
}

fn gated() -> (TestEnv, Gate) {
    let env = machine();
    let gate = gate(&env, "v");
    (env, gate)
}

#[test]
fn twenty_clients_start_one_daemon_and_build_one_environment() {
    let (env, gate) = gated();
    gate.open();
    let clients: Vec<_> = (0..20).map(|_| env.spawn(&["realize", "v", "--json"])).collect();
    for client in clients {
        let ended = ended(client);
        assert_eq!(ended.status, Some(0), "{}{}", ended.stdout, ended.stderr);
    }
    assert_eq!(gate.passed(), 1, "one environment was built");
    let is_daemon =
        |pid: &u32| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.ends_with("comfyd"));
    assert_eq!(env.processes().iter().filter(|pid| is_daemon(pid)).count(), 1);
}

#[test]
fn two_versions_that_want_one_model_do_not_download_it_twice() {
    let env = machine();
    for id in ["a", "b"] {
        let mut spec = env.spec();
        spec["models"] = json!([{ "source": env.model("/m.safetensors"), "target_subdir": "loras" }]);
        env.write_spec(id, &spec);
    }
    // The first one gets a few bytes and then nothing more.
    env.files.faults("/m.safetensors", [Fault::StallAfter(1), Fault::StallAfter(1)]);
    let is_download = |seen: &support::Seen| seen.range.as_deref() != Some("bytes=0-0");
    let downloads = || env.files.seen().into_iter().filter(is_download).count();
    let first = env.spawn(&["realize", "a"]);
    eventually("a download begins", || downloads() == 1);
    let mut second = env.spawn(&["realize", "b"]);
    let mut told = BufReader::new(second.stderr.take().unwrap()).lines();
    let waits = |line: &String| line.contains("loras/m.safetensors: waiting, downloaded by pid ");
    assert!(told.any(|line| waits(&line.unwrap())), "the second waits for the first");
    assert_eq!(downloads(), 1);
    kill(first.id(), "INT");
    assert_eq!(ended(first).status, Some(130));
    assert_eq!(ended(second).status, Some(0), "and takes over when the first is gone");
    assert_eq!(downloads(), 2);
}

#[test]
fn one_client_that_leaves_takes_nothing_from_the_other() {
    let (env, gate) = gated();
    let clients = [(); 2].map(|()| env.spawn(&["realize", "v", "--json"]));
    waiting(&env, 2);
    gate.reached();
    let [leaves, stays] = clients;
    kill(leaves.id(), "INT");
    assert_eq!(ended(leaves).status, Some(130));
    gate.open();
    let stays = ended(stays);
    assert_eq!(stays.status, Some(0), "{}", stays.stderr);
    assert_eq!(stays.json()["outcome"], "realized");
}

#[test]
fn the_last_client_that_leaves_ends_the_work() {
    let (env, gate) = gated();
    let client = env.spawn(&["realize", "v", "--json"]);
    gate.reached();
    kill(client.id(), "INT");
    assert_eq!(ended(client).status, Some(130));
    eventually("only the daemon is left", || env.processes().len() == 1);
    let status = env.json(&["status"]);
    assert_eq!(status["jobs"], json!([]));
    eventually("nothing half made is left", || {
        fs::read_dir(env.home("v").join("generations")).unwrap().count() == 0
    });
    gate.open();
    assert_eq!(env.json(&["realize", "v"])["outcome"], "realized", "a cancellation is not remembered");
}

#[test]
fn a_client_that_is_killed_ends_the_work_too() {
    let (env, gate) = gated();
    let mut client = env.spawn(&["realize", "v"]);
    gate.reached();
    client.kill().unwrap();
    client.wait().unwrap();
    eventually("only the daemon is left", || env.processes().len() == 1);
}

#[test]
fn a_detached_realize_goes_on_alone() {
    let (env, gate) = gated();
    assert_eq!(env.json(&["realize", "v", "--detach"])["outcome"], "detached");
    gate.reached();
    gate.open();
    eventually("it is realized", || env.json(&["show", "v"])["state"] == "realized");
}

#[test]
fn a_shutdown_cancels_what_is_under_way() {
    let (env, gate) = gated();
    let client = env.spawn(&["realize", "v", "--json"]);
    gate.reached();
    assert_eq!(env.comfyctl(&["shutdown"]).status, Some(0));
    let client = ended(client);
    assert_eq!(client.status, Some(130), "{}", client.stdout);
    assert_eq!(env.processes(), [0_u32; 0]);
}
