//! What stands in the way is told before anything begins: all of it, with figures and remedies.

use crate::client::machine;
use serde_json::json;
use std::fs;
use support::TestEnv;
use support::file_server::{Content, safetensors};
use support::hub::{Access, Hub};

/// A version with a model that is gated, one that is gone, and one that is there.
fn refused() -> (TestEnv, Hub) {
    let (mut env, hub) = (machine(), Hub::start());
    env.set("HF_ENDPOINT", &hub.endpoint());
    hub.put("o/gated", "x.safetensors", safetensors("x"));
    hub.access("o/gated", Access::Gated(Vec::new()));
    let mut spec = env.spec();
    spec["models"] = json!([
        { "source": "hf://o/gated/x.safetensors", "target_subdir": "loras" },
        { "source": env.files.url("/gone.safetensors"), "target_subdir": "loras" },
        { "source": env.model("/there.safetensors"), "target_subdir": "loras" },
    ]);
    env.write_spec("v", &spec);
    (env, hub)
}

#[test]
fn a_dry_run_shows_every_model_that_hosts_refuse() {
    let (env, _hub) = refused();
    let ended = env.comfyctl(&["realize", "v", "--dry-run", "--json"]);
    assert_eq!(ended.status, Some(7), "that of the first problem: {}", ended.stderr);
    let plan = ended.json();
    let kinds: Vec<_> = plan["problems"].as_array().unwrap().iter().map(|problem| &problem["kind"]).collect();
    assert_eq!(kinds, ["access", "not_found"]);
    assert_eq!(plan["models"][0]["problem"], plan["problems"][0]);
    assert_eq!(plan["models"][1]["problem"], plan["problems"][1]);
    assert_eq!(plan["models"][2].get("problem"), None);
    assert_eq!(plan["models"][2]["size_bytes"], safetensors("/there.safetensors").len());
    let people = env.comfyctl(&["realize", "v", "--dry-run"]);
    assert_eq!(people.status, Some(7));
    for text in ["REFUSED", "problems", "loras/there.safetensors", "o/gated", "hint:"] {
        assert!(people.stdout.contains(text), "{text} in\n{}", people.stdout);
    }
}

#[test]
fn realize_refuses_with_all_of_them_and_begins_nothing() {
    let (env, hub) = refused();
    // Pinned beforehand, so that all that is asked for here is asked by realize.
    env.json(&["resolve", "v"]);
    let git = env.git.requests().len();
    let error = env.error(&["realize", "v"], 7);
    let details = error["details"].to_string();
    for target in ["loras/x.safetensors", "loras/gone.safetensors"] {
        assert!(details.contains(target), "{error}");
    }
    assert_eq!(hub.storage.seen(), []);
    let asked = env.files.seen();
    assert!(asked.iter().all(|seen| seen.range.as_deref() == Some("bytes=0-0")), "{asked:?}");
    assert_eq!(env.git.requests().len(), git);
    assert!(!env.volume("models/loras").exists() && !env.home("v").join("generations").exists());
}

#[test]
fn what_cannot_be_asked_now_stops_nothing_beforehand() {
    let env = machine();
    let mut spec = env.spec();
    // Nobody listens there.
    spec["models"] = json!([{ "source": "http://127.0.0.1:1/x.safetensors", "target_subdir": "loras" }]);
    env.write_spec("v", &spec);
    let plan = env.json(&["realize", "v", "--dry-run"]);
    assert_eq!(plan.get("problems"), None);
    let warning = plan["warnings"][0].as_str().unwrap();
    assert!(warning.contains("`loras/x.safetensors` cannot be looked at"), "{warning}");
}

#[test]
fn a_quota_counts_where_the_disk_is_larger() {
    let mut env = machine();
    env.files.put("/big.pth", Content::synthetic(1, 40_000_000));
    let mut spec = env.spec();
    spec["models"] = json!([{ "source": env.files.url("/big.pth"), "target_subdir": "loras" }]);
    env.write_spec("v", &spec);
    fs::write(env.volume("used"), vec![1; 70_000_000]).unwrap();
    fs::hard_link(env.volume("used"), env.volume("again")).unwrap();
    env.set("COMFY_VOLUME_QUOTA", "0.1GB");
    let ended = env.comfyctl(&["realize", "v", "--dry-run", "--json"]);
    assert_eq!(ended.status, Some(8), "{}", ended.stderr);
    let need = &ended.json()["disk"][0];
    assert_eq!(need["quota_bytes"], 100_000_000);
    let left = need["available_bytes"].as_u64().unwrap();
    assert!((20_000_000..30_000_000).contains(&left), "a file with two names counts once: {left}");
    let error = env.error(&["realize", "v"], 8);
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("MB of its quota of 0.1 GB free, and 40.") || message.contains("MB are needed"),
        "{message}"
    );
    assert!(error["hint"].as_str().unwrap().contains("COMFY_VOLUME_QUOTA"));
    assert!(!env.volume("models/loras").exists());
    fs::remove_file(env.volume("used")).unwrap();
    fs::remove_file(env.volume("again")).unwrap();
    assert_eq!(env.json(&["realize", "v"])["outcome"], "realized");
}

#[test]
fn a_quota_that_is_no_size_is_refused() {
    let mut env = machine();
    env.set("COMFY_VOLUME_QUOTA", "plenty");
    let ended = env.comfyctl(&["list"]);
    assert_ne!(ended.status, Some(0));
    assert!(ended.stderr.contains("COMFY_VOLUME_QUOTA is `plenty`"), "{}", ended.stderr);
}
