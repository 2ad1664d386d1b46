//! Without a network: what is cached is used, what is missing is listed.

use crate::client::{machine, python};
use serde_json::json;
use std::fs;

#[test]
fn a_cached_version_comes_up_and_what_is_missing_is_listed() {
    let mut env = machine();
    let mut spec = env.spec();
    spec["models"] = json!([{ "source": env.model("/a.safetensors"), "target_subdir": "loras" }]);
    env.write_spec("v", &spec);
    env.json(&["realize", "v"]);
    fs::remove_file(env.volume("models/loras/a.safetensors")).unwrap();
    let before = env.requests();
    let answer = env.json(&["realize", "v", "--offline"]);
    let missing = format!("model loras/a.safetensors ({})", env.files.url("/a.safetensors"));
    assert_eq!(answer["missing"], json!([missing]));
    env.set("COMFY_OFFLINE", "1");
    assert_eq!(env.json(&["realize", "v"])["missing"], json!([missing]));
    let people = env.comfyctl(&["realize", "v"]);
    assert!(people.stderr.contains("loras/a.safetensors"), "{}", people.stderr);
    let report = env.comfyctl(&["test", "v", "--json"]);
    assert_eq!(
        report.status,
        Some(1),
        "ComfyUI comes up, and the model is a failed check: {}",
        report.stderr
    );
    assert_eq!(env.requests(), before);
}

#[test]
fn a_home_is_made_again_from_the_caches_alone() {
    let env = machine();
    let mut spec = env.spec();
    spec["custom_nodes"] = json!([{ "repo": env.node("kj", &[]).url() }]);
    env.write_spec("v", &spec);
    env.json(&["realize", "v"]);
    fs::remove_dir_all(env.home("v")).unwrap();
    fs::remove_dir_all(env.volume("custom_nodes")).unwrap();
    let before = env.requests();
    let answer = env.json(&["realize", "v", "--offline"]);
    assert_eq!((&answer["outcome"], &answer["missing"]), (&json!("realized"), &json!([])));
    assert_eq!(env.requests(), before);
    assert_eq!(python(&env.home("v"), "import tiny; print(tiny.version)"), "1.0\n");
    assert!(env.home("v").join("ComfyUI/custom_nodes/kj/__init__.py").is_file());
}

#[test]
fn a_node_that_is_not_cached_is_listed_and_fetched_once_there_is_a_network() {
    let env = machine();
    env.write_spec("v", &env.spec());
    env.json(&["realize", "v"]);
    let mut spec = env.spec();
    spec["custom_nodes"] = json!([{ "repo": env.node("kj", &[]).url() }]);
    env.write_spec("v", &spec);
    let answer = env.json(&["realize", "v", "--offline"]);
    assert!(answer["missing"][0].as_str().unwrap().starts_with("repository kj "), "{answer}");
    let answer = env.json(&["realize", "v"]);
    assert_eq!(answer["missing"], json!([]));
    assert!(env.home("v").join("ComfyUI/custom_nodes/kj/__init__.py").is_file());
}

#[test]
fn without_anything_cached_it_fails_and_says_what_to_do() {
    let env = machine();
    env.write_spec("v", &env.spec());
    for args in [&["realize", "v", "--offline"][..], &["realize", "v", "--offline", "--dry-run"]] {
        let error = env.error(args, 10);
        assert!(error["hint"].is_string(), "{error}");
    }
    assert_eq!(env.requests(), 0);
}
