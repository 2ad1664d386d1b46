//! The warmth ladder as people see it: `list`, `show` and `status` tell the rung and why; `pin` and `prefetch`.

use crate::client::machine;
use serde_json::{Value, json};
use std::fs;
use support::TestEnv;

/// Where a version stands, as `list`, `show` and `status` tell: they must agree.
fn standing(env: &TestEnv, id: &str) -> (String, String) {
    let find = |answer: &Value| {
        let versions = answer["versions"].as_array().unwrap();
        versions.iter().find(|version| version["version_id"] == id).cloned().unwrap()
    };
    let status = find(&env.json(&["status"]));
    let list = find(&env.json(&["list"]))["standing"].take();
    let show = env.json(&["show", id])["standing"].take();
    let told = |value: &Value| {
        (value["rung"].as_str().unwrap().to_owned(), value["why"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!((told(&list), told(&show)), (told(&status), told(&status)), "{id}");
    told(&show)
}

fn at(rung: &str, why: &str) -> (String, String) {
    (rung.to_owned(), why.to_owned())
}

#[test]
fn each_step_of_a_version_is_a_rung_and_says_why_it_is_no_higher() {
    let env = machine();
    let mut spec = env.spec();
    spec["models"] = json!([{ "source": env.model("/a.safetensors"), "target_subdir": "loras" }]);
    env.write_spec("v", &spec);
    assert_eq!(standing(&env, "v"), at("unknown", "it was never resolved"));
    env.json(&["resolve", "v"]);
    let (rung, why) = standing(&env, "v");
    assert_eq!(rung, "resolved");
    assert!(why.ends_with("its model is missing"), "{why}");
    env.json(&["realize", "v"]);
    assert_eq!(standing(&env, "v"), at("realized", "no start of it was recorded yet"));
    env.json(&["warm", "v"]);
    assert_eq!(standing(&env, "v"), at("running", ""));

    fs::remove_file(env.volume("models/loras/a.safetensors")).unwrap();
    env.json(&["show", "v"]);
    assert_eq!(standing(&env, "v"), at("resolved", "its model is missing; its ComfyUI runs without it"));
    env.json(&["stop", "v"]);
    env.json(&["realize", "v"]);
    fs::remove_dir_all(env.home("v")).unwrap();
    env.json(&["show", "v"]);
    let (rung, why) = standing(&env, "v");
    assert_eq!(rung, "fetched");
    assert!(why.starts_with("its environment is not installed: 2 packages"), "{why}");

    spec["models"] = json!([]);
    env.write_spec("v", &spec);
    env.json(&["show", "v"]);
    assert_eq!(standing(&env, "v"), at("unknown", "its spec changed since it was resolved"));
}

#[test]
fn status_knows_a_version_that_only_a_call_has_named() {
    let env = machine();
    let file = env.path("home/mine.json");
    fs::write(&file, env.spec().to_string()).unwrap();
    env.json(&["realize", "mine.json"]);
    let status = env.json(&["status"]);
    assert_eq!(status["versions"][0]["version_id"], "mine");
    assert_eq!(status["versions"][0]["rung"], "realized");
    assert_eq!(status["versions"][0]["home"], env.home("mine").display().to_string());
}

fn pins(env: &TestEnv) -> Value {
    env.json(&["pin"])["pins"].take()
}

#[test]
fn a_pin_lasts_until_it_is_taken_back() {
    let env = machine();
    env.write_spec("v", &env.spec());
    assert_eq!(pins(&env), json!([]));
    let pinned = env.json(&["pin", "v"]);
    assert_eq!((&pinned["rung"], &pinned["before"]), (&json!("primed"), &Value::Null));
    assert!(pinned["warnings"][0].as_str().unwrap().contains("COMFYD_PREFETCH"), "{pinned}");
    let again = env.json(&["pin", "v", "--rung", "fetched"]);
    assert_eq!((&again["rung"], &again["before"]), (&json!("fetched"), &json!("primed")));
    env.kill_all();
    let home = env.home("v").display().to_string();
    assert_eq!(pins(&env), json!([{ "version_id": "v", "home": home, "rung": "fetched" }]));
    assert_eq!(env.json(&["show", "v"])["standing"]["pinned"], "fetched");
    let taken = env.json(&["unpin", "v"]);
    assert_eq!((&taken["before"], taken.get("rung")), (&json!("fetched"), None));
    assert_eq!(pins(&env), json!([]));
    assert_eq!(env.comfyctl(&["unpin", "v"]).stdout, "v was not pinned\n");
}

#[test]
fn what_is_no_pin_is_refused() {
    let env = machine();
    env.write_spec("v", &env.spec());
    assert_eq!(env.error(&["pin", "w"], 4)["kind"], "not_found");
    assert_eq!(env.error(&["unpin", "w"], 4)["kind"], "not_found");
    assert_eq!(env.error(&["prefetch", "--plan", "w"], 4)["kind"], "not_found");
    let low = env.error(&["pin", "v", "--rung", "resolved"], 2);
    assert_eq!(low["message"], "`resolved` is no rung to pin a version to");
    let none = env.error(&["pin", "v", "--rung", "hot"], 2);
    assert!(none["message"].as_str().unwrap().contains("`hot` is no rung"), "{none}");
    env.error(&["pin", "--rung", "primed"], 2);
    assert_eq!(pins(&env), json!([]));
}

#[test]
fn damaged_pins_are_named_and_count_as_none() {
    let env = machine();
    env.write_spec("v", &env.spec());
    env.json(&["pin", "v"]);
    env.kill_all();
    let file = env.path("state/comfyd/pins.json");
    let damages = ["", "[]", "{\"schema_version\": 1, \"pins\"", "{\"schema_version\": 9, \"pins\": {}}"];
    for (at, damage) in damages.into_iter().enumerate() {
        fs::write(&file, damage).unwrap();
        assert_eq!(pins(&env), json!([]), "{damage}");
        assert_eq!(env.log().matches("pins.json").count(), at + 1, "{damage}: {}", env.log());
        env.kill_all();
    }
    env.json(&["pin", "v"]);
    assert_eq!(pins(&env)[0]["version_id"], "v");
}

#[test]
fn the_environment_pins_and_only_it_takes_that_back() {
    let mut env = machine();
    env.set("COMFYD_PINNED", "v,absent");
    env.write_spec("v", &env.spec());
    let told = pins(&env);
    assert_eq!((&told[1]["rung"], &told[1]["by_environment"]), (&json!("primed"), &json!(true)), "{told}");
    env.json(&["pin", "v", "--rung", "fetched"]);
    assert_eq!(env.json(&["show", "v"])["standing"]["pinned"], "primed", "the higher of two");
    let taken = env.json(&["unpin", "v"]);
    assert_eq!(taken["rung"], "primed");
    assert!(taken["warnings"][0].as_str().unwrap().contains("COMFYD_PINNED"), "{taken}");
}

#[test]
fn a_plan_tells_how_far_and_why_and_does_nothing() {
    let env = machine();
    env.write_spec("v", &env.spec());
    let answer = env.json(&["prefetch", "--plan", "v"]);
    let lift = &answer["plan"]["lifts"][0];
    assert_eq!((&lift["version_id"], &lift["from"]), (&json!("v"), &json!("unknown")), "{answer}");
    assert!(matches!(lift["to"].as_str(), Some("realized" | "primed")), "{answer}");
    assert_eq!((&answer["done"], &answer["plan"]["budgets"]["rung"]), (&json!([]), &json!("primed")));
    assert!(answer["plan"]["idle"].as_str().unwrap().contains("off"), "{answer}");
    assert_eq!(standing(&env, "v").0, "unknown", "nothing was done");
    let shown = env.comfyctl(&["prefetch", "--plan", "v"]).stdout;
    assert!(shown.starts_with("VERSION  FROM     TO"), "{shown}");
    assert!(shown.contains("nothing is done by itself: "), "{shown}");
    assert_eq!(env.json(&["prefetch", "--plan"])["plan"]["lifts"], json!([]), "idle time is off");
}

#[test]
fn a_named_version_is_lifted_at_once_even_where_idle_time_is_off() {
    let env = machine();
    env.write_spec("v", &env.spec());
    let answer = env.json(&["prefetch", "v"]);
    let done = answer["done"].as_array().unwrap();
    assert_eq!(done.first().unwrap()["from"], "unknown", "{answer}");
    assert!(done.iter().all(|lift| lift.get("problem").is_none()), "{answer}");
    assert_eq!(standing(&env, "v").0, "realized", "{answer}");
    assert_eq!(env.json(&["realize", "v"])["outcome"], "ready");
}

#[test]
fn a_lift_that_fails_is_told_with_its_kind() {
    let env = machine();
    let mut spec = env.spec();
    spec["models"] = json!([{ "source": env.files.url("/gone.safetensors"), "target_subdir": "loras" }]);
    env.write_spec("v", &spec);
    let ended = env.comfyctl(&["prefetch", "v", "--json"]);
    let answer = ended.json();
    let problem = &answer["done"].as_array().unwrap().last().unwrap()["problem"];
    assert!(problem["message"].as_str().unwrap().contains("gone.safetensors"), "{answer}");
    assert_eq!((&problem["kind"], ended.status), (&json!("not_found"), Some(4)), "{answer}");
    let (rung, why) = standing(&env, "v");
    assert_eq!(rung, "resolved", "{why}");
    assert!(why.contains("gone.safetensors"), "{why}");
}
