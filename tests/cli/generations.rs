//! Generations of a home: which one is current, which one was before, and what is never touched.

use crate::client::{gate, machine};
use serde_json::json;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

#[test]
fn the_generation_before_has_a_link_of_its_own() {
    let env = machine();
    env.write_spec("v", &env.spec());
    let first = env.json(&["realize", "v"]);
    let previous = env.home("v").join("previous");
    assert!(fs::symlink_metadata(&previous).is_err(), "there is none before the first one");
    env.comfy.commit(&[("new.txt", "1")]);
    let second = env.json(&["realize", "v", "--update"]);
    let of = |name: &serde_json::Value| Path::new("generations").join(name.as_str().unwrap());
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
