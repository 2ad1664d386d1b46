//! `warm`: a version's ComfyUI is ready, and claimed for as long as someone says so.

use crate::client::machine;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use support::TestEnv;
use support::process::{eventually, kill};

fn version() -> TestEnv {
    let env = machine();
    env.write_spec("v", &env.spec());
    env
}

/// A program on the daemon's socket.
struct Caller {
    lines: BufReader<UnixStream>,
    last: u64,
}

impl Caller {
    fn connect(env: &TestEnv) -> Self {
        Self { lines: BufReader::new(UnixStream::connect(env.socket()).unwrap()), last: 0 }
    }

    fn send(&mut self, method: &str, params: &Value) -> u64 {
        self.last += 1;
        let call = json!({ "jsonrpc": "2.0", "id": self.last, "method": method, "params": params });
        writeln!(self.lines.get_mut(), "{call}").unwrap();
        self.last
    }

    /// Reads until the answer to a call.
    fn answer(&mut self, id: u64) -> Value {
        loop {
            let mut line = String::new();
            assert!(self.lines.read_line(&mut line).unwrap() > 0, "the daemon hung up");
            let mut message: Value = serde_json::from_str(&line).unwrap();
            if message["id"] == id {
                assert!(message.get("error").is_none_or(Value::is_null), "{message}");
                return message["result"].take();
            }
        }
    }

    /// Reads until something is told.
    fn told(&mut self, what: &str) {
        let mut line = String::new();
        while !line.contains(what) {
            line.clear();
            assert!(self.lines.read_line(&mut line).unwrap() > 0, "the daemon hung up");
        }
    }

    fn call(&mut self, method: &str, params: &Value) -> Value {
        let id = self.send(method, params);
        self.answer(id)
    }

    fn warm(&mut self, version: &str) -> Value {
        self.call("warm", &json!({ "version": version }))
    }
}

fn instance(env: &TestEnv, version: &str) -> Value {
    let status = env.json(&["status"]);
    let instances = status["instances"].as_array().unwrap();
    instances.iter().find(|instance| instance["version_id"] == version).cloned().unwrap_or_default()
}

#[test]
fn the_second_time_it_runs_already() {
    let env = version();
    let first = env.json(&["warm", "v"]);
    assert_eq!(first["how"], "realized");
    assert!(first["timings"]["start_ms"].as_u64().unwrap() > 0, "{first}");
    let second = env.json(&["warm", "v"]);
    assert_eq!(second["how"], "running");
    assert!(second["timings"]["start_ms"].as_u64() < first["timings"]["start_ms"].as_u64(), "{second}");
    assert_eq!(second["instance"]["state"], first["instance"]["state"]);
    assert_eq!(second["instance"]["leases"], 1, "the first one's ended with it");
    assert_eq!(env.json(&["stop", "v"])["stopped"], true);
    assert_eq!(env.json(&["warm", "v"])["how"], "started");
}

#[test]
fn what_changed_a_moment_ago_counts() {
    let env = version();
    let mut caller = {
        env.json(&["warm", "v"]);
        Caller::connect(&env)
    };
    let first = caller.warm("v");
    assert_eq!(
        (&first["how"], &caller.warm("v")["instance"]["state"]),
        (&json!("running"), &first["instance"]["state"])
    );
    let mut spec = env.spec();
    spec["env"] = json!({ "MINE": "two" });
    env.write_spec("v", &spec);
    let second = caller.warm("v");
    assert_eq!(second["how"], "started");
    assert_ne!(second["instance"]["state"]["pid"], first["instance"]["state"]["pid"]);
    env.json(&["stop", "v"]);
    assert_eq!(caller.warm("v")["how"], "started", "it was stopped by someone else");
    let pid = instance(&env, "v")["state"]["pid"].as_u64().unwrap();
    kill(pid.try_into().unwrap(), "KILL");
    eventually("its death is seen", || instance(&env, "v")["state"]["pid"] != pid);
    let third = caller.warm("v");
    assert_ne!(third["instance"]["state"]["pid"], pid);
    let spec_file = env.path("vol/versions/v.json");
    std::fs::remove_file(spec_file).unwrap();
    let id = caller.send("warm", &json!({ "version": "v" }));
    let mut line = String::new();
    caller.lines.read_line(&mut line).unwrap();
    assert!(line.contains("there is no version `v`"), "{id}: {line}");
}

#[test]
fn a_claim_ends_when_it_is_released_or_its_client_dies() {
    let env = version();
    env.json(&["warm", "v"]);
    let mut caller = Caller::connect(&env);
    let lease = caller.warm("v")["lease"].take();
    let other = caller.warm("v")["lease"].take();
    assert_ne!(lease, other);
    assert_eq!(instance(&env, "v")["leases"], 2);
    assert_eq!(caller.call("release", &json!({ "lease": lease }))["released"], true);
    assert_eq!(caller.call("release", &json!({ "lease": lease }))["released"], false);
    assert_eq!(instance(&env, "v")["leases"], 1);
    let mut holder = env.spawn(&["warm", "v", "--hold"]);
    eventually("it is claimed", || instance(&env, "v")["leases"] == 2);
    kill(holder.id(), "KILL");
    holder.wait().unwrap();
    eventually("the dead one's claim ends", || instance(&env, "v")["leases"] == 1);
    drop(caller);
    eventually("the claim ends with the connection", || instance(&env, "v")["leases"] == 0);
}

#[test]
fn a_claim_that_is_kept_ends_well_with_ctrl_c() {
    let env = version();
    let mut holder = env.spawn(&["warm", "v", "--hold"]);
    let mut told = BufReader::new(holder.stdout.take().unwrap());
    let mut line = String::new();
    told.read_line(&mut line).unwrap();
    assert!(line.starts_with("v runs at http://"), "{line}");
    assert_eq!(instance(&env, "v")["leases"], 1);
    kill(holder.id(), "INT");
    let ended = holder.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(0), "{}", String::from_utf8_lossy(&ended.stderr));
    assert_eq!(instance(&env, "v")["state"]["kind"], "ready", "it runs on");
}

#[test]
fn where_one_may_run_another_waits_for_the_claim_and_takes_the_place() {
    let mut env = version();
    env.set("COMFYD_MAX_INSTANCES", "1");
    env.write_spec("w", &env.spec());
    env.json(&["warm", "v"]);
    let other = env.json(&["warm", "w"]);
    assert!(other["timings"]["room_ms"].as_u64().unwrap() > 0, "{other}");
    assert_eq!(instance(&env, "v")["state"]["kind"], "exited", "nobody claimed it");
    let mut holder = Caller::connect(&env);
    let lease = holder.warm("w")["lease"].take();
    let mut waiting = Caller::connect(&env);
    let call = waiting.send("warm", &json!({ "version": "v" }));
    waiting.told(r#""for_what":"room for ComfyUI of `v`","holder":"w""#);
    assert_eq!(instance(&env, "w")["state"]["kind"], "ready");
    holder.call("release", &json!({ "lease": lease }));
    assert_eq!(waiting.answer(call)["how"], "started");
    assert_eq!(instance(&env, "w")["state"]["kind"], "exited");
}

#[test]
fn a_limit_that_makes_no_sense_is_told() {
    let mut env = version();
    for (name, value) in
        [("COMFYD_MAX_INSTANCES", "0"), ("COMFYD_GPU_RESERVE", "much"), ("COMFYD_PINNED", "a/b")]
    {
        env.set(name, value);
        let output = env.comfyd().output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && told.contains(name), "{told}");
        env.unset(name);
    }
}
