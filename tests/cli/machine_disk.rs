//! Disks that refuse: full, read-only, not ours, failing. The error says what, where and what helps; nothing half
//! made has a final name; the daemon goes on, and so does the next realize.

use crate::client::machine;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use support::TestEnv;
use support::env::Ended;
use support::file_server::{Fault, safetensors};
use support::mounts::{Mount, Mounted};
use support::process::eventually;

/// Exit status of what a disk refused.
const DISK: i32 = 8;

fn version(env: &TestEnv) -> Value {
    let node = env.node("node", &[("node.py", "one = 1\n")]);
    let mut spec = env.spec();
    spec["custom_nodes"] = json!([{ "repo": node.url() }]);
    spec["models"] = json!([{ "source": env.model("/a.safetensors"), "target_subdir": "loras" }]);
    spec
}

/// Checks that an error is about the disk, and says where and what helps.
fn is_helpful(error: &Value, place: &Path) {
    let text = error.to_string();
    assert_eq!(error["kind"], "disk", "what: {text}");
    assert!(text.contains(place.to_str().unwrap()), "where: {text}");
    assert!(error["hint"].is_string(), "what helps: {text}");
}

/// Checks that what has a final name on a volume is whole.
fn is_whole(volume: &Path) {
    let published = |dir: &str| {
        let names = fs::read_dir(volume.join(dir)).into_iter().flatten().flatten();
        let paths = names.map(|entry| entry.path());
        paths.filter(|path| !path.file_name().unwrap().to_string_lossy().starts_with('.')).collect::<Vec<_>>()
    };
    for generation in published("comfy-v/generations") {
        assert!(generation.join("realization.json").is_file(), "{}", generation.display());
    }
    for checkout in published("custom_nodes/workspace") {
        assert_eq!(fs::read_to_string(checkout.join("node.py")).unwrap(), "one = 1\n");
    }
    for model in published("models/loras") {
        assert!(fs::read(model).unwrap() == safetensors("/a.safetensors"));
    }
}

#[test]
fn a_disk_that_is_full_at_any_moment_costs_that_realize_only() {
    let env = machine();
    let spec = version(&env);
    let volume = env.path("vol");
    let mut daemon = Mounted::start(&env, &[(volume.clone(), Mount::Disk(65536))]);
    let seen = daemon.path(&volume);
    fs::create_dir_all(seen.join("versions")).unwrap();
    fs::write(seen.join("versions/v.json"), spec.to_string()).unwrap();
    let mut refusals = 0;
    loop {
        daemon.leave_free(&volume, refusals * 16);
        let ended = env.comfyctl(&["realize", "v", "--json"]);
        assert!(daemon.lives());
        is_whole(&seen);
        if ended.status == Some(0) {
            break;
        }
        refusals += 1;
        assert_eq!(ended.status, Some(DISK), "{}", ended.stdout);
        is_helpful(&ended.json()["error"], &volume);
    }
    println!("full disk: {refusals} refusals");
    assert!(refusals > 3 && seen.join("models/loras/a.safetensors").is_file());
    assert_eq!(env.json(&["realize", "v"])["outcome"], "ready");
}

#[test]
fn a_disk_that_becomes_full_while_a_model_comes_keeps_what_has_come() {
    let env = machine();
    let mut spec = version(&env);
    let big = vec![7; 32 << 20];
    env.files.put("/big.bin", big.clone());
    spec["models"] = json!([{ "source": env.files.url("/big.bin"), "target_subdir": "loras" }]);
    // Four connections, two seconds.
    env.files.always("/big.bin", Fault::Trickle(4 << 20));
    let volume = env.path("vol");
    let mut daemon = Mounted::start(&env, &[(volume.clone(), Mount::Disk(98304))]);
    let seen = daemon.path(&volume);
    fs::create_dir_all(seen.join("versions")).unwrap();
    fs::write(seen.join("versions/v.json"), spec.to_string()).unwrap();
    let client = env.spawn(&["realize", "v", "--json"]);
    eventually("the model is on its way", || env.files.sent("/big.bin") > 4 << 20);
    daemon.leave_free(&volume, 0);
    let ended: Ended = client.wait_with_output().unwrap().into();
    assert_eq!(ended.status, Some(DISK), "{}{}", ended.stdout, ended.stderr);
    is_helpful(&ended.json()["error"], &volume);
    assert!(daemon.lives() && !seen.join("models/loras/big.bin").exists());
    let sent = env.files.sent("/big.bin");
    println!("{} of {} sent before the disk was full", sent, big.len());
    fs::remove_file(seen.join("ballast")).unwrap();
    env.json(&["realize", "v"]);
    assert!(fs::read(seen.join("models/loras/big.bin")).unwrap() == big);
    let again = env.files.sent("/big.bin") - sent;
    println!("{again} sent after that");
}

#[test]
fn look_read_only() {
    let env = machine();
    env.write_spec("v", &version(&env));
    env.json(&["realize", "v"]);
    env.comfyctl(&["shutdown"]);
    let image = json!({ "width": 8, "height": 8, "batch_size": 1, "color": 255 });
    let graph = json!({
        "1": { "class_type": "EmptyImage", "inputs": image },
        "2": { "class_type": "SaveImage", "inputs": { "images": ["1", 0], "filename_prefix": "made" } },
    });
    fs::write(env.path("image.json"), graph.to_string()).unwrap();
    let (path, out) = (env.path("image.json").display().to_string(), env.path("out").display().to_string());
    let run = ["run", "--version-id", "v", "--workflow", &path, "--output", &out, "--json"];
    for place in ["vol", "home", "state", "vol/models", "vol/.comfy-cache", "vol/custom_nodes"] {
        let daemon = Mounted::start(&env, &[(env.path(place), Mount::ReadOnly)]);
        let ended = env.comfyctl(&["realize", "v", "--json"]);
        eprintln!("{place} ready: {:?} {} {}", ended.status, ended.stdout, ended.stderr);
        let ended = env.comfyctl(&run);
        eprintln!("{place} run: {:?} {} {}", ended.status, ended.stdout, ended.stderr);
        drop(daemon);
        env.kill_all();
    }
    let mut mounts = vec![(env.path("vol"), Mount::ReadOnly)];
    mounts.extend(
        ["output", "temp", "user", "input"]
            .map(|n| (env.path(format!("vol/comfy-v/{n}")), Mount::Disk(4096))),
    );
    let daemon = Mounted::start(&env, &mounts);
    let ended = env.comfyctl(&run);
    eprintln!("all run: {:?} {} {}", ended.status, ended.stdout, ended.stderr);
    drop(daemon);
}
