//! A home that lost something gets it back, and nothing else is touched.

use crate::client::{machine, python};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use support::TestEnv;

fn realized() -> (TestEnv, Value) {
    let env = machine();
    let mut spec = env.spec();
    spec["custom_nodes"] = json!([{ "repo": env.node("kj", &[]).url() }]);
    spec["models"] = json!([{ "source": env.model("/a.safetensors"), "target_subdir": "loras" }]);
    env.write_spec("v", &spec);
    let answer = env.json(&["realize", "v"]);
    (env, answer)
}

/// Realizes again; it must be ready after that, in the same generation.
fn repaired(env: &TestEnv, first: &Value, outcome: &str) {
    let again = env.json(&["realize", "v"]);
    assert_eq!((&again["outcome"], &again["generation"]), (&json!(outcome), &first["generation"]));
    assert_eq!(env.json(&["realize", "v"])["outcome"], "ready");
}

#[test]
fn what_was_deleted_comes_back() {
    let (env, first) = realized();
    let (home, index) = (env.home("v"), env.index.requests());
    let commit = env.lock("v")["custom_nodes"][0]["commit"].as_str().unwrap().to_owned();
    let checkout = env.volume(format!("custom_nodes/workspace/kj@{commit}"));
    fs::remove_dir_all(&checkout).unwrap();
    fs::remove_file(env.volume("models/loras/a.safetensors")).unwrap();
    fs::remove_file(home.join("current/ComfyUI/custom_nodes/kj")).unwrap();
    fs::remove_file(home.join(".venv")).unwrap();
    repaired(&env, &first, "repaired");
    assert!(checkout.join("__init__.py").is_file());
    assert!(env.volume("models/loras/a.safetensors").is_file());
    assert!(home.join("ComfyUI/custom_nodes/kj/__init__.py").is_file());
    assert!(home.join(".venv/bin/python").exists());
    assert_eq!(env.index.requests(), index, "the packages were left alone");
}

#[test]
fn an_environment_whose_python_is_elsewhere_is_led_to_the_one_here() {
    let (env, first) = realized();
    let link = env.home("v").join("current/.venv/bin/python");
    fs::remove_file(&link).unwrap();
    symlink("/another/machine/python3", &link).unwrap();
    repaired(&env, &first, "repaired");
    assert_eq!(python(&env.home("v"), "import tiny; print(tiny.version)"), "1.0\n");
}

#[test]
fn a_generation_without_a_whole_record_is_built_anew() {
    let (env, first) = realized();
    let record = env.home("v").join("current/realization.json");
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, &text[..text.len() / 2]).unwrap();
    repaired(&env, &first, "realized");
    let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let (mut before, mut after) = (read(&text), read(&fs::read_to_string(&record).unwrap()));
    assert_ne!(before["realized_at"].take(), after["realized_at"].take());
    assert_eq!(before, after);
}

#[test]
fn a_lock_that_is_damaged_or_lost_is_taken_from_the_home() {
    let (env, first) = realized();
    let (path, whole) = (env.lock_path("v"), env.lock("v"));
    let damages: [&dyn Fn(&Path); 2] =
        [&|path| fs::write(path, "{\"schema_version\": 1, \"ver").unwrap(), &|path| {
            fs::remove_file(path).unwrap();
        }];
    for damage in damages {
        damage(&path);
        let requests = env.requests();
        let again = env.json(&["realize", "v"]);
        assert_eq!(again["generation"], first["generation"]);
        assert_eq!(env.requests(), requests);
        assert_eq!(env.lock("v"), whole, "the lock stands at its place again");
    }
}

#[test]
fn a_link_that_leads_elsewhere_is_put_right() {
    let (env, first) = realized();
    let link = env.home("v").join("current/ComfyUI/models");
    fs::remove_file(&link).unwrap();
    symlink("/elsewhere", &link).unwrap();
    repaired(&env, &first, "repaired");
    assert_eq!(fs::read_link(&link).unwrap(), Path::new("../../../../models"));
}

#[test]
fn packages_that_uv_keeps_in_pieces_are_fetched_anew() {
    let (env, first) = realized();
    fs::remove_dir_all(env.home("v")).unwrap();
    let archives = env.volume(".comfy-cache/uv/archive-v0");
    let packages = fs::read_dir(archives).unwrap().map(|entry| entry.unwrap().path());
    let halve = |path: &Path| fs::File::options().write(true).open(path).unwrap().set_len(3).unwrap();
    for package in packages.filter(|package| package.join("tiny").is_dir()) {
        halve(&package.join("tiny/__init__.py"));
        halve(&package.join("tiny-1.0.dist-info/RECORD"));
    }
    repaired(&env, &first, "realized");
    assert_eq!(python(&env.home("v"), "import tiny; print(tiny.version)"), "1.0\n");
}
