//! A daemon that is killed while a workflow runs loses no job, and runs none twice.

use crate::adoption::crash;
use crate::client::machine;
use serde_json::{Value, json};
use std::fs;
use support::TestEnv;
use support::process::eventually;
use support::raw::get;

/// A workflow of `steps` × 20 ms, as a file.
fn slow(env: &TestEnv, steps: u32) -> String {
    let image = json!({ "width": 8, "height": 8, "batch_size": 1, "color": 255 });
    let graph = json!({
        "1": { "class_type": "EmptyImage", "inputs": image },
        "2": { "class_type": "FakeSlow", "inputs": { "image": ["1", 0], "steps": steps, "ms": 20 } },
        "3": { "class_type": "LoadImage", "inputs": { "image": "pic.png" } },
        "4": { "class_type": "SaveImage", "inputs": { "images": ["2", 0], "filename_prefix": "made" } },
        "5": { "class_type": "PreviewImage", "inputs": { "images": ["3", 0] } },
    });
    let path = env.path("slow.json");
    fs::write(&path, graph.to_string()).unwrap();
    path.display().to_string()
}

#[test]
fn a_job_of_a_killed_daemon_is_had_from_the_next_one() {
    let env = machine();
    env.write_spec("v", &env.spec());
    let instance = env.json(&["ui", "v", "--detach"])["instance"].take();
    let queue = format!("{}/queue", instance["url"].as_str().unwrap());
    let graph = slow(&env, 250);
    fs::write(env.path("home/pic.png"), "picture").unwrap();
    let run =
        ["run", "--version-id", "v", "--workflow", &graph, "--input", "pic.png=pic.png", "--job-id", "j"];
    let client = env.spawn(&run);
    let running = || serde_json::from_slice::<Value>(&get(&queue, "").1).unwrap()["queue_running"].take();
    eventually("the workflow runs", || running() != json!([]));
    let prompt = running()[0][1].take();
    crash(&env);
    assert!(!client.wait_with_output().unwrap().status.success());
    assert_eq!(running()[0][1], prompt, "ComfyUI goes on with it");

    let answer = env.json(&run);
    assert_eq!((&answer["prompt_id"], &answer["cold"]), (&prompt, &json!(false)));
    assert_eq!(answer["outputs"].as_array().unwrap().len(), 2);
    assert_eq!(env.json(&["status"])["instances"][0]["adopted"], true);
    assert_eq!(fs::read_dir(env.home("v").join("output")).unwrap().count(), 1, "it ran once");
    assert_eq!(fs::read_dir(env.home("v").join("input")).unwrap().count(), 0, "inputs are removed");

    // Asked for once more, after another crash: it is known from its record.
    crash(&env);
    assert_eq!(env.json(&run)["prompt_id"], prompt);
}
