//! Where things lie: the home's shape, other places for it, a volume that is mounted elsewhere.

use crate::client::{machine, python};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use support::TestEnv;

fn link(path: impl AsRef<Path>) -> PathBuf {
    fs::read_link(path.as_ref()).unwrap_or_else(|error| panic!("{}: {error}", path.as_ref().display()))
}

/// A version with a custom node and a model.
fn full(env: &TestEnv, id: &str) -> Value {
    let node = env.node("kj", &[]);
    let mut spec = env.spec();
    spec["custom_nodes"] = json!([{ "repo": node.url() }]);
    spec["models"] = json!([{ "source": env.model("/a.safetensors"), "target_subdir": "loras" }]);
    env.write_spec(id, &spec);
    env.json(&["realize", id])
}

#[test]
fn a_home_is_generations_and_relative_links() {
    let env = machine();
    let answer = full(&env, "wan");
    let (home, generation) = (env.home("wan"), answer["generation"].as_str().unwrap());
    assert_eq!(answer["home"], home.display().to_string());
    assert_eq!(answer["outcome"], "realized");
    assert_eq!(link(home.join("ComfyUI")), Path::new("current/ComfyUI"));
    assert_eq!(link(home.join(".venv")), Path::new("current/.venv"));
    assert_eq!(link(home.join("current")), Path::new("generations").join(generation));
    for file in ["ComfyUI/main.py", ".venv/pyvenv.cfg", "realization.json", "extra_model_paths.yaml"] {
        assert!(home.join("current").join(file).is_file(), "{file}");
    }
    let commit = env.lock("wan")["custom_nodes"][0]["commit"].as_str().unwrap().to_owned();
    let to_node = link(home.join("ComfyUI/custom_nodes/kj"));
    assert_eq!(to_node, Path::new("../../../../../custom_nodes/workspace").join(format!("kj@{commit}")));
    assert!(home.join("ComfyUI/custom_nodes/kj/__init__.py").is_file());
    assert_eq!(link(home.join("ComfyUI/models")), Path::new("../../../../models"));
    assert!(env.volume("models/loras/a.safetensors").is_file());
}

#[test]
fn a_ready_version_needs_no_host_and_its_lock_names_no_path() {
    let env = machine();
    full(&env, "wan");
    let before = env.requests();
    assert_eq!(env.json(&["realize", "wan"])["outcome"], "ready");
    assert_eq!(env.requests(), before);
    let lock = fs::read_to_string(env.lock_path("wan")).unwrap();
    assert!(!lock.contains(env.path("").to_str().unwrap()) && !lock.contains("/simple"), "{lock}");
}

#[test]
fn a_volume_under_another_name_is_as_good() {
    let mut env = machine();
    full(&env, "wan");
    env.comfyctl(&["shutdown"]);
    env.rename("vol", "pod");
    // A worker has an empty cache of its own.
    fs::remove_dir_all(env.path("home/.comfy-cache")).unwrap();
    let volume = env.path("pod").display().to_string();
    env.set("COMFY_VOLUME", &volume);
    let before = env.requests();
    assert_eq!(env.json(&["realize", "wan"])["outcome"], "ready");
    assert_eq!(env.requests(), before);
    let home = env.path("pod/comfy-wan");
    assert!(home.join("ComfyUI/models/loras/a.safetensors").is_file());
    assert!(home.join("ComfyUI/custom_nodes/kj/__init__.py").is_file());
    assert_eq!(python(&home, "import tiny; print(tiny.version)"), "1.0\n");
}

#[test]
fn comfy_home_is_the_home_of_one_version_unless_it_holds_the_id() {
    let mut env = machine();
    for id in ["one", "two"] {
        env.write_spec(id, &env.spec());
    }
    let place = env.path("place").display().to_string();
    env.set("COMFY_HOME", &place);
    assert_eq!(env.json(&["realize", "one"])["home"], place);
    let error = env.error(&["realize", "two"], 5);
    assert_eq!(error["message"], format!("`{place}` is the home of `one`, not of `two`"));
    assert!(error["hint"].as_str().unwrap().contains("{version_id}"), "{error}");
    env.set("COMFY_HOME", &format!("{place}-{{version_id}}"));
    assert_eq!(env.json(&["realize", "two"])["home"], format!("{place}-two"));
}

#[test]
fn a_client_that_means_other_places_or_tokens_is_told() {
    let mut env = machine();
    env.comfyctl(&["status"]);
    env.set("MODELS_DIR", "/elsewhere");
    env.set("CIVITAI_TOKEN", "c4n4ry");
    let told = env.comfyctl(&["list"]).stderr;
    assert!(told.contains("MODELS_DIR is `/elsewhere` here, but comfyd was started without it"), "{told}");
    assert!(told.contains("CIVITAI_TOKEN is set here, but comfyd was started without it"), "{told}");
    assert!(!told.contains("c4n4ry"), "{told}");
}

#[test]
fn a_relative_comfy_home_is_a_wrong_call() {
    let mut env = machine();
    env.write_spec("one", &env.spec());
    env.set("COMFY_HOME", "here");
    assert!(env.error(&["realize", "one"], 2)["message"].as_str().unwrap().contains("`here`"));
}
