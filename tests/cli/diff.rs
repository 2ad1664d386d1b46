//! `diff`: what differs between two locks.

use crate::client::machine;
use serde_json::{Value, json};
use support::{TestEnv, Wheel};

/// Realizes a version with a node, then an update of it that adds two commits to ComfyUI and takes the node away.
fn updated() -> (TestEnv, Value, Value) {
    let env = machine();
    let mut spec = env.spec();
    spec["custom_nodes"] = json!([{ "repo": env.node("kit", &[]).url() }]);
    env.write_spec("v", &spec);
    let first = env.json(&["realize", "v"]);
    env.comfy.commit(&[("new.txt", "1")]);
    env.index.add(&Wheel::new("more", "1.0"), support::env::UPLOADED);
    env.comfy.commit(&[("requirements.txt", "tiny\nmore\n")]);
    let mut spec = env.spec();
    spec["models"] = json!([{ "source": env.model("/a.safetensors"), "target_subdir": "loras" }]);
    env.write_spec("v", &spec);
    let second = env.json(&["realize", "v", "--update"]);
    (env, first, second)
}

#[test]
fn a_version_is_compared_with_its_generation_before() {
    let (env, first, second) = updated();
    let diff = env.json(&["diff", "v"]);
    assert_eq!(
        (&diff["old"]["generation"], &diff["new"]["generation"]),
        (&first["generation"], &second["generation"])
    );
    let comfy = &diff["repositories"][0];
    assert_eq!((&comfy["name"], &comfy["new"]["commit"]), (&json!("ComfyUI"), &json!(env.comfy.head())));
    assert_eq!(comfy["commits"], json!({"added": 2, "removed": 0}), "{diff}");
    let node = &diff["repositories"][1];
    assert_eq!((&node["name"], &node["new"]), (&json!("kit"), &Value::Null));
    assert_eq!(diff["packages"], json!([{"name": "more", "new": "1.0"}]));
    assert_eq!(diff["models"][0]["name"], "loras/a.safetensors");

    let people = env.comfyctl(&["diff", "v"]);
    assert!(people.stdout.contains(", 2 commits later\n"), "{}", people.stdout);
    assert!(people.stdout.contains("\npackages\n  +  more  1.0\n"), "{}", people.stdout);
    let name = first["generation"].as_str().unwrap();
    let back = env.json(&["diff", "v@current", &format!("v@{}", &name[..6])]);
    assert_eq!(back["repositories"][0]["commits"], json!({"added": 0, "removed": 2}), "{back}");
    let same = env.comfyctl(&["diff", "v", "v@current", "--offline"]);
    assert!(same.stdout.ends_with(" pin the same\n"), "{}", same.stdout);
}

#[test]
fn two_versions_are_compared_with_their_settings() {
    let env = machine();
    env.write_spec("a", &env.spec());
    env.json(&["resolve", "a"]);
    let mut spec = env.spec();
    spec["env"] = json!({"SECRET": "s3cret"});
    spec["options"] = json!({"extra_args": ["--lowvram"]});
    env.write_spec("b", &spec);
    env.json(&["resolve", "b"]);
    let diff = env.json(&["diff", "a", "b"]);
    assert_eq!((&diff["repositories"], &diff["packages"]), (&json!([]), &json!([])));
    let settings = json!([{"name": "option extra_args", "old": "[]", "new": "[\"--lowvram\"]"},
                          {"name": "variable SECRET", "new": "set"}]);
    assert_eq!(diff["settings"], settings);
    assert!(!diff.to_string().contains("s3cret"));
    assert_eq!(env.json(&["diff", "a", "a"])["warnings"], Value::Null);

    env.write_spec("a", &spec_with_node(&env));
    let edited = env.comfyctl(&["diff", "a", "b"]);
    assert!(edited.stderr.starts_with("warning: the spec of `a` was edited"), "{}", edited.stderr);
}

fn spec_with_node(env: &TestEnv) -> Value {
    let mut spec = env.spec();
    spec["custom_nodes"] = json!([{ "repo": env.node("kit", &[]).url() }]);
    spec
}

#[test]
fn what_cannot_be_compared_is_named_with_the_remedy() {
    let env = machine();
    env.write_spec("a", &env.spec());
    let error = env.error(&["diff", "a", "a"], 4);
    assert_eq!(
        (&error["message"], &error["hint"]),
        (&json!("`a` has no lock yet"), &json!("`comfyctl resolve a` pins it"))
    );
    assert_eq!(env.error(&["diff", "a"], 4)["message"], "`a` has no previous generation");
    env.json(&["realize", "a"]);
    assert_eq!(env.error(&["diff", "a"], 4)["message"], "`a` has no previous generation");
    assert_eq!(env.error(&["diff", "a@zz"], 4)["message"], "`a` has no generation `zz`");
    assert_eq!(env.error(&["diff", "a@"], 2)["kind"], "usage");
    assert_eq!(env.error(&["diff", "none"], 4)["kind"], "not_found");
}

#[test]
fn a_host_that_tells_no_history_costs_the_count_alone() {
    let env = machine();
    env.write_spec("v", &env.spec());
    env.json(&["realize", "v"]);
    env.comfy.commit(&[("new.txt", "1")]);
    env.json(&["realize", "v", "--update"]);
    let requests = env.git.requests().len();
    let offline = env.json(&["diff", "v", "--offline"]);
    assert_eq!((&offline["repositories"][0]["commits"], &offline["warnings"]), (&Value::Null, &Value::Null));
    assert_eq!(env.git.requests().len(), requests, "nobody was asked");
    env.comfy.git(&["config", "uploadpack.allowFilter", "false"]);
    let diff = env.json(&["diff", "v"]);
    assert_eq!(diff["repositories"][0]["commits"], Value::Null);
    let warning = diff["warnings"][0].as_str().unwrap();
    assert!(warning.starts_with("how many commits lie between is not known for `ComfyUI`: "), "{warning}");
}
