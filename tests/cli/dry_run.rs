//! `--dry-run`: the plan that is then made true.

use crate::client::machine;
use serde_json::{Value, json};
use support::env::UPLOADED;
use support::file_server::safetensors;
use support::{TestEnv, Wheel};

/// A version with one of everything.
fn everything(env: &TestEnv) {
    env.index.add(&Wheel::new("extra", "2.0"), UPLOADED);
    let node = env.node("kj", &[("requirements.txt", "extra\n"), ("install.py", "print('hello')\n")]);
    let link = env.model("/a.safetensors");
    let mut spec = env.spec();
    spec["custom_nodes"] = json!([{ "repo": node.url() }]);
    spec["models"] = json!([
        { "source": link, "target_subdir": "loras" },
        { "source": link, "target_subdir": "loras", "name": "b.safetensors" },
    ]);
    env.write_spec("all", &spec);
}

#[test]
fn it_shows_every_kind_of_step_and_touches_nothing() {
    let env = machine();
    everything(&env);
    let plan = env.json(&["realize", "all", "--dry-run"]);
    assert_eq!(plan["ready"], false);
    let repositories = plan["repositories"].as_array().unwrap();
    let names: Vec<_> = repositories.iter().map(|step| &step["name"]).collect();
    assert_eq!(names, ["ComfyUI", "kj"]);
    assert!(repositories.iter().all(|step| step["commit"].as_str().unwrap().len() == 40));
    assert_eq!(plan["packages"]["action"], json!({ "kind": "install" }));
    assert_eq!((&plan["packages"]["count"], &plan["packages"]["unknown_sizes"]), (&json!(3), &json!(0)));
    assert!(plan["packages"]["download_bytes"].as_u64().unwrap() > 1000);
    assert_eq!(plan["install_scripts"], json!(["kj"]));
    assert_eq!(plan["models"][0]["action"], json!({ "kind": "download" }));
    assert_eq!(plan["models"][0]["size_bytes"], safetensors("/a.safetensors").len());
    assert_eq!(plan["models"][1]["action"], json!({ "kind": "link", "from": "loras/a.safetensors" }));
    let links = plan["links"].as_array().unwrap();
    assert!(links.iter().any(|step| step["link"] == "current" && step["present"] == false), "{plan}");
    assert!(links.iter().any(|step| step["link"].as_str().unwrap().ends_with("custom_nodes/kj")), "{plan}");
    let need = &plan["disk"][0];
    assert!(need["needed_bytes"].as_u64() < need["available_bytes"].as_u64(), "{plan}");
    for place in [env.home("all"), env.volume("models"), env.volume("custom_nodes"), env.lock_path("all")] {
        assert!(!place.exists(), "{}", place.display());
    }
}

#[test]
fn what_it_shows_is_what_is_done() {
    let env = machine();
    everything(&env);
    let plan = env.json(&["realize", "all", "--dry-run"]);
    let made = env.json(&["realize", "all"]);
    assert_eq!(made["generation"], plan["generation"]);
    let present = |link: &str| env.home("all").join(link).is_symlink();
    for step in plan["links"].as_array().unwrap() {
        assert!(present(step["link"].as_str().unwrap()), "{step}");
    }
    for step in plan["repositories"].as_array().unwrap() {
        assert!(std::path::Path::new(step["destination"].as_str().unwrap()).is_dir(), "{step}");
    }
    let after = env.json(&["realize", "all", "--dry-run"]);
    assert_eq!(after["ready"], true);
    let kinds = |steps: &Value| {
        let steps = steps.as_array().unwrap().iter();
        steps
            .map(|step| step["action"]["kind"].as_str().or(step["action"].as_str()).unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(kinds(&after["repositories"]), ["present", "present"]);
    assert_eq!(kinds(&after["models"]), ["present", "present"]);
    assert_eq!(after["packages"]["action"]["kind"], "present");
    assert_eq!(after["install_scripts"], json!([]));
}

#[test]
fn people_see_it_as_a_table() {
    let env = machine();
    everything(&env);
    let ended = env.comfyctl(&["version", "realize", "all", "--dry-run"]);
    assert_eq!(ended.status, Some(0), "{}", ended.stderr);
    for word in ["ComfyUI", "kj", "3 packages", "loras/b.safetensors", "install.py"] {
        assert!(ended.stdout.contains(word), "{word} in\n{}", ended.stdout);
    }
}
