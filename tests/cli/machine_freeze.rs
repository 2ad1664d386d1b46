//! Processes that are frozen for minutes and go on, as a worker of a serverless host is: nobody is judged by time
//! that he did not have.

use crate::client::machine;
use crate::machine_clock::{running, slow_to_realize, succeeded};
use serde_json::json;
use support::clock::Clock;
use support::process::eventually;

const MINUTES: i64 = 60;

fn pid(value: &serde_json::Value) -> u32 {
    u32::try_from(value.as_u64().unwrap()).unwrap()
}

#[test]
fn what_is_frozen_for_minutes_goes_on_where_it_was() {
    let mut env = machine();
    let clock = Clock::of(&mut env);
    slow_to_realize(&env, "v");
    env.write_spec("runs", &env.spec());
    let workflow = running(&env, "runs");
    let status = env.json(&["status"]);
    let (daemon, comfyui) = (pid(&status["pid"]), pid(&status["instances"][0]["state"]["pid"]));
    let client = env.spawn(&["realize", "v", "--json"]);
    eventually("the model is on its way", || env.files.sent("/big.bin") > 1 << 20);
    for frozen in [vec![comfyui], vec![daemon], vec![daemon, comfyui], env.processes()] {
        clock.freeze(&frozen, 10 * MINUTES);
        let sent = env.files.sent("/big.bin");
        eventually("more of the model has come", || env.files.sent("/big.bin") > sent + (1 << 20));
    }
    assert_eq!(succeeded(client)["outcome"], "realized");
    let answer = succeeded(workflow);
    assert_eq!((&answer["how"], &answer["recoveries"]), (&json!("running"), &json!([])), "{answer}");
    let status = env.json(&["status"]);
    assert_eq!(pid(&status["instances"][0]["state"]["pid"]), comfyui, "it is the same process");
}
