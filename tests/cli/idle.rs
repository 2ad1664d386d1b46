//! Idle time: what is likely to be asked for is got ready, and stands aside at once for what is asked for.

use crate::client::machine;
use crate::fetch::{assert_here, wants};
use serde_json::Value;
use std::fs;
use std::time::{Duration, Instant};
use support::TestEnv;
use support::env::Ended;
use support::file_server::{Content, Pace};
use support::process::{eventually, kill};

/// Bytes of a model that nobody waits for.
const LARGE: u64 = 40_000_000;

/// Returns a machine whose idle time begins at once and lifts as far as `rung`, with versions `v` and `w` that are
/// realized. The daemon runs, and has seen their specs.
fn idle(rung: &str, vars: &[(&str, &str)]) -> TestEnv {
    let mut env = machine();
    for (name, value) in [("COMFYD_PREFETCH", rung), ("COMFYD_PREFETCH_AFTER", "0")].iter().chain(vars) {
        env.set(name, value);
    }
    for version in ["v", "w"] {
        env.write_spec(version, &env.spec());
        env.json(&["realize", version]);
    }
    env
}

/// What a plan says of a version; null when it says nothing.
fn planned(env: &TestEnv, id: &str) -> Value {
    let plan = env.json(&["prefetch", "--plan"])["plan"].take();
    let lifts = plan["lifts"].as_array().unwrap();
    lifts.iter().find(|lift| lift["version_id"] == id).cloned().unwrap_or_default()
}

fn held_back(env: &TestEnv, id: &str) -> String {
    planned(env, id)["held_back"].as_str().unwrap_or_default().to_owned()
}

fn rung(env: &TestEnv, id: &str) -> String {
    env.json(&["show", id])["standing"]["rung"].as_str().unwrap().to_owned()
}

/// Serves a large model slowly and has the spec of `v` want it.
fn large_is_wanted(env: &TestEnv) -> Content {
    let large = Content::synthetic(1, LARGE);
    env.files.put("/large.safetensors", large.clone());
    env.files.pace(Pace { total: Some(8_000_000), ..Pace::default() });
    wants(env, "v", &[(&env.files.url("/large.safetensors"), "large.safetensors")]);
    large
}

fn generation(env: &TestEnv, id: &str) -> std::path::PathBuf {
    fs::read_link(env.home(id).join("current")).unwrap()
}

#[test]
fn an_edited_spec_is_fetched_and_its_home_stays_as_it_is() {
    let env = idle("primed", &[]);
    let before = generation(&env, "v");
    let node = env.node("Late", &[("late.py", "x = 1\n")]);
    let mut spec = env.spec();
    spec["custom_nodes"] = serde_json::json!([{ "repo": node.url() }]);
    spec["models"] = serde_json::json!([{ "source": env.model("/m.safetensors"), "target_subdir": "loras" }]);
    env.write_spec("v", &spec);
    eventually("its model is here", || env.volume("models/loras/m.safetensors").is_file());
    eventually("it is fetched", || rung(&env, "v") == "fetched");
    eventually("a plan says why it goes no further", || held_back(&env, "v").contains("current"));
    assert_eq!(generation(&env, "v"), before);
    let requests = env.requests();
    assert_eq!(env.json(&["realize", "v"])["outcome"], "realized");
    assert_eq!(env.requests(), requests, "all of it was here");
    assert_ne!(generation(&env, "v"), before);
}

#[test]
fn off_is_off_and_who_asks_for_a_prefetch_gets_one() {
    let env = idle("off", &[]);
    let link = env.model("/m.safetensors");
    wants(&env, "v", &[(&link, "m.safetensors")]);
    env.json(&["realize", "w"]);
    let plan = env.json(&["prefetch", "--plan"])["plan"].take();
    assert!(plan["idle"].as_str().unwrap().contains("off"), "{plan}");
    assert!(!env.volume("models/loras/m.safetensors").exists());
    let answer = env.json(&["prefetch", "v"]);
    // Its generation is the same, so that with its model it has all.
    assert_eq!(answer["done"][0]["to"], "realized", "{answer}");
    assert!(env.volume("models/loras/m.safetensors").is_file());
}

#[test]
fn a_pinned_version_is_realized_and_its_bytecode_compiled() {
    let env = idle("primed", &[]);
    env.write_spec("p", &env.spec());
    env.json(&["pin", "p", "--rung", "realized"]);
    eventually("it is realized", || rung(&env, "p") == "realized");
    let current = env.home("p").join("current");
    eventually("it is compiled", || current.join("bytecode.json").is_file());
    assert!(current.join("ComfyUI/__pycache__").is_dir());
    assert_eq!(env.json(&["realize", "p"])["outcome"], "ready");
    let stopped = env.json(&["status"])["jobs"].take();
    assert_eq!(stopped, serde_json::json!([]), "nothing is left to do");
}

#[test]
fn a_foreground_realize_stops_a_fetch_of_idle_time_and_no_byte_is_lost() {
    let env = idle("fetched", &[]);
    let small = Content::synthetic(2, 12_000_000);
    env.files.put("/small.safetensors", small.clone());
    let large = large_is_wanted(&env);
    let sent = || env.files.sent("/large.safetensors");
    eventually("idle time fetches", || sent() > 4_000_000);
    wants(&env, "w", &[(&env.files.url("/small.safetensors"), "small.safetensors")]);
    let request = env.spawn(&["realize", "w", "--json"]);
    let deadline = Instant::now() + Duration::from_secs(60);
    // From the first byte for the one that waits to the last for the one that nobody waits for.
    let (mut begun, mut last, mut stood) = (None, Instant::now(), sent());
    while env.files.sent("/small.safetensors") < 6_000_000 {
        assert!(Instant::now() < deadline, "it never came");
        if begun.is_none() && env.files.sent("/small.safetensors") > 0 {
            begun = Some(Instant::now());
        }
        let now = sent();
        if now != stood {
            (stood, last) = (now, Instant::now());
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    let pause = last.saturating_duration_since(begun.unwrap());
    println!("idle: {} ms until a fetch stood still", pause.as_millis());
    let request: Ended = request.wait_with_output().unwrap().into();
    assert_eq!(request.status, Some(0), "{}{}", request.stdout, request.stderr);
    eventually("idle time goes on", || env.volume("models/loras/large.safetensors").is_file());
    assert_here(&env, "large.safetensors", &large);
    assert_here(&env, "small.safetensors", &small);
    assert!(sent() < LARGE + LARGE / 10, "it went on from where it was: {} bytes", sent());
}

#[test]
fn what_a_killed_daemon_was_fetching_the_next_one_fetches_to_its_end() {
    let env = idle("fetched", &[]);
    let large = large_is_wanted(&env);
    eventually("idle time fetches", || env.files.sent("/large.safetensors") > 8_000_000);
    let pid = env.json(&["status"])["pid"].as_u64().unwrap();
    kill(u32::try_from(pid).unwrap(), "KILL");
    eventually("it is gone", || !env.processes().contains(&u32::try_from(pid).unwrap()));
    env.files.pace(Pace::default());
    env.json(&["status"]);
    eventually("the next one goes on", || env.volume("models/loras/large.safetensors").is_file());
    assert_here(&env, "large.safetensors", &large);
    let sent = env.files.sent("/large.safetensors");
    assert!(sent < LARGE + LARGE / 4, "what had come was kept: {sent} bytes");
}

#[test]
fn what_would_fill_the_disk_is_not_fetched() {
    let env = idle("primed", &[("COMFYD_PREFETCH_DISK", "1000TB")]);
    large_is_wanted(&env);
    eventually("it is told, with what it would take", || {
        let told = held_back(&env, "v");
        told.contains("COMFYD_PREFETCH_DISK") && told.contains("40.0 MB")
    });
    assert!(env.files.sent("/large.safetensors") < LARGE / 10, "nothing but looks");
    env.files.pace(Pace::default());
    env.json(&["realize", "v"]);
    assert_eq!(rung(&env, "v"), "realized", "who asks for it gets it");
}

#[test]
fn what_fails_is_told_and_left_alone_for_a_while() {
    let env = idle("primed", &[]);
    wants(&env, "v", &[(&env.files.url("/nowhere.safetensors"), "m.safetensors")]);
    eventually("it is told", || held_back(&env, "v").contains("is tried again in"));
    let requests = env.files.seen().len();
    // Each of them wakes idle time.
    for _ in 0..3 {
        env.json(&["pin", "w", "--rung", "realized"]);
        env.json(&["unpin", "w"]);
    }
    assert!(held_back(&env, "v").contains("nowhere"), "{}", held_back(&env, "v"));
    // Its news may come after the first try, and is a reason to try again.
    assert!(env.files.seen().len() <= 2 * requests, "{requests}, {}", env.files.seen().len());
    env.model("/nowhere.safetensors");
    let answer = env.json(&["prefetch", "v"]);
    assert!(answer["done"][0]["problem"].is_null(), "who asks does not wait: {answer}");
    assert!(env.volume("models/loras/m.safetensors").is_file());
}

/// Starts a version once and ends it.
fn use_once(env: &TestEnv, id: &str) -> Value {
    let warm = env.json(&["warm", id]);
    env.json(&["stop", id]);
    warm["instance"].clone()
}

#[test]
fn used_versions_are_primed_as_far_as_memory_goes_and_start_from_their_zygotes() {
    let env = idle("primed", &[("COMFYD_PREFETCH_WARM", "1")]);
    for version in ["v", "w", "v"] {
        use_once(&env, version);
    }
    eventually("one is primed", || [rung(&env, "v"), rung(&env, "w")].contains(&"primed".to_owned()));
    let (warm, cold) = if rung(&env, "v") == "primed" { ("v", "w") } else { ("w", "v") };
    eventually("the other says why it is not", || held_back(&env, cold).contains("COMFYD_PREFETCH_WARM"));
    assert_eq!(use_once(&env, warm)["forked"], true);
    env.json(&["pin", cold, "--rung", "primed"]);
    eventually("who is pinned comes first", || rung(&env, cold) == "primed");
    eventually("and takes the other's memory", || rung(&env, warm) == "realized");
}

#[test]
fn a_running_version_gets_a_zygote_for_its_next_start() {
    let env = idle("primed", &[]);
    let plain = env.json(&["warm", "v"]);
    assert!(plain["instance"]["forked"].is_null(), "{plain}");
    eventually("its zygote waits", || env.json(&["show", "v"])["standing"]["zygote"].is_object());
    assert_eq!(rung(&env, "v"), "running");
}

#[test]
fn background_transfers_keep_to_their_rate() {
    let env = idle("fetched", &[("COMFYD_PREFETCH_RATE", "10MB")]);
    let content = Content::synthetic(1, LARGE);
    env.files.put("/large.safetensors", content.clone());
    wants(&env, "v", &[(&env.files.url("/large.safetensors"), "large.safetensors")]);
    eventually("idle time fetches", || env.files.sent("/large.safetensors") > 0);
    let begun = Instant::now();
    eventually("it is here", || env.volume("models/loras/large.safetensors").is_file());
    // What lies in buffers on the way comes at once.
    assert!(begun.elapsed() > Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_here(&env, "large.safetensors", &content);
}
