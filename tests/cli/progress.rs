//! Progress where there is no terminal: plain lines on stderr, never on stdout.

use crate::client::{run, with};
use serde_json::{Value, json};
use support::script_daemon::ScriptDaemon;

fn model(state: &str, done: u64) -> Value {
    json!({"phase": "execute", "notes": [{"seq": 1, "warning": false, "text": "3 of 4 models are here"},
                                         {"seq": 2, "warning": true, "text": "`a` is slow"}],
           "tasks": [{"id": 1, "kind": "model", "label": "loras/a.safetensors", "state": state, "done": done,
                      "total": 2048, "unit": "bytes"}]})
}

fn downloads_a_model() -> ScriptDaemon {
    ScriptDaemon::start(|client| {
        client.hello();
        let call = client.expect("realize");
        for (state, done) in [("waiting", 0), ("running", 0), ("running", 1024), ("done", 2048)] {
            client.progress(&call, &model(state, done));
        }
        let answer = json!({"version_id": "x", "outcome": "repaired", "home": "/h", "generation": "ab",
                            "missing": [], "warnings": ["`a` is slow"], "elapsed_ms": 5});
        client.answer(&call, &answer);
    })
}

#[test]
fn tasks_and_notes_are_lines_told_once() {
    let daemon = downloads_a_model();
    let ended = run(&mut with(&daemon), &["realize", "x"]);
    assert_eq!(ended.stdout, "x repaired in /h (5 ms)\n");
    let lines: Vec<&str> = ended.stderr.lines().collect();
    let expected = ["3 of 4 models are here", "warning: `a` is slow", "model loras/a.safetensors: started"];
    assert_eq!(lines[..3], expected);
    assert!(lines[3].starts_with("model loras/a.safetensors: done in "), "{}", lines[3]);
    assert!(lines[3].ends_with(", 2.00 KiB"), "{}", lines[3]);
    assert_eq!(lines.len(), 4);
    daemon.finish();
}

#[test]
fn quiet_leaves_warnings_and_results() {
    let daemon = downloads_a_model();
    let ended = run(&mut with(&daemon), &["realize", "x", "-q"]);
    assert_eq!(
        (ended.stdout.as_str(), ended.stderr.as_str()),
        ("x repaired in /h (5 ms)\n", "warning: `a` is slow\n")
    );
    daemon.finish();
}

#[test]
fn json_is_not_mixed_with_progress() {
    let daemon = downloads_a_model();
    let ended = run(&mut with(&daemon), &["realize", "x", "--json"]);
    assert_eq!(ended.json()["outcome"], "repaired");
    daemon.finish();
}
