//! A daemon that is killed: the next one goes on where it can and cleans up after it.

use crate::client::{gate, machine};
use serde_json::json;
use std::fs;
use support::file_server::{Fault, safetensors};
use support::git_remote::Faults;
use support::process::{eventually, kill};

#[test]
fn a_daemon_killed_while_a_model_comes_leaves_nothing_that_counts_as_one() {
    let env = machine();
    let mut spec = env.spec();
    spec["models"] = json!([{ "source": env.model("/a.safetensors"), "target_subdir": "loras" }]);
    env.write_spec("v", &spec);
    env.files.always("/a.safetensors", Fault::StallAfter(10));
    let client = env.spawn(&["realize", "v", "--json"]);
    let hidden = env.volume("models/.comfyd");
    eventually("the model is on its way", || {
        fs::read_dir(&hidden).is_ok_and(|mut parts| parts.next().is_some())
    });
    env.kill_all();
    assert_eq!(client.wait_with_output().unwrap().status.code(), None, "killed with the machine");
    assert!(!env.volume("models/loras/a.safetensors").exists());
    env.files.put("/a.safetensors", safetensors("whole"));
    env.json(&["realize", "v"]);
    assert_eq!(fs::read(env.volume("models/loras/a.safetensors")).unwrap(), safetensors("whole"));
    assert_eq!(env.json(&["realize", "v"])["outcome"], "ready");
}

#[test]
fn a_daemon_killed_while_it_builds_is_followed_by_one_that_sweeps_and_builds() {
    let env = machine();
    let gate = gate(&env, "v");
    let client = env.spawn(&["realize", "v", "--json"]);
    gate.reached();
    let daemon = env.json(&["status"])["pid"].as_u64().unwrap();
    kill(u32::try_from(daemon).unwrap(), "KILL");
    let told = client.wait_with_output().unwrap();
    assert_eq!(told.status.code(), Some(17), "{}", String::from_utf8_lossy(&told.stdout));
    let generations = || fs::read_dir(env.home("v").join("generations")).unwrap().count();
    assert_eq!(generations(), 1, "what it was building");
    env.kill_all();
    gate.open();
    assert_eq!(env.json(&["realize", "v"])["outcome"], "realized");
    assert_eq!(generations(), 1, "the whole one");
}

#[test]
fn a_daemon_killed_while_a_repository_comes_is_followed_by_one_that_fetches_it() {
    let env = machine();
    let lines: Vec<_> = (0..200_000_u32).map(|n| format!("{:x}", n.wrapping_mul(2_654_435_761))).collect();
    let big = lines.join("\n");
    env.comfy.commit(&[("big.txt", &big)]);
    env.write_spec("v", &env.spec());
    env.git.set_faults(Faults { stall_pack_after: Some(300_000), ..Faults::default() });
    let client = env.spawn(&["realize", "v"]);
    let caches = || fs::read_dir(env.volume(".comfy-cache/git")).into_iter().flatten().flatten();
    eventually("a pack is on its way", || {
        let packs = caches().filter_map(|cache| fs::read_dir(cache.path().join("objects/pack")).ok());
        packs.flatten().flatten().any(|file| file.file_name().to_string_lossy().starts_with(".tmp"))
    });
    env.kill_all();
    assert_eq!(client.wait_with_output().unwrap().status.code(), None, "killed with the machine");
    env.git.set_faults(Faults::default());
    assert_eq!(env.json(&["realize", "v"])["outcome"], "realized");
    assert_eq!(fs::read_to_string(env.home("v").join("current/ComfyUI/big.txt")).unwrap(), big);
}

#[test]
fn a_socket_that_a_dead_daemon_left_is_taken_over() {
    let env = machine();
    let first = env.json(&["status"])["pid"].clone();
    env.kill_all();
    assert!(env.socket().exists());
    assert_ne!(env.json(&["status"])["pid"], first);
}
