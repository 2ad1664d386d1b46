//! The daemon's socket, as any program may use it.

use crate::client::machine;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use support::TestEnv;
use support::raw_client::RawClient;

fn running() -> TestEnv {
    let env = machine();
    env.json(&["status"]);
    env
}

#[test]
fn the_socket_is_its_owners_alone() {
    let env = running();
    assert_eq!(fs::metadata(env.socket()).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn lines_that_make_no_sense_are_answered_and_the_connection_goes_on() {
    let env = running();
    let mut client = RawClient::connect(&env.socket());
    let answer = client.ask("garbage");
    assert_eq!((&answer["error"]["code"], &answer["id"]), (&json!(-32700), &Value::Null));
    assert!(answer.as_object().unwrap().contains_key("id"), "{answer}");
    let answer = client.ask(r#"{"jsonrpc": "2.0", "id": 1, "method": "relaize"}"#);
    assert_eq!((&answer["error"]["code"], &answer["id"]), (&json!(-32601), &json!(1)));
    let answer =
        client.ask(r#"{"jsonrpc": "2.0", "id": "a", "method": "realize", "params": {"version": 7}}"#);
    assert_eq!((&answer["error"]["code"], &answer["id"]), (&json!(-32602), &json!("a")));
    let answer = client.ask(r#"{"jsonrpc": "2.0", "id": 2, "method": "status", "params": {}, "new": 1}"#);
    assert!(answer["result"]["pid"].is_number(), "{answer}");
}

#[test]
fn a_line_without_end_is_refused_and_others_are_served() {
    let env = running();
    let (mut rude, mut other) = (RawClient::connect(&env.socket()), RawClient::connect(&env.socket()));
    rude.write(&"x".repeat(2 << 20));
    if let Some(answer) = rude.read() {
        assert!(answer["error"]["message"].as_str().unwrap().contains("longer than"), "{answer}");
    }
    let answer = other.ask(r#"{"jsonrpc": "2.0", "id": 2, "method": "status", "params": {}}"#);
    assert!(answer["result"]["pid"].is_number(), "{answer}");
}

#[test]
fn a_second_daemon_leaves_the_first_ones_socket_alone() {
    let env = running();
    let pid = env.json(&["status"])["pid"].clone();
    let second = env.comfyd().output().unwrap();
    assert_eq!(second.status.code(), Some(9), "{}", String::from_utf8_lossy(&second.stderr));
    assert_eq!(env.json(&["status"])["pid"], pid);
}
