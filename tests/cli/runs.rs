//! A version that runs: workflows, tests, the UI, and how it ends.

use crate::client::machine;
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use support::TestEnv;
use support::bucket::{ACCESS_KEY, Bucket};

fn version() -> TestEnv {
    let env = machine();
    env.write_spec("v", &env.spec());
    env
}

fn workflow(env: &TestEnv, name: &str, graph: &Value) -> String {
    let path = env.path(name);
    fs::write(&path, graph.to_string()).unwrap();
    path.display().to_string()
}

fn image(env: &TestEnv) -> String {
    let image = json!({ "width": 8, "height": 8, "batch_size": 1, "color": 255 });
    let graph = json!({
        "1": { "class_type": "EmptyImage", "inputs": image },
        "2": { "class_type": "SaveImage", "inputs": { "images": ["1", 0], "filename_prefix": "made" } },
    });
    workflow(env, "image.json", &graph)
}

fn environ(pid: u64) -> Vec<String> {
    let bytes = fs::read(format!("/proc/{pid}/environ")).unwrap();
    bytes.split(|byte| *byte == 0).map(|var| String::from_utf8_lossy(var).into_owned()).collect()
}

fn ui(env: &TestEnv) -> Value {
    env.json(&["ui", "v", "--detach"])["instance"].take()
}

#[test]
fn a_workflow_is_run_from_nothing_and_its_outputs_are_collected_each_time() {
    let env = version();
    let (graph, out) = (image(&env), env.path("out").display().to_string());
    let run = ["run", "--version-id", "v", "--workflow", &graph, "--output", &out];
    let first = env.json(&run);
    assert_eq!(first["cold"], true);
    let file = &first["outputs"][0]["file"];
    let bytes = fs::read(file["path"].as_str().unwrap()).unwrap();
    assert!(bytes.starts_with(b"\x89PNG") && file["bytes"] == bytes.len(), "{first}");
    assert!(file["path"].as_str().unwrap().starts_with(&out), "{first}");
    let second = env.comfyctl(&[&["handler"], &run[..]].concat());
    assert_eq!(second.status, Some(0), "{}", second.stderr);
    let path = PathBuf::from(second.stdout.trim());
    assert_eq!(fs::read(&path).unwrap(), bytes, "a cached output is collected as well");
}

#[test]
fn inputs_are_given_under_the_names_that_the_workflow_uses() {
    let env = version();
    let graph = json!({
        "1": { "class_type": "LoadImage", "inputs": { "image": "pic.png" } },
        "2": { "class_type": "SaveImage", "inputs": { "images": ["1", 0], "filename_prefix": "made" } },
    });
    let graph = workflow(&env, "load.json", &graph);
    fs::write(env.path("home/some.png"), "picture").unwrap();
    env.files.put("/pic.png", "picture");
    let link = format!("pic.png={}", env.files.url("/pic.png"));
    for input in ["pic.png=some.png", &link] {
        let answer = env.json(&["run", "--version-id", "v", "--workflow", &graph, "--input", input]);
        assert_eq!(answer["outputs"].as_array().unwrap().len(), 1);
        assert_eq!(fs::read_dir(env.home("v").join("input")).unwrap().count(), 0, "for this job alone");
    }
}

#[test]
fn a_workflow_by_link_is_one_job_for_one_name_and_its_outputs_go_into_a_bucket() {
    let mut env = version();
    let bucket = Bucket::start();
    env.set("AWS_ENDPOINT_URL", &bucket.endpoint());
    env.set("AWS_ACCESS_KEY_ID", ACCESS_KEY);
    env.set("AWS_SECRET_ACCESS_KEY", "s3cr3t");
    let text = fs::read_to_string(image(&env)).unwrap();
    env.files.put("/wf.json", text.into_bytes());
    let link = env.files.url("/wf.json");
    let run =
        ["run", "--version-id", "v", "--workflow", &link, "--job-id", "one", "--upload", "s3://made/here"];
    let (first, second) = (env.json(&run), env.json(&run));
    assert_eq!((&first["job_id"], &first["prompt_id"]), (&json!("one"), &second["prompt_id"]));
    let url = second["outputs"][0]["file"]["url"].as_str().unwrap();
    assert!(url.contains("/made/here/one/") && url.contains("X-Amz-Signature="), "{url}");
    assert_eq!(bucket.puts().len(), 2);
    let other = workflow(&env, "other.json", &json!({ "1": { "class_type": "FakeFail", "inputs": {} } }));
    env.error(&["run", "--version-id", "v", "--workflow", &other, "--job-id", "one"], 5);
    assert!(!env.log().contains("s3cr3t") && !env.log().contains("X-Amz-Signature"));
}

#[test]
fn a_node_that_fails_is_told_in_comfyuis_words() {
    let env = version();
    let graph = json!({
        "1": { "class_type": "FakeFail", "inputs": {} },
        "2": { "class_type": "SaveImage", "inputs": { "images": ["1", 0] } },
    });
    let graph = workflow(&env, "fail.json", &graph);
    let error = env.error(&["run", "--version-id", "v", "--workflow", &graph], 14);
    assert!(error.to_string().contains("this node always fails"), "{error}");
    let refused = workflow(&env, "no.json", &json!({ "1": { "class_type": "NoSuchNode", "inputs": {} } }));
    let error = env.error(&["run", "--version-id", "v", "--workflow", &refused], 13);
    assert!(error.to_string().contains("NoSuchNode"), "{error}");
}

#[test]
fn a_workflow_in_the_editors_format_is_refused_before_anything_starts() {
    let env = version();
    let graph = workflow(&env, "ui.json", &json!({ "nodes": [], "links": [], "version": 0.4 }));
    let error = env.error(&["run", "--version-id", "v", "--workflow", &graph], 13);
    assert!(error["hint"].as_str().unwrap().contains("API"), "{error}");
    assert!(!env.home("v").exists());
}

#[test]
fn a_version_passes_its_test_unless_a_custom_node_is_broken() {
    let env = version();
    let (good, bad) = (env.node("good", &[]), env.node("bad", &[("__init__.py", "import no_such_module\n")]));
    let mut spec = env.spec();
    spec["models"] = json!([{ "source": env.model("/a.safetensors"), "target_subdir": "loras" }]);
    spec["custom_nodes"] = json!([{ "repo": good.url() }]);
    env.write_spec("v", &spec);
    let report = env.json(&["version", "test", "v"]);
    assert_eq!(report["passed"], true, "{report}");
    spec["custom_nodes"] = json!([{ "repo": good.url() }, { "repo": bad.url() }]);
    env.write_spec("v", &spec);
    let ended = env.comfyctl(&["test", "v"]);
    assert_eq!(ended.status, Some(1), "{}", ended.stderr);
    assert!(ended.stdout.contains("custom node bad: No module named 'no_such_module'"), "{}", ended.stdout);
}

#[test]
fn a_comfyui_that_dies_is_told_with_the_end_of_its_log() {
    let env = version();
    let mut spec = env.spec();
    spec["env"] = json!({ "FAKE_COMFYUI": "die_starting" });
    env.write_spec("v", &spec);
    let error = env.error(&["ui", "v", "--detach"], 12);
    assert!(error["details"].to_string().contains("No module named 'requests'"), "{error}");
    assert!(error["hint"].as_str().unwrap().contains("python_packages"), "{error}");
}

#[test]
fn a_person_starts_it_looks_at_it_and_stops_it() {
    let env = version();
    let instance = ui(&env);
    assert_eq!(instance["state"]["kind"], "ready");
    assert!(env.json(&["logs", "v"])["text"].as_str().unwrap().contains("Starting server"));
    assert_eq!(env.json(&["status"])["instances"][0]["url"], instance["url"]);
    assert_eq!(env.json(&["list"])["versions"][0]["state"], "running");
    let shown = env.json(&["show", "v"]);
    assert_eq!((&shown["state"], &shown["lacks"]), (&json!("running"), &json!([])));
    assert_eq!(env.json(&["stop", "v"])["stopped"], true);
    assert_eq!(env.json(&["stop", "v"])["stopped"], false);
    assert_eq!(env.json(&["list"])["versions"][0]["state"], "realized");
}

#[test]
fn the_specs_environment_reaches_comfyui_and_a_change_of_it_the_next_run() {
    let env = version();
    let with = |env_value: &str, extra: &Value| {
        let mut spec = env.spec();
        spec["env"] = json!({ "MINE": env_value, "CACHE": "$COMFY_HOME/cache" });
        spec["options"] = json!({ "extra_args": extra });
        env.write_spec("v", &spec);
        let instance = ui(&env);
        (instance["state"]["pid"].as_u64().unwrap(), instance["generation"].clone())
    };
    let (first, generation) = with("one", &json!([]));
    let vars = environ(first);
    assert!(vars.contains(&"MINE=one".to_owned()), "{vars:?}");
    assert!(vars.contains(&format!("CACHE={}/cache", env.home("v").display())), "{vars:?}");
    assert_eq!(with("one", &json!([])).0, first, "nothing changed");
    let (second, same) = with("two", &json!([]));
    assert_eq!(same, generation);
    assert!(environ(second).contains(&"MINE=two".to_owned()));
    let (third, _) = with("two", &json!(["--cpu"]));
    assert_ne!(third, second);
    let command = fs::read_to_string(format!("/proc/{third}/cmdline")).unwrap();
    assert!(command.contains("--cpu"), "{command}");
}

#[test]
fn a_running_version_keeps_its_generation_until_the_next_run() {
    let env = version();
    let first = ui(&env);
    for count in 0..2 {
        env.comfy.commit(&[("new.txt", &count.to_string())]);
        env.json(&["realize", "v", "--update"]);
    }
    let old = env.home("v").join("generations").join(first["generation"].as_str().unwrap());
    assert!(old.join("ComfyUI/main.py").is_file(), "someone runs it");
    let second = ui(&env);
    assert_ne!(second["generation"], first["generation"]);
}

#[test]
fn after_a_shutdown_nothing_is_left() {
    let env = version();
    ui(&env);
    assert!(env.processes().len() >= 2);
    let ended = env.comfyctl(&["shutdown"]);
    assert_eq!(ended.status, Some(0), "{}", ended.stderr);
    assert_eq!(env.processes(), [0_u32; 0]);
    assert!(!env.socket().exists());
}
