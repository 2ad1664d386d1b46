//! `doctor`: what it finds on machines that lack something, how it looks, and that it leaves nothing behind.

use crate::client::{comfyctl, machine, run, with};
use crate::gpus::add_nvidia_smi;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use support::TestEnv;
use support::civitai::Civitai;
use support::env::Ended;
use support::hub::Hub;
use support::mounts::{Mount, Mounted};
use support::nvml;
use support::script_daemon::ScriptDaemon;

const HF: &str = "hf_c4n4ry";
const CIVITAI: &str = "civ_c4n4ry";

/// A machine that asks nobody outside.
fn offline() -> TestEnv {
    let mut env = machine();
    env.set("COMFY_OFFLINE", "1");
    env.write_spec("v", &env.spec());
    env
}

/// Runs `doctor --json`; its status has to say whether there is a problem.
fn doctor(env: &TestEnv, args: &[&str]) -> (Ended, Vec<Value>) {
    let ended = env.comfyctl(&[&["doctor", "--json"], args].concat());
    let findings = ended.json()["findings"].as_array().unwrap().clone();
    let has_problem = findings.iter().any(|finding| finding["verdict"] == "problem");
    assert_eq!(ended.status, Some(i32::from(has_problem)), "{ended:?}");
    for finding in &findings {
        let is_remedied = finding["verdict"] == "ok" || finding["remedy"].is_string();
        assert!(is_remedied && !finding["text"].as_str().unwrap().is_empty(), "{finding}");
    }
    (ended, findings)
}

/// Returns the verdicts on a subject, and all that is said of it.
fn about(findings: &[Value], subject: &str) -> (Vec<String>, String) {
    let about: Vec<_> = findings.iter().filter(|finding| finding["subject"] == subject).collect();
    let verdict = |finding: &&Value| finding["verdict"].as_str().unwrap().to_owned();
    (about.iter().map(verdict).collect(), format!("{about:?}"))
}

/// The names in the volume, but for the caches, which uv writes to whenever it is asked something.
fn volume(env: &TestEnv) -> BTreeSet<String> {
    let entries = fs::read_dir(env.volume("")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name != ".comfy-cache").collect()
}

#[test]
fn everything_is_looked_at_and_nothing_is_left_behind() {
    let env = offline();
    let before = volume(&env);
    let (_, findings) = doctor(&env, &[]);
    for subject in [
        "daemon",
        "versions",
        "volume",
        "links",
        "locks",
        "speed",
        "small files",
        "memory map",
        "disk",
        "memory",
        "open files",
        "HF_TOKEN",
        "CIVITAI_TOKEN",
        "git",
        "uv",
        "Python",
        "GPU",
        "daemons",
    ] {
        assert!(!about(&findings, subject).0.is_empty(), "{subject}: {findings:#?}");
    }
    let (verdicts, said) = about(&findings, "versions");
    assert!(verdicts == ["ok"] && said.contains("1 in `"), "{said}");
    for subject in ["links", "locks", "uv", "Python"] {
        assert_eq!(about(&findings, subject).0, ["ok"], "{findings:#?}");
    }
    let speed = findings.iter().find(|finding| finding["subject"] == "speed").unwrap();
    assert!(speed["figures"]["read_bytes_per_s"].as_u64().unwrap() > 0, "{speed}");
    assert_eq!(volume(&env), before);
    let (_, quick) = doctor(&env, &["--quick"]);
    assert!(about(&quick, "speed").0.is_empty() && about(&quick, "locks").0 == ["ok"], "{quick:#?}");
    assert_eq!(volume(&env), before);
}

#[test]
fn tokens_are_tried_at_their_hosts_and_never_shown() {
    let (hub, civitai) = (Hub::start(), Civitai::start());
    let mut env = machine();
    for (name, value) in [("HF_ENDPOINT", hub.endpoint()), ("CIVITAI_ENDPOINT", civitai.endpoint())] {
        env.set(name, &value);
    }
    let (_, findings) = doctor(&env, &["--quick"]);
    let (verdicts, said) = about(&findings, "HF_TOKEN");
    assert!(verdicts == ["ok"] && said.contains("not set; Hugging Face answers"), "{said}");
    assert_eq!(about(&findings, "clock").0, ["ok"]);
    env.json(&["shutdown"]);

    hub.tokens(&[HF]);
    civitai.tokens(&["another"]);
    env.set("HF_TOKEN", HF);
    env.set("CIVITAI_TOKEN", CIVITAI);
    let (ended, findings) = doctor(&env, &["--quick"]);
    assert_eq!(about(&findings, "HF_TOKEN").0, ["ok"], "{findings:#?}");
    let (verdicts, said) = about(&findings, "CIVITAI_TOKEN");
    assert!(verdicts == ["problem"] && said.contains("Civitai refuses it (401)"), "{said}");
    assert_eq!(ended.status, Some(1));
    for secret in [HF, CIVITAI] {
        let all = [&ended.stdout, &ended.stderr, &env.log()].map(|text| text.contains(secret));
        assert_eq!(all, [false; 3]);
    }
    let sent = hub.seen().last().and_then(|seen| seen.authorization.clone());
    assert_eq!(sent, Some(format!("Bearer {HF}")), "it was really tried");
}

#[test]
fn hosts_that_do_not_answer_are_a_warning() {
    let mut env = machine();
    // Nobody listens on the port of discard.
    for name in ["HF_ENDPOINT", "CIVITAI_ENDPOINT"] {
        env.set(name, "http://127.0.0.1:9");
    }
    let (_, findings) = doctor(&env, &["--quick"]);
    for subject in ["HF_TOKEN", "CIVITAI_TOKEN"] {
        assert_eq!(about(&findings, subject).0, ["warning"], "{findings:#?}");
    }
    assert!(about(&findings, "clock").0.is_empty());
}

#[test]
fn a_spec_that_cannot_be_read_is_a_problem_with_its_place() {
    let env = offline();
    fs::write(env.volume("versions/broken.json"), "{\n  \"schema_version\": 2,\n  \"comfy\": {}\n}\n")
        .unwrap();
    let (ended, findings) = doctor(&env, &["--quick"]);
    let (verdicts, said) = about(&findings, "versions");
    assert_eq!(verdicts, ["problem", "ok"], "{said}");
    assert!(said.contains("broken.json:3:") && said.contains("`comfyctl show broken`"), "{said}");
    assert_eq!(ended.status, Some(1));
}

#[test]
fn a_volume_that_cannot_be_written_and_one_that_is_small_are_told() {
    let env = offline();
    let volume = env.path("vol");
    let daemon = Mounted::start(&env, &[(volume.clone(), Mount::ReadOnly)]);
    let (_, findings) = doctor(&env, &[]);
    let (verdicts, said) = about(&findings, "volume");
    assert!(verdicts == ["warning"] && said.contains("read-only"), "{said}");
    assert!(about(&findings, "links").0.is_empty(), "nothing was tried: {findings:#?}");
    drop(daemon);
    env.kill_all();

    let daemon = Mounted::start(&env, &[(volume.clone(), Mount::Disk(2048))]);
    let (ended, findings) = doctor(&env, &[]);
    let (verdicts, said) = about(&findings, "disk");
    assert!(verdicts.contains(&"problem".to_owned()) && said.contains(volume.to_str().unwrap()), "{said}");
    assert_eq!(ended.status, Some(1));
    assert!(
        fs::read_dir(daemon.path(&volume))
            .unwrap()
            .all(|entry| { !entry.unwrap().file_name().to_string_lossy().starts_with(".comfyd-staging") })
    );
}

/// Writes a lock that pins a torch and a Python.
fn write_lock(env: &TestEnv, id: &str, torch: &str, python: &str) {
    let lock = json!({
        "schema_version": 1, "version_id": id, "spec_digest": "x", "resolved_at": "2026-01-01T00:00:00Z",
        "comfy": { "repo": "https://h.example/o/r", "commit": "1".repeat(40), "committed_at": "2026-01-01T00:00:00Z" },
        "custom_nodes": [], "models": [],
        "python": { "version": python, "inputs_digest": "x", "packages": [
            { "name": "torch", "version": torch, "requirement": format!("torch=={torch}") }] }
    });
    let path = env.lock_path(id);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, lock.to_string()).unwrap();
}

#[test]
fn each_locks_torch_is_held_against_the_driver() {
    let mut env = offline();
    let library = env.path("driver");
    nvml::build(&library);
    env.set("LD_LIBRARY_PATH", library.to_str().unwrap());
    judges_torches(&env);
}

#[test]
fn nvidia_smi_tells_as_much_of_the_driver() {
    let mut env = offline();
    add_nvidia_smi(&mut env);
    judges_torches(&env);
}

/// Looks at a machine that has two GPUs of Turing, and a driver for CUDA 13.0.
fn judges_torches(env: &TestEnv) {
    write_lock(env, "runs", "2.8.0+cu128", "3.99");
    write_lock(env, "too-new", "9.0.0+cu140", "3.99");
    let (_, findings) = doctor(env, &["--quick"]);
    let (verdicts, said) = about(&findings, "GPU");
    assert!(verdicts == ["ok"] && said.contains("2 x Tesla T4; driver 580.65.06, up to CUDA 13.0"), "{said}");
    let (verdicts, said) = about(&findings, "torch");
    assert_eq!(verdicts, ["ok", "problem"], "{said}");
    assert!(said.contains("torch 9.0.0+cu140 of `too-new` is for CUDA 14.0"), "{said}");
    let (verdicts, said) = about(&findings, "Python");
    assert_eq!(verdicts, ["ok", "problem"], "{said}");
    assert!(said.contains("no 3.99 on this machine, which `runs`, `too-new` needs"), "{said}");
}

#[test]
fn a_machine_without_a_daemon_is_told_why() {
    let home = tempfile::tempdir().unwrap();
    for (args, words) in [
        (&["doctor", "--json"][..], "failed to start the daemon `/nonexistent/comfyd`"),
        (&["doctor", "--json", "--no-start"], "no daemon listens on `"),
    ] {
        let ended = run(&mut comfyctl(home.path()), args);
        assert_eq!(ended.status, Some(1), "{ended:?}");
        let finding = &ended.json()["findings"][0];
        assert_eq!((&finding["subject"], &finding["verdict"]), (&json!("daemon"), &json!("problem")));
        assert!(finding["text"].as_str().unwrap().contains(words), "{finding}");
        assert!(finding["remedy"].is_string(), "{finding}");
    }
    let mut env = machine();
    env.set("COMFYD_GROUP", "no-such-group");
    let ended = env.comfyctl(&["doctor"]);
    assert_eq!(ended.status, Some(1), "{ended:?}");
    assert!(ended.stdout.contains("COMFYD_GROUP is `no-such-group`"), "the log's last line: {ended:?}");
}

#[test]
fn an_older_daemon_is_told_to_be_restarted() {
    let daemon = ScriptDaemon::start(|client| {
        client.hello();
        let call = client.expect("doctor");
        client.fail(&call, -32601, "there is no method `doctor`", &Value::Null);
    });
    let ended = run(&mut with(&daemon), &["doctor"]);
    assert_eq!(ended.status, Some(1), "{ended:?}");
    assert!(ended.stdout.contains("comfyctl shutdown"), "{ended:?}");
    daemon.finish();
}

#[test]
fn it_fits_a_terminal_of_80_columns_without_colours_and_in_ascii() {
    let mut env = offline();
    env.set("LANG", "C");
    env.set("TERM", "dumb");
    let ended = env.comfyctl(&["doctor", "--quick"]);
    assert!(ended.stdout.is_ascii() && !ended.stdout.contains('\u{1b}'), "{}", ended.stdout);
    // What is to be copied stays whole, however long its paths are.
    let fits = |line: &str| line.len() <= 80 || line.trim().starts_with('`') || line.contains(" /");
    let wide: Vec<_> = ended.stdout.lines().filter(|line| !fits(line)).collect();
    assert!(wide.is_empty(), "{wide:#?}");
    let last = ended.stdout.lines().last().unwrap();
    assert!(last.ends_with(" ok"), "{last}");
}
