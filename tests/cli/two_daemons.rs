//! Two daemons on one home, each on a machine of its own, where `flock` is granted to everyone: leases decide,
//! whoever is killed or frozen.

use crate::client::{Gate, gate, machine};
use serde_json::Value;
use std::fs;
use std::process::Child;
use support::TestEnv;
use support::env::Ended;
use support::pod::Pod;
use support::process::{eventually, kill};

/// A version whose realize waits at a gate, on each machine at its own.
fn version() -> (TestEnv, Gate, Gate) {
    let env = machine();
    gate(&env, "v");
    let gates = ["a", "b"].map(|pod| Gate::at(env.path(pod).join("home")));
    let [first, second] = gates;
    (env, first, second)
}

fn ended(child: Child) -> Ended {
    child.wait_with_output().unwrap().into()
}

/// Returns what the one realize of a machine waits for, once it waits.
fn wait(pod: &Pod<'_>) -> Value {
    let mut found = Value::Null;
    eventually("it waits", || {
        found = pod.json(&["status"]).pointer("/jobs/0/waits/0").cloned().unwrap_or_default();
        !found.is_null()
    });
    found
}

/// Asserts that the home is whole and nothing else is in it.
fn assert_whole(env: &TestEnv, pod: &Pod<'_>) {
    assert_eq!(pod.json(&["realize", "v"])["outcome"], "ready");
    let names = fs::read_dir(env.home("v").join("generations")).unwrap().flatten();
    let names: Vec<_> = names.map(|name| name.file_name().into_string().unwrap()).collect();
    let current = fs::read_link(env.home("v").join("current")).unwrap();
    assert_eq!(names, [current.file_name().unwrap().to_str().unwrap()]);
    let python = env.home("v").join("current/.venv/bin/python");
    assert!(std::process::Command::new(python).args(["-c", "import tiny"]).status().unwrap().success());
}

#[test]
fn two_that_begin_at_once_build_once() {
    let (env, first, second) = version();
    let pods = [Pod::start(&env, "a"), Pod::start(&env, "b")];
    first.open();
    second.open();
    let clients = [pods[0].spawn(&["realize", "v", "--json"]), pods[1].spawn(&["realize", "v", "--json"])];
    let outcomes = clients.map(|client| {
        let ended = ended(client);
        assert_eq!(ended.status, Some(0), "{}{}", ended.stdout, ended.stderr);
        ended.json()["outcome"].as_str().unwrap().to_owned()
    });
    assert!(
        outcomes.contains(&"realized".to_owned()) && outcomes.contains(&"ready".to_owned()),
        "{outcomes:?}"
    );
    assert_eq!(first.passed() + second.passed(), 1, "one environment was built");
    assert_whole(&env, &pods[0]);
}

#[test]
fn who_waits_is_told_for_whom_and_goes_on_when_that_one_is_killed() {
    let (env, gate, other) = version();
    let (mut first, second) = (Pod::start(&env, "a"), Pod::start(&env, "b"));
    let builds = first.spawn(&["realize", "v", "--json"]);
    gate.reached();
    let waits = second.spawn(&["realize", "v", "--json"]);
    let wait = wait(&second);
    assert_eq!(wait["for_what"], env.home("v").display().to_string());
    assert!(wait["holder"].as_str().unwrap().starts_with(&format!("pid {} on ", first.pid())), "{wait}");
    assert!(wait["left_ms"].as_u64().unwrap() > 0, "{wait}");
    assert_eq!(other.passed(), 0);
    other.open();
    first.crash();
    ended(builds);
    let waits = ended(waits);
    assert_eq!(waits.status, Some(0), "{}{}", waits.stdout, waits.stderr);
    assert_eq!(waits.json()["outcome"], "realized");
    gate.open();
    assert_whole(&env, &second);
}

#[test]
fn who_was_frozen_finds_the_home_taken_over_and_harms_nothing() {
    let (env, gate, other) = version();
    let (first, second) = (Pod::start(&env, "a"), Pod::start(&env, "b"));
    let frozen = first.spawn(&["realize", "v", "--json"]);
    gate.reached();
    kill(first.pid(), "STOP");
    other.open();
    let takes_over = ended(second.spawn(&["realize", "v", "--json"]));
    assert_eq!(takes_over.status, Some(0), "{}{}", takes_over.stdout, takes_over.stderr);
    assert_eq!(takes_over.json()["outcome"], "realized");
    let built = fs::read_link(env.home("v").join("current")).unwrap();
    let record = env.home("v").join("current/realization.json");
    let before = fs::metadata(&record).unwrap().modified().unwrap();
    gate.open();
    kill(first.pid(), "CONT");
    let frozen = ended(frozen);
    assert_eq!(frozen.status, Some(0), "{}{}", frozen.stdout, frozen.stderr);
    let frozen = frozen.json();
    assert_eq!(frozen["outcome"], "ready", "it began anew, and all was there");
    let told = frozen["warnings"][0].as_str().unwrap();
    assert!(told.contains("was taken over while this process stood still"), "{told}");
    assert_eq!(fs::read_link(env.home("v").join("current")).unwrap(), built);
    assert_eq!(fs::metadata(&record).unwrap().modified().unwrap(), before, "the other's work stands");
    assert_whole(&env, &first);
}
