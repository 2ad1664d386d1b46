//! What a failure looks like, and the exit status it gives.

use crate::client::{comfyctl, run, with};
use proto::ErrorKind;
use serde_json::json;
use support::script_daemon::ScriptDaemon;

#[test]
fn each_kind_has_its_exit_status() {
    for kind in
        [ErrorKind::NotFound, ErrorKind::Network, ErrorKind::Disk, ErrorKind::Instance, ErrorKind::Internal]
    {
        let daemon = ScriptDaemon::start(move |client| {
            client.hello();
            let call = client.expect("stop");
            client.fail(&call, kind.code(), "failed to stop `x`", &json!({"kind": kind}));
        });
        let ended = run(&mut with(&daemon), &["stop", "x"]);
        assert_eq!(ended.status, Some(i32::from(kind.exit_status())), "{kind:?}");
        assert_eq!(ended.stderr, "error: failed to stop `x`\n");
        assert_eq!(ended.stdout, "");
        daemon.finish();
    }
}

#[test]
fn people_see_the_chain_the_details_and_the_remedy() {
    let daemon = ScriptDaemon::start(|client| {
        client.hello();
        let call = client.expect("resolve");
        let data = json!({"kind": "spec", "causes": ["a", "b"], "details": ["d"], "hint": "try `h`",
            "diagnostics": [{"severity": "error", "file": "x.json", "line": 2, "column": 3,
                             "field": "comfy", "message": "is missing"}]});
        client.fail(&call, ErrorKind::Spec.code(), "`x.json` has 1 error", &data);
    });
    let ended = run(&mut with(&daemon), &["resolve", "x"]);
    assert_eq!(ended.status, Some(3));
    let expected = "\
error: `x.json` has 1 error
  caused by: a
  caused by: b
x.json:2:3: comfy: is missing
  d

hint: try `h`
";
    assert_eq!(ended.stderr, expected);
    daemon.finish();
}

#[test]
fn programs_see_one_json_object_and_the_same_status() {
    let daemon = ScriptDaemon::start(|client| {
        client.hello();
        let call = client.expect("show");
        client.fail(&call, ErrorKind::NotFound.code(), "no version `x`", &json!({"kind": "not_found"}));
    });
    let ended = run(&mut with(&daemon), &["show", "x", "--json"]);
    assert_eq!(ended.status, Some(4));
    let expected = json!({"error": {"kind": "not_found", "message": "no version `x`", "causes": [],
                                    "hint": null, "details": [], "diagnostics": []}});
    assert_eq!(ended.json(), expected);
    assert_eq!(ended.stderr, "");
    daemon.finish();
}

#[test]
fn an_unknown_verb_is_a_wrong_command_line() {
    let home = tempfile::tempdir().unwrap();
    let ended = run(&mut comfyctl(home.path()), &["relaize", "x"]);
    assert_eq!(ended.status, Some(2));
    assert!(ended.stderr.starts_with("error: unrecognized subcommand 'relaize'\n"), "{}", ended.stderr);
    assert!(ended.stderr.contains("realize"), "a similar verb is named: {}", ended.stderr);

    let ended = run(&mut comfyctl(home.path()), &["relaize", "x", "--json"]);
    assert_eq!(ended.status, Some(2));
    assert_eq!(ended.json()["error"]["kind"], "usage");
}

#[test]
fn a_verb_that_the_daemon_does_not_know_tells_to_restart_it() {
    let daemon = ScriptDaemon::start(|client| {
        client.hello();
        let call = client.expect("list");
        client.line(&json!({"jsonrpc": "2.0", "id": call.id,
                            "error": {"code": proto::error::METHOD_NOT_FOUND, "message": "no verb `list`"}}));
    });
    let ended = run(&mut with(&daemon), &["list"]);
    assert_eq!(ended.status, Some(16));
    assert!(ended.stderr.contains("hint: stop the old daemon with `comfyctl shutdown`"), "{}", ended.stderr);
    daemon.finish();
}

#[test]
fn a_daemon_that_hangs_up_is_told_with_its_log() {
    let daemon = ScriptDaemon::start(|client| {
        client.hello();
        client.expect("realize");
    });
    let ended = run(&mut with(&daemon), &["realize", "x", "--json"]);
    assert_eq!(ended.status, Some(17));
    let error = &ended.json()["error"];
    assert_eq!(error["message"], "the daemon closed the connection before it answered `realize`");
    assert!(error["hint"].as_str().unwrap().ends_with("comfyd/comfyd.log`"), "{error}");
    daemon.finish();
}

#[test]
fn another_protocol_is_told_with_both_numbers() {
    let daemon = ScriptDaemon::start(|client| {
        let answer = json!({"protocol": 99, "features": [], "version": "9", "pid": 7, "warnings": []});
        client.hello_with(&answer);
    });
    let ended = run(&mut with(&daemon), &["list", "--json"]);
    assert_eq!(ended.status, Some(16));
    let error = &ended.json()["error"];
    assert_eq!(error["kind"], "protocol");
    assert_eq!(error["message"], "the daemon speaks protocol 99, and this comfyctl speaks 1");
    daemon.finish();
}

#[test]
fn someone_else_on_the_socket_is_told() {
    let daemon = ScriptDaemon::start(|client| {
        client.receive();
        client.line(&"HTTP/1.1 400 Bad Request");
    });
    let ended = run(&mut with(&daemon), &["list"]);
    assert_eq!(ended.status, Some(16));
    assert!(ended.stderr.starts_with("error: failed to read what the daemon wrote\n"), "{}", ended.stderr);
    daemon.finish();
}

#[test]
fn a_file_that_is_not_there_is_told_before_the_daemon_is_asked() {
    let home = tempfile::tempdir().unwrap();
    let ended =
        run(&mut comfyctl(home.path()), &["run", "--version-id", "x", "--workflow", "none.json", "--json"]);
    assert_eq!(ended.status, Some(4));
    assert_eq!(ended.json()["error"]["message"], "failed to read `none.json`");
}

#[test]
fn the_readme_names_every_kind_with_its_status() {
    let readme = include_str!("../../client/README.md");
    for kind in ErrorKind::ALL {
        let name = serde_json::to_value(kind).unwrap();
        let row = format!("| {} | `{}` |", kind.exit_status(), name.as_str().unwrap());
        assert!(readme.contains(&row), "{row}");
    }
}
