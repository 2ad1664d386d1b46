//! Generations of a home: which one is current, which one was before, and what is never touched.

use crate::client::{gate, machine};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use support::TestEnv;
use support::pod::Pod;
use support::process::{eventually, kill};

#[test]
fn the_generation_before_has_a_link_of_its_own() {
    let env = machine();
    env.write_spec("v", &env.spec());
    let first = env.json(&["realize", "v"]);
    let previous = env.home("v").join("previous");
    assert!(fs::symlink_metadata(&previous).is_err(), "there is none before the first one");
    env.comfy.commit(&[("new.txt", "1")]);
    let second = env.json(&["realize", "v", "--update"]);
    let of = |name: &Value| Path::new("generations").join(name.as_str().unwrap());
    assert_eq!(fs::read_link(&previous).unwrap(), of(&first["generation"]));
    assert_eq!(fs::read_link(env.home("v").join("current")).unwrap(), of(&second["generation"]));
}

#[test]
fn a_generation_that_another_daemon_published_meanwhile_stays() {
    let env = machine();
    let gate = gate(&env, "v");
    gate.open();
    let first = env.json(&["realize", "v"]);
    let name = first["generation"].as_str().unwrap();
    let place = format!("vol/comfy-v/generations/{name}");
    env.rename(&place, "vol/aside");
    for mark in ["open", "reached"] {
        fs::remove_file(env.path("home").join(mark)).unwrap();
    }
    let inode = fs::metadata(env.path("vol/aside")).unwrap().ino();
    let client = env.spawn(&["realize", "v", "--json"]);
    gate.reached();
    env.rename("vol/aside", &place);
    gate.open();
    let ended: support::env::Ended = client.wait_with_output().unwrap().into();
    assert_eq!(ended.status, Some(0), "{}{}", ended.stdout, ended.stderr);
    assert_eq!(fs::metadata(env.path(&place)).unwrap().ino(), inode, "it is the one that was published");
    let left = fs::read_dir(env.home("v").join("generations")).unwrap().count();
    assert_eq!(left, 1, "what was built beside it is gone");
    assert_eq!(env.json(&["realize", "v"])["outcome"], "ready");
}

#[test]
fn what_is_damaged_is_not_replaced_under_the_process_that_runs_it() {
    let env = machine();
    env.write_spec("v", &env.spec());
    let first = env.json(&["realize", "v"]);
    env.json(&["ui", "v", "--detach"]);
    let record = env.home("v").join("current/realization.json");
    fs::write(&record, "{").unwrap();
    let error = env.error(&["realize", "v"], 5);
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("is damaged, and the ComfyUI of `v` runs it"), "{message}");
    assert_eq!(error["hint"], "end it by `comfyctl stop v`, then try again");
    assert!(env.home("v").join("current/ComfyUI/main.py").is_file());
    env.json(&["stop", "v"]);
    let again = env.json(&["realize", "v"]);
    assert_eq!((&again["outcome"], &again["generation"]), (&json!("realized"), &first["generation"]));
}

/// Realizes a version, has its ComfyUI run, and returns its generation.
fn running(env: &TestEnv) -> Value {
    env.write_spec("v", &env.spec());
    let first = env.json(&["realize", "v"])["generation"].take();
    env.json(&["ui", "v", "--detach"]);
    first
}

fn stands(env: &TestEnv, generation: &Value) -> bool {
    env.home("v").join("generations").join(generation.as_str().unwrap()).join("ComfyUI/main.py").is_file()
}

/// Updates a version twice, so that what was current is not even the one before.
fn update_twice(env: &TestEnv, realize: impl Fn(&[&str]) -> Value) {
    for text in ["1", "2"] {
        env.comfy.commit(&[("new.txt", text)]);
        assert_eq!(realize(&["realize", "v", "--update"])["outcome"], "realized");
    }
}

#[test]
fn what_runs_keeps_its_generation_which_goes_when_nobody_uses_it() {
    let env = machine();
    let first = running(&env);
    update_twice(&env, |args| env.json(args));
    assert!(stands(&env, &first), "it runs");
    let instance = env.json(&["status"])["instances"][0].take();
    assert_eq!((&instance["generation"], &instance["state"]["kind"]), (&first, &json!("ready")));
    env.json(&["stop", "v"]);
    eventually("the old generation goes", || !stands(&env, &first));
    // Its name goes first, its files after that.
    let left = || fs::read_dir(env.home("v").join("generations")).unwrap().count();
    eventually("two are left", || left() == 2);
}

#[test]
fn a_generation_that_another_daemon_runs_stays_and_goes_with_the_next_start_of_any() {
    let env = machine();
    let first = running(&env);
    let pid = env.json(&["status"])["instances"][0]["state"]["pid"].as_u64().unwrap();
    let pod = Pod::start(&env, "pod");
    update_twice(&env, |args| pod.json(args));
    assert!(stands(&env, &first), "another daemon runs it");
    let daemon = env.json(&["status"])["pid"].as_u64().unwrap();
    kill(u32::try_from(daemon).unwrap(), "KILL");
    env.comfy.commit(&[("new.txt", "3")]);
    pod.json(&["realize", "v", "--update"]);
    assert!(stands(&env, &first), "its daemon was killed, and it runs on");
    kill(u32::try_from(pid).unwrap(), "KILL");
    let _other = Pod::start(&env, "other");
    eventually("the old generation goes", || !stands(&env, &first));
    let uses = || fs::read_dir(env.home("v").join(".comfyd.uses")).unwrap().count();
    eventually("and what said that it was used", || uses() == 0);
}

#[test]
fn an_adopted_comfyui_keeps_its_generation() {
    let env = machine();
    let first = running(&env);
    let daemon = env.json(&["status"])["pid"].as_u64().unwrap();
    kill(u32::try_from(daemon).unwrap(), "KILL");
    update_twice(&env, |args| env.json(args));
    assert_eq!(env.json(&["status"])["instances"][0]["adopted"], true);
    assert!(stands(&env, &first));
    env.json(&["stop", "v"]);
    eventually("the old generation goes", || !stands(&env, &first));
}
