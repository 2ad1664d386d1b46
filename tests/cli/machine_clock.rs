//! A time of day that jumps: nothing is taken for dead, old or late by that.

use crate::client::machine;
use serde_json::{Value, json};
use std::fs;
use support::TestEnv;
use support::clock::Clock;
use support::env::Ended;
use support::file_server::Fault;
use support::pod::Pod;
use support::process::eventually;
use support::raw::get;

const HOUR: i64 = 3600;

const BIG: usize = 12 << 20;

/// Writes a spec whose one model takes seconds to come.
pub(crate) fn slow_to_realize(env: &TestEnv, id: &str) {
    env.files.put("/big.bin", vec![7; BIG]);
    env.files.always("/big.bin", Fault::Trickle(1 << 20));
    let mut spec = env.spec();
    spec["models"] = json!([{ "source": env.files.url("/big.bin"), "target_subdir": "loras" }]);
    env.write_spec(id, &spec);
}

pub(crate) fn succeeded(client: std::process::Child) -> Value {
    let ended: Ended = client.wait_with_output().unwrap().into();
    assert_eq!(ended.status, Some(0), "{}{}", ended.stdout, ended.stderr);
    ended.json()
}

/// Starts a workflow that takes five seconds, and waits until it runs.
pub(crate) fn running(env: &TestEnv, version: &str) -> std::process::Child {
    let instance = env.json(&["ui", version, "--detach"])["instance"].take();
    let image = json!({ "width": 8, "height": 8, "batch_size": 1, "color": 255 });
    let graph = json!({
        "1": { "class_type": "EmptyImage", "inputs": image },
        "2": { "class_type": "FakeSlow", "inputs": { "image": ["1", 0], "steps": 250, "ms": 20 } },
        "4": { "class_type": "SaveImage", "inputs": { "images": ["2", 0], "filename_prefix": "made" } },
    });
    let path = env.path("slow.json");
    fs::write(&path, graph.to_string()).unwrap();
    let run = ["run", "--version-id", version, "--workflow", path.to_str().unwrap(), "--json"];
    let client = env.spawn(&run);
    let queue = format!("{}/queue", instance["url"].as_str().unwrap());
    eventually("the workflow runs", || {
        serde_json::from_slice::<Value>(&get(&queue, "").1).unwrap()["queue_running"] != json!([])
    });
    client
}

#[test]
fn a_time_of_day_that_jumps_by_hours_both_ways_ends_nothing() {
    let mut env = machine();
    let clock = Clock::of(&mut env);
    slow_to_realize(&env, "v");
    slow_to_realize(&env, "w");
    env.write_spec("runs", &env.spec());
    let workflow = running(&env, "runs");
    let pod = Pod::start(&env, "pod");
    let first = env.spawn(&["realize", "v", "--json"]);
    eventually("the model is on its way", || env.files.sent("/big.bin") > 1 << 20);
    let second = pod.spawn(&["realize", "w", "--json"]);
    for jump in [25 * HOUR, -30 * HOUR, 0, 200 * HOUR] {
        clock.set_time_of_day(jump);
        let sent = env.files.sent("/big.bin");
        // Time for whatever looks at clocks to do so.
        eventually("more of the model has come", || {
            env.files.sent("/big.bin") > sent + (1 << 20) || env.files.sent("/big.bin") >= BIG as u64
        });
    }
    assert_eq!(succeeded(first)["outcome"], "realized");
    assert_eq!(succeeded(second)["outcome"], "realized");
    let sent = env.files.sent("/big.bin");
    assert!(sent < BIG as u64 * 5 / 4, "one of them fetched it, {sent} bytes");
    let answer = succeeded(workflow);
    assert_eq!((&answer["how"], &answer["recoveries"]), (&json!("running"), &json!([])), "{answer}");
}
