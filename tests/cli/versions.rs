//! A version over time, and versions side by side.

use crate::client::machine;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use support::TestEnv;

fn generations(env: &TestEnv, id: &str) -> Vec<String> {
    let entries = fs::read_dir(env.home(id).join("generations")).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn sorted(names: &[&Value]) -> Vec<String> {
    let mut names: Vec<_> = names.iter().map(|name| name.as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

fn site_packages(env: &TestEnv, id: &str, file: &str) -> PathBuf {
    let lib = env.home(id).join("current/.venv/lib");
    let python = fs::read_dir(lib).unwrap().next().unwrap().unwrap().path();
    python.join("site-packages").join(file)
}

#[test]
fn a_new_model_is_added_to_the_generation_that_stands() {
    let env = machine();
    let mut spec = env.spec();
    spec["models"] = json!([{ "source": env.model("/a.safetensors"), "target_subdir": "loras" }]);
    env.write_spec("v", &spec);
    let first = env.json(&["realize", "v"]);
    let packages = env.index.requests();
    let (a, b) = (spec["models"][0].clone(), env.model("/b.safetensors"));
    spec["models"] = json!([a, { "source": b, "target_subdir": "loras" }]);
    env.write_spec("v", &spec);
    let second = env.json(&["realize", "v"]);
    assert_eq!(second["outcome"], "repaired");
    assert_eq!(second["generation"], first["generation"]);
    assert_eq!(env.index.requests(), packages, "the packages were left alone");
    assert!(env.volume("models/loras/b.safetensors").is_file());
    assert_eq!(env.json(&["realize", "v"])["outcome"], "ready");
}

#[test]
fn a_new_node_makes_a_new_generation_that_shares_the_packages() {
    let env = machine();
    let mut spec = env.spec();
    env.write_spec("v", &spec);
    let first = env.json(&["realize", "v"]);
    let inode = || fs::metadata(site_packages(&env, "v", "tiny/__init__.py")).unwrap().ino();
    let (before, downloads) = (inode(), env.index.requests());
    spec["custom_nodes"] = json!([{ "repo": env.node("kj", &[]).url() }]);
    env.write_spec("v", &spec);
    let plan = env.json(&["realize", "v", "--dry-run"]);
    assert_eq!(plan["packages"]["action"], json!({ "kind": "reuse", "generation": first["generation"] }));
    let second = env.json(&["realize", "v"]);
    assert_eq!(second["outcome"], "realized");
    assert_eq!((inode(), env.index.requests()), (before, downloads));
    assert_eq!(generations(&env, "v"), sorted(&[&first["generation"], &second["generation"]]));
}

#[test]
fn pins_hold_until_an_update_and_one_generation_is_kept_behind() {
    let env = machine();
    env.write_spec("v", &env.spec());
    let first = env.json(&["realize", "v"]);
    let pinned = env.lock("v")["comfy"]["commit"].clone();
    let moved = env.comfy.commit(&[("new.txt", "1")]);
    assert_eq!(env.json(&["realize", "v"])["outcome"], "ready");
    assert_eq!(env.lock("v")["comfy"]["commit"], pinned);
    let second = env.json(&["realize", "v", "--update"]);
    assert_eq!(second["outcome"], "realized");
    assert_eq!(env.lock("v")["comfy"]["commit"], moved);
    assert!(env.home("v").join("ComfyUI/new.txt").is_file());
    assert_eq!(generations(&env, "v"), sorted(&[&first["generation"], &second["generation"]]));
    env.comfy.commit(&[("new.txt", "2")]);
    let third = env.json(&["realize", "v", "--update"]);
    assert_eq!(generations(&env, "v"), sorted(&[&second["generation"], &third["generation"]]));
}

#[test]
fn what_the_spec_did_not_change_keeps_its_pin() {
    let env = machine();
    let kj = env.node("kj", &[]);
    let mut spec = env.spec();
    spec["custom_nodes"] = json!([{ "repo": kj.url(), "ref": "main" }]);
    env.write_spec("v", &spec);
    let pinned = env.json(&["resolve", "v"])["lock"]["custom_nodes"][0]["commit"].clone();
    let moved = kj.commit(&[("new.txt", "1")]);
    spec["python_packages"] = json!(["tiny==1.0"]);
    env.write_spec("v", &spec);
    assert_eq!(env.json(&["resolve", "v"])["lock"]["custom_nodes"][0]["commit"], pinned);
    let updated = env.json(&["resolve", "v", "--update"]);
    assert_eq!(updated["lock"]["custom_nodes"][0]["commit"], moved);
    let changes = updated["changes"].as_array().unwrap();
    assert!(changes.iter().any(|line| line.as_str().unwrap().starts_with("~ kj ")), "{changes:?}");
}

#[test]
fn a_spec_that_goes_back_takes_the_earlier_generation_up_again() {
    let env = machine();
    env.write_spec("v", &env.spec());
    let first = env.json(&["realize", "v"]);
    let mut spec = env.spec();
    spec["custom_nodes"] = json!([{ "repo": env.node("kj", &[]).url() }]);
    env.write_spec("v", &spec);
    let second = env.json(&["realize", "v"]);
    assert_ne!(second["generation"], first["generation"]);
    env.write_spec("v", &env.spec());
    let back = env.json(&["realize", "v"]);
    assert_eq!(back["generation"], first["generation"]);
    assert_eq!(back["outcome"], "realized", "another generation is current");
    let current = fs::read_link(env.home("v").join("current")).unwrap();
    assert!(current.ends_with(first["generation"].as_str().unwrap()));
}

#[test]
fn two_versions_have_two_commits_of_one_repository() {
    let env = machine();
    let kj = env.node("kj", &[("which", "old")]);
    let old = kj.head();
    let new = kj.commit(&[("which", "new")]);
    for (id, commit) in [("a", &old), ("b", &new)] {
        let mut spec = env.spec();
        spec["custom_nodes"] = json!([{ "repo": kj.url(), "commit": commit }]);
        env.write_spec(id, &spec);
        env.json(&["realize", id]);
    }
    let which = |id: &str| fs::read_to_string(env.home(id).join("ComfyUI/custom_nodes/kj/which")).unwrap();
    assert_eq!((which("a"), which("b")), ("old".to_owned(), "new".to_owned()));
}

#[test]
fn two_owners_repositories_of_one_name_do_not_collide() {
    let env = machine();
    let (alice, bob) = (env.node("alice/kj", &[("who", "alice")]), env.node("bob/kj", &[("who", "bob")]));
    let mut spec = env.spec();
    spec["custom_nodes"] = json!([{ "repo": alice.url() }, { "repo": bob.url(), "path": "kj-bob" }]);
    env.write_spec("v", &spec);
    env.json(&["realize", "v"]);
    for (dir, who) in [("kj", "alice"), ("kj-bob", "bob")] {
        let file = env.home("v").join("ComfyUI/custom_nodes").join(dir).join("who");
        assert_eq!(fs::read_to_string(file).unwrap(), who);
    }
}

#[test]
fn submodules_come_with_their_repository() {
    let env = machine();
    let inner = env.git.repository("inner");
    let commit = inner.commit(&[("lib.py", "x = 1\n")]);
    let kj = env.node("kj", &[]);
    kj.submodule("vendor/inner", "../inner.git", &commit);
    let mut spec = env.spec();
    spec["custom_nodes"] = json!([{ "repo": kj.url() }]);
    env.write_spec("v", &spec);
    env.json(&["realize", "v"]);
    assert!(env.home("v").join("ComfyUI/custom_nodes/kj/vendor/inner/lib.py").is_file());
}
