//! `rollback`: back to the generation before, and forward again.

use crate::client::machine;
use serde_json::{Value, json};
use std::fs;
use support::pod::Pod;
use support::{TestEnv, unfolded};

/// Realizes a version, then an update of it; returns both answers.
fn updated() -> (TestEnv, Value, Value) {
    let env = machine();
    let mut spec = env.spec();
    spec["models"] = json!([{ "source": env.model("/a.safetensors"), "target_subdir": "loras" }]);
    env.write_spec("v", &spec);
    let first = env.json(&["realize", "v"]);
    env.comfy.commit(&[("new.txt", "1")]);
    let second = env.json(&["realize", "v", "--update"]);
    assert_ne!(first["generation"], second["generation"]);
    (env, first, second)
}

fn linked(env: &TestEnv, name: &str) -> Value {
    let target = fs::read_link(env.home("v").join(name)).unwrap();
    json!(target.strip_prefix("generations").unwrap())
}

/// Realizes; it must be ready, in this generation.
fn ready(env: &TestEnv, generation: &Value) {
    let answer = env.json(&["realize", "v"]);
    assert_eq!((&answer["outcome"], &answer["generation"]), (&json!("ready"), generation));
}

#[test]
fn a_version_goes_back_stays_there_and_goes_forward_again() {
    let (env, first, second) = updated();
    let (old, new) = (&first["generation"], &second["generation"]);
    let requests = env.requests();
    let back = env.json(&["rollback", "v"]);
    assert_eq!((&back["generation"], &back["previous"], &back["forward"]), (old, new, &json!(false)));
    assert!(back["changes"][0].as_str().unwrap().starts_with("~ ComfyUI "), "{back}");
    assert_eq!((&linked(&env, "current"), &linked(&env, "previous")), (old, new));
    ready(&env, old);
    let shown = env.json(&["show", "v"]);
    assert_eq!(
        (&shown["lock"]["rolled_back_from"], &shown["previous"], &shown["lacks"]),
        (new, new, &json!([]))
    );
    assert!(env.comfyctl(&["show", "v"]).stdout.contains("rolled back from"));
    let forward = env.json(&["rollback", "v"]);
    assert_eq!((&forward["generation"], &forward["previous"], &forward["forward"]), (new, old, &json!(true)));
    assert_eq!(env.json(&["show", "v"])["lock"]["rolled_back_from"], Value::Null);
    ready(&env, new);
    assert_eq!(env.requests(), requests, "nothing was fetched");
    let people = env.comfyctl(&["rollback", "v"]);
    assert!(people.stdout.contains("v is rolled back to generation"), "{}", people.stdout);
}

#[test]
fn an_update_and_an_edit_of_the_spec_end_a_rollback() {
    let (env, first, second) = updated();
    env.json(&["rollback", "v"]);
    let updated = env.json(&["realize", "v", "--update"]);
    assert_eq!(updated["generation"], second["generation"]);
    env.json(&["rollback", "v"]);
    let mut spec = env.spec();
    spec["comfy"]["commit"] = json!(env.comfy.head());
    env.write_spec("v", &spec);
    assert_eq!(env.json(&["realize", "v"])["generation"], second["generation"]);
    assert_eq!(linked(&env, "previous"), first["generation"]);
}

#[test]
fn a_rollback_brings_the_models_of_its_time() {
    let env = machine();
    let mut spec = env.spec();
    let model = |path: &str| json!([{ "source": env.model(path), "target_path": "loras/x.safetensors" }]);
    spec["models"] = model("/old.safetensors");
    env.write_spec("v", &spec);
    env.json(&["realize", "v"]);
    let place = env.volume("models/loras/x.safetensors");
    let old = fs::read(&place).unwrap();
    spec["models"] = model("/new.safetensors");
    spec["custom_nodes"] = json!([{ "repo": env.node("kj", &[]).url() }]);
    env.write_spec("v", &spec);
    env.json(&["realize", "v"]);
    assert_ne!(fs::read(&place).unwrap(), old);
    env.json(&["rollback", "v"]);
    assert_eq!(env.json(&["realize", "v"])["outcome"], "repaired");
    assert_eq!(fs::read(&place).unwrap(), old, "from the link that the spec no longer has");
}

#[test]
fn what_cannot_be_gone_back_to_is_refused_and_changes_nothing() {
    let env = machine();
    env.write_spec("v", &env.spec());
    let error = env.error(&["rollback", "v"], 4);
    assert_eq!(error["message"], "`v` has no generation to go back to");
    let first = env.json(&["realize", "v"]);
    env.error(&["rollback", "v"], 4);
    env.comfy.commit(&[("new.txt", "1")]);
    let second = env.json(&["realize", "v", "--update"]);
    let before = env.home("v").join("generations").join(first["generation"].as_str().unwrap());
    fs::remove_file(before.join("realization.json")).unwrap();
    let lock = env.lock("v");
    let error = env.error(&["rollback", "v"], 4);
    assert!(error["message"].as_str().unwrap().contains("is not whole"), "{error}");
    assert!(error["hint"].is_string(), "{error}");
    assert_eq!((linked(&env, "current"), env.lock("v")), (second["generation"].clone(), lock));
    ready(&env, &second["generation"]);
}

#[test]
fn a_running_comfyui_keeps_its_generation_and_the_next_start_takes_the_other() {
    let (env, first, second) = updated();
    env.json(&["ui", "v", "--detach"]);
    let back = env.json(&["rollback", "v"]);
    assert_eq!(back["instance"]["generation"], second["generation"]);
    let people = env.comfyctl(&["status"]);
    assert!(!people.stdout.contains("rolled back"), "{}", people.stdout);
    let runs = |generation: &Value| {
        let instance = env.json(&["status"])["instances"][0].take();
        assert_eq!((&instance["generation"], &instance["state"]["kind"]), (generation, &json!("ready")));
        instance
    };
    runs(&second["generation"]);
    env.json(&["warm", "v"]);
    let instance = runs(&first["generation"]);
    assert_eq!(instance["rolled_back_from"], second["generation"]);
    let people = env.comfyctl(&["status"]);
    assert!(unfolded(&people.stdout).contains("rolled back from"), "{}", people.stdout);
}

#[test]
fn a_rollback_that_was_cut_short_is_the_old_state_or_ends_with_the_next_realize() {
    for (place, is_decided) in [
        ("rollback.copy", false),
        ("rollback.lock", false),
        ("current.previous", true),
        ("current.flip", true),
    ] {
        let (mut env, first, second) = updated();
        env.json(&["shutdown"]);
        env.set("FAILPOINTS", &format!("{place}=return(kill)"));
        let ended = env.comfyctl(&["rollback", "v"]);
        assert_eq!(ended.status, Some(17), "killed at {place}: {}", ended.stderr);
        env.unset("FAILPOINTS");
        assert_eq!(linked(&env, "current"), second["generation"], "{place}");
        let answer = env.json(&["realize", "v"]);
        let expected = if is_decided { &first["generation"] } else { &second["generation"] };
        assert_eq!(&answer["generation"], expected, "{place}");
        ready(&env, expected);
        assert_eq!(&linked(&env, "current"), expected);
        let other = if is_decided { &second["generation"] } else { &first["generation"] };
        assert_eq!(&linked(&env, "previous"), other, "{place}");
    }
}

#[test]
fn a_rollback_holds_on_other_machines_of_the_volume() {
    let (env, first, second) = updated();
    let pod = Pod::start(&env, "pod");
    let told = |answer: Value| answer["generation"].clone();
    assert_eq!(told(pod.json(&["realize", "v"])), second["generation"]);
    env.json(&["rollback", "v"]);
    assert_eq!(told(pod.json(&["realize", "v"])), first["generation"]);
    pod.json(&["rollback", "v"]);
    assert_eq!(told(env.json(&["realize", "v"])), second["generation"]);
    ready(&env, &second["generation"]);
}
