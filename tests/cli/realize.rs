//! `realize`: specs of every age, and what is refused.

use crate::client::{machine, python};
use serde_json::json;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use support::Wheel;
use support::env::UPLOADED;
use support::file_server::safetensors;
use support::unfolded;

#[test]
fn a_spec_with_all_the_old_fields_works() {
    let mut env = machine();
    let hub = env.files.url("");
    env.set("HF_ENDPOINT", &hub);
    env.set("CIVITAI_ENDPOINT", &hub);
    env.files.put("/o/r/resolve/main/x.safetensors", safetensors("x"));
    env.files.put("/api/download/models/7", safetensors("seven"));
    env.index.add(&Wheel::new("extra", "2.0"), UPLOADED);
    let (kj, other) = (env.node("kj", &[]), env.node("other", &[("requirements.txt", "no-such-package\n")]));
    env.write_spec(
        "old",
        &json!({
            "schema_version": 2,
            "version_id": "older",
            "comfy": { "repo": env.comfy.url(), "ref": "master", "commit": "main" },
            "custom_nodes": [
                { "name": "kj", "repo": kj.url(), "commit": "main", "install_requirements": true,
                  "target_dir": "$COMFY_HOME/ComfyUI/custom_nodes/kj" },
                { "repo": other.url(), "target_dir": "$COMFY_HOME/custom_nodes/second", "install_requirements": false },
            ],
            "models": [
                { "name": "one", "source": "hf://o/r@main/x.safetensors", "target_path": "$MODELS_DIR/unet/x.safetensors" },
                { "name": "two", "source": "hf://o/r/x.safetensors", "target_path": "$MODELS_DIR/loras/x.safetensors" },
                { "source": "civitai://models/7", "target_subdir": "loras", "name": "seven.safetensors" },
            ],
            "python_packages": ["extra<3"],
            "env": { "COMFY_PYTHON": "python3", "OMP_NUM_THREADS": 8 },
            "options": { "offline": false, "skip_models": false },
        }),
    );
    let answer = env.json(&["realize", "old"]);
    assert_eq!(answer["version_id"], "old");
    let warnings = answer["warnings"].to_string();
    assert!(warnings.contains("version_id") && warnings.contains("custom_nodes[0].commit"), "{warnings}");
    assert!(env.home("old").join("ComfyUI/custom_nodes/second/__init__.py").is_file());
    let inode = |name: &str| fs::metadata(env.volume("models").join(name)).unwrap().ino();
    assert_eq!(inode("unet/x.safetensors"), inode("loras/x.safetensors"), "one file, two names");
    assert!(env.volume("models/loras/seven.safetensors").is_file());
    assert_eq!(python(&env.home("old"), "import extra; print(extra.version)"), "2.0\n");
}

#[test]
fn all_errors_of_a_spec_come_at_once_each_with_its_place() {
    let env = machine();
    let text = "{\n  \"schema_version\": 2,\n  \"comfy\": {\"repo\": \"\"},\n  \"optoins\": {},\n  \
                \"models\": [{}]\n}\n";
    let path = env.volume("versions/bad.json");
    fs::write(&path, text).unwrap();
    let ended = env.comfyctl(&["realize", "bad"]);
    assert_eq!(ended.status, Some(3));
    for place in ["3:", "4:3: optoins", "5:14: models[0]"] {
        let place = format!("{}:{place}", path.display());
        assert!(ended.stderr.contains(&place), "{place} in\n{}", ended.stderr);
    }
    assert!(unfolded(&ended.stderr).contains("did you mean `options`?"), "{}", ended.stderr);
    let error = env.error(&["realize", "bad"], 3);
    assert!(error["diagnostics"].as_array().unwrap().len() >= 3, "{error}");
}

#[test]
fn what_fails_leaves_the_home_as_it_was() {
    let env = machine();
    env.write_spec("v", &env.spec());
    let first = env.json(&["realize", "v"]);
    let mut spec = env.spec();
    let node = env.node("bad", &[("install.py", "raise SystemExit('needs a compiler')\n")]);
    spec["custom_nodes"] = json!([{ "repo": node.url() }]);
    env.write_spec("v", &spec);
    let error = env.error(&["realize", "v"], 11);
    assert!(error.to_string().contains("needs a compiler"), "{error}");
    spec["custom_nodes"] = json!([]);
    spec["models"] = json!([{ "source": env.files.url("/gone.safetensors"), "target_subdir": "loras" }]);
    env.write_spec("v", &spec);
    let error = env.error(&["realize", "v"], 4);
    let message = error["message"].as_str().unwrap();
    assert!(message.starts_with("the model `loras/gone.safetensors` cannot be fetched: "), "{message}");
    let current = fs::read_link(env.home("v").join("current")).unwrap();
    assert!(current.ends_with(first["generation"].as_str().unwrap()));
    env.write_spec("v", &env.spec());
    assert_eq!(env.json(&["realize", "v"])["outcome"], "ready");
}

#[test]
fn models_are_left_alone_where_the_spec_says_so() {
    let env = machine();
    let mut spec = env.spec();
    spec["models"] = json!([{ "source": env.model("/a.safetensors"), "target_subdir": "loras" }]);
    spec["options"] = json!({ "skip_models": true });
    env.write_spec("v", &spec);
    assert_eq!(env.json(&["realize", "v", "--dry-run"])["models"][0]["action"]["kind"], "skipped");
    env.json(&["realize", "v"]);
    assert!(env.files.seen().is_empty());
    assert_eq!(env.json(&["realize", "v"])["outcome"], "ready");
}

#[test]
fn a_version_that_is_not_there_is_told_with_the_places_that_were_searched() {
    let env = machine();
    let error = env.error(&["realize", "nothing"], 4);
    let hint = error["hint"].as_str().unwrap();
    assert!(hint.contains(env.volume("versions/nothing.json").to_str().unwrap()), "{hint}");
    assert!(hint.contains(env.path("home/versions/nothing.json").to_str().unwrap()), "{hint}");
}

#[test]
fn a_spec_is_found_by_its_path_and_in_the_directory_of_the_client() {
    let env = machine();
    fs::create_dir_all(env.path("home/versions")).unwrap();
    fs::write(env.path("home/versions/mine.json"), env.spec().to_string()).unwrap();
    assert_eq!(env.json(&["resolve", "mine"])["lock"]["version_id"], "mine");
    let lock = env.json(&["resolve", "versions/mine.json"]);
    assert_eq!(lock["changes"], json!([]));
    assert_eq!(lock["path"], env.lock_path("mine").display().to_string());
}

#[test]
fn nodes_that_contradict_each_other_are_named_with_their_files_and_lines() {
    let env = machine();
    for version in ["1.0", "2.0"] {
        env.index.add(&Wheel::new("lib", version), UPLOADED);
    }
    let old = env.node("wants-old", &[("requirements.txt", "tiny\nlib<2\n")]);
    let new = env.node("wants-new", &[("requirements.txt", "# new\n\nlib>=2\n")]);
    let mut spec = env.spec();
    spec["custom_nodes"] = json!([{ "repo": old.url() }, { "repo": new.url() }]);
    env.write_spec("torn", &spec);
    let error = env.error(&["realize", "torn"], 5);
    let text = error.to_string();
    for place in ["wants-old requirements.txt:2", "wants-new requirements.txt:3"] {
        assert!(text.contains(place), "{place} in {text}");
    }
    spec["options"] = json!({ "conflicts": "warn" });
    env.write_spec("torn", &spec);
    let answer = env.json(&["realize", "torn"]);
    let warnings = answer["warnings"].to_string();
    assert!(warnings.contains("wants-new requirements.txt:3"), "{warnings}");
    assert_eq!(python(&env.home("torn"), "import lib; print(lib.version)"), "1.0\n");
}
