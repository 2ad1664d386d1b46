//! Disks that refuse: full, read-only, not ours, failing. The error says what, where and what helps; nothing half
//! made has a final name; the daemon goes on, and so does the next realize.

use crate::client::machine;
use serde_json::{Value, json};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
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
    // The journal may be a quarter of a second behind, which is 4 MiB here.
    eventually("half of the model has come", || env.files.sent("/big.bin") > 16 << 20);
    daemon.leave_free(&volume, 0);
    let ended: Ended = client.wait_with_output().unwrap().into();
    assert_eq!(ended.status, Some(DISK), "{}{}", ended.stdout, ended.stderr);
    is_helpful(&ended.json()["error"], &volume);
    assert!(daemon.lives() && !seen.join("models/loras/big.bin").exists());
    let sent = env.files.sent("/big.bin");
    fs::remove_file(seen.join("ballast")).unwrap();
    env.json(&["realize", "v"]);
    assert!(fs::read(seen.join("models/loras/big.bin")).unwrap() == big);
    let again = env.files.sent("/big.bin") - sent;
    println!("a disk that became full: {sent} bytes sent before that, {again} after it");
    assert!(again < big.len() as u64 - (4 << 20), "what had come was kept");
}

/// Starts a run of a small workflow.
fn run(env: &TestEnv) -> Ended {
    let image = json!({ "width": 8, "height": 8, "batch_size": 1, "color": 255 });
    let graph = json!({
        "1": { "class_type": "EmptyImage", "inputs": image },
        "2": { "class_type": "SaveImage", "inputs": { "images": ["1", 0], "filename_prefix": "made" } },
    });
    fs::write(env.path("image.json"), graph.to_string()).unwrap();
    let [path, out] = ["image.json", "out"].map(|name| env.path(name).display().to_string());
    env.comfyctl(&["run", "--version-id", "v", "--workflow", &path, "--output", &out, "--json"])
}

#[test]
fn what_is_ready_on_a_read_only_disk_runs_where_its_output_can_be_written() {
    let env = machine();
    env.write_spec("v", &version(&env));
    env.json(&["realize", "v"]);
    env.json(&["shutdown"]);
    let own = ["output", "temp", "user", "input"].map(|name| env.home("v").join(name));
    let writable = own.map(|place| (place, Mount::Disk(4096)));
    let volume = (env.path("vol"), Mount::ReadOnly);
    let read_only = |place: &str| vec![(env.path(place), Mount::ReadOnly)];
    for (mounts, refused) in [
        (vec![volume.clone()], Some("vol/comfy-v/input")),
        (read_only("state"), Some("state/comfyd/instances")),
        (read_only("home"), None),
        (read_only("vol/models"), None),
        (read_only("vol/.comfy-cache"), None),
        (read_only("vol/custom_nodes"), None),
        ([vec![volume], writable.to_vec()].concat(), None),
    ] {
        for (place, mount) in &mounts {
            if matches!(mount, Mount::Disk(_)) {
                fs::create_dir_all(place).unwrap();
            }
        }
        let daemon = Mounted::start(&env, &mounts);
        assert_eq!(env.json(&["realize", "v"])["outcome"], "ready", "{mounts:?}");
        let ended = run(&env);
        match refused {
            Some(place) => is_helpful(&ended.json()["error"], &env.path(place)),
            None => assert_eq!(ended.status, Some(0), "{mounts:?}: {}", ended.stdout),
        }
        drop(daemon);
        env.kill_all();
    }
}

#[test]
fn a_volume_that_another_user_owns_is_told_and_left_alone() {
    let env = machine();
    env.write_spec("v", &version(&env));
    let root = nix::unistd::geteuid().is_root();
    let mode =
        |place: &str, mode| fs::set_permissions(env.path(place), Permissions::from_mode(mode)).unwrap();
    mode("", 0o755);
    fs::remove_dir_all(env.volume(".comfy-cache")).unwrap();
    for place in ["home", "run", "state"].iter().filter(|_| root) {
        chown(env.path(place), Some(65534), Some(65534)).unwrap();
    }
    mode("vol", 0o555);
    let mut daemon = Mounted::as_nobody(&env);
    let error = env.error(&["realize", "v"], DISK);
    is_helpful(&error, &env.path("vol"));
    assert!(error["hint"].as_str().unwrap().contains("user that comfyd runs as"), "{error}");
    assert!(daemon.lives());
    mode("vol", if root { 0o777 } else { 0o755 });
    env.json(&["realize", "v"]);
}

#[test]
fn a_disk_that_fails_once_costs_that_realize_only() {
    for (place, refusal) in [
        ("commit.write", "EIO"),
        ("commit.sync", "EIO"),
        ("commit.rename", "EDQUOT"),
        ("commit.sync-dir", "EIO"),
        ("commit.sync", "EDQUOT"),
    ] {
        let mut env = machine();
        env.write_spec("v", &version(&env));
        env.set("FAILPOINTS", &format!("{place}=1*return({refusal})"));
        let error = env.error(&["realize", "v"], DISK);
        is_helpful(&error, &env.path(""));
        is_whole(&env.path("vol"));
        assert_eq!(env.json(&["realize", "v"])["outcome"], "realized", "{place} {refusal}");
    }
}
