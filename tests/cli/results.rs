//! Results: one JSON document for programs, lines for people; what the calls carry.

use crate::client::{run, spawn, with};
use serde_json::{Value, json};
use std::io::Read as _;
use support::script_daemon::ScriptDaemon;

/// Serves one call of `method`, after `hello`.
fn serves(method: &'static str, answer: Value) -> ScriptDaemon {
    ScriptDaemon::start(move |client| {
        client.hello();
        let call = client.expect(method);
        client.answer(&call, &answer);
    })
}

fn checks(passed: bool) -> Value {
    let outcome = if passed { "passed" } else { "failed" };
    json!({"version_id": "x", "passed": passed, "checks": [{"name": "ComfyUI starts", "outcome": outcome}]})
}

#[test]
fn json_is_the_daemons_answer_as_it_is() {
    let answer = json!({"searched": [], "versions": [], "of_a_newer_daemon": 1});
    let daemon = serves("list", answer.clone());
    let ended = run(&mut with(&daemon), &["list", "--json"]);
    assert_eq!((ended.status, ended.json()), (Some(0), answer));
    daemon.finish();
}

#[test]
fn a_test_that_fails_has_status_one_and_its_list() {
    for (passed, status) in [(true, 0), (false, 1)] {
        let daemon = serves("test", checks(passed));
        let ended = run(&mut with(&daemon), &["test", "x", "--json"]);
        assert_eq!((ended.status, ended.json()), (Some(status), checks(passed)));
        daemon.finish();
    }
    let daemon = serves("test", checks(false));
    let ended = run(with(&daemon).env("LANG", "C"), &["version", "test", "x"]);
    assert_eq!(ended.stdout, "FAILED ComfyUI starts\nx failed: 0 of 1 checks passed, 1 failed\n");
    daemon.finish();
}

#[test]
fn hello_tells_what_is_set_here_but_no_token() {
    let daemon = ScriptDaemon::start(|client| {
        let hello = client.hello_with(
            &json!({"protocol": 1, "features": [], "version": "1", "pid": 7, "warnings": ["MODELS_DIR differs"]}),
        );
        assert_eq!(hello.params["environment"], json!({"MODELS_DIR": "/m", "HF_TOKEN": ""}));
        let call = client.expect("list");
        client.answer(&call, &json!({"searched": ["/v"], "versions": []}));
    });
    let ended = run(with(&daemon).env("MODELS_DIR", "/m").env("HF_TOKEN", "s3cr3t"), &["list"]);
    assert_eq!(ended.stderr, "warning: MODELS_DIR differs\nno versions in `/v`\n");
    daemon.finish();
}

#[test]
fn a_version_is_named_as_seen_from_the_client() {
    let daemon = ScriptDaemon::start(|client| {
        client.hello();
        let call = client.expect("realize");
        assert_eq!(call.params["version"], "specs/x.json");
        assert_eq!(call.params["comfy_home"], "/h/{version_id}");
        assert!(call.params["cwd"].as_str().is_some_and(|cwd| cwd.starts_with('/')));
        assert_eq!(call.params["offline"], true);
        let answer = json!({"version_id": "x", "outcome": "realized", "home": "/h/x", "generation": "ab",
                            "missing": ["model `a`"], "warnings": ["w"], "elapsed_ms": 3200});
        client.answer(&call, &answer);
    });
    let mut command = with(&daemon);
    command.env("COMFY_HOME", "/h/{version_id}").env("COMFY_OFFLINE", "1");
    let ended = run(&mut command, &["realize", "specs/x.json"]);
    assert_eq!(ended.stdout, "x realized in /h/x (3.2 s)\n");
    assert_eq!(ended.stderr, "warning: w\nwarning: missing, and offline: model `a`\n");
    daemon.finish();
}

#[test]
fn run_prints_the_files_one_a_line() {
    let daemon = ScriptDaemon::start(|client| {
        client.hello();
        let call = client.expect("run");
        assert_eq!(call.params["workflow"], json!({"1": {"class_type": "LoadImage"}}));
        assert_eq!(call.params["timeout_s"], 600);
        let input = &call.params["inputs"][0];
        assert_eq!(input["name"], "in.png");
        assert!(input["path"].as_str().is_some_and(|path| path.starts_with('/') && path.ends_with("/a.png")));
        let file = json!({"path": "/o/a_1.png", "filename": "a_1.png", "subfolder": "", "type": "output",
                          "mime": "image/png", "bytes": 5});
        let answer = json!({"version_id": "x", "prompt_id": "p", "cold": true, "start_ms": 21_000,
            "execute_ms": 850, "warnings": [],
            "outputs": [{"node": "9", "kind": "images", "file": file},
                        {"node": "8", "kind": "text", "value": "a cat"}]});
        client.answer(&call, &answer);
    });
    std::fs::write(daemon.dir().join("w.json"), "{\n  \"1\": {\"class_type\": \"LoadImage\"}\n}\n").unwrap();
    std::fs::write(daemon.dir().join("a.png"), "x").unwrap();
    let args = "handler run --version-id x --workflow w.json --input in.png=a.png --timeout 10m";
    let ended = run(&mut with(&daemon), &args.split(' ').collect::<Vec<_>>());
    assert_eq!(ended.stdout, "/o/a_1.png\na cat\n");
    assert_eq!(ended.stderr, "2 outputs in 850 ms, after 21.0 s of starting\n");
    daemon.finish();
}

#[test]
fn logs_follow_until_comfyui_ends() {
    let daemon = ScriptDaemon::start(|client| {
        client.hello();
        let first = client.expect("logs");
        assert_eq!((&first.params["from"], &first.params["lines"]), (&Value::Null, &json!(5)));
        client.answer(&first, &json!({"path": "/l", "text": "a\n", "next": 12, "running": true}));
        let second = client.expect("logs");
        assert_eq!(second.params["from"], 12);
        client.answer(&second, &json!({"path": "/l", "text": "b\n", "next": 14, "running": false}));
    });
    let ended = run(&mut with(&daemon), &["logs", "x", "-f", "-n", "5"]);
    assert_eq!((ended.status, ended.stdout.as_str()), (Some(0), "a\nb\n"));
    daemon.finish();
}

#[test]
fn ui_stays_in_front_until_comfyui_ends_by_itself() {
    let instance = json!({"version_id": "x", "home": "/h", "generation": "ab", "url": "http://127.0.0.1:8188",
                          "log": "/l", "state": {"kind": "ready", "pid": 9, "start_ms": 5}});
    let daemon = ScriptDaemon::start(move |client| {
        client.hello();
        let call = client.expect("ui");
        client.answer(&call, &json!({"instance": instance, "already_running": false}));
        let logs = client.expect("logs");
        client.answer(&logs, &json!({"path": "/l", "text": "boom\n", "next": 5, "running": false}));
    });
    let ended = run(&mut with(&daemon), &["ui", "x"]);
    assert_eq!((ended.status, ended.stdout.as_str()), (Some(12), "http://127.0.0.1:8188\n"));
    assert!(ended.stderr.contains("boom\nerror: ComfyUI ended by itself\n\nhint: its log is `/l`\n"));
    daemon.finish();
}

#[test]
fn a_reader_that_left_is_no_error() {
    let daemon =
        serves("logs", json!({"path": "/l", "text": "x\n".repeat(1 << 20), "next": 0, "running": false}));
    let mut child = spawn(&daemon, &["logs", "x"]);
    drop(child.stdout.take());
    let mut told = String::new();
    child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert_eq!((child.wait().unwrap().code(), told.as_str()), (Some(0), ""));
    daemon.finish();
}
