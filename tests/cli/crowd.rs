//! Crowds: everyone wants the same at once, and it is made once.

use crate::client::{Gate, gate, machine};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::process::Child;
use std::time::Instant;
use support::env::{Ended, UPLOADED};
use support::process::{eventually, kill};
use support::{TestEnv, Wheel, unfolded};

/// Asks on a connection of its own.
fn ask(env: &TestEnv, version: &str) -> BufReader<UnixStream> {
    let mut stream = UnixStream::connect(env.socket()).unwrap();
    let params = json!({ "version": version });
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "realize", "params": params });
    writeln!(stream, "{call}").unwrap();
    BufReader::new(stream)
}

/// Reads until the answer; returns when it came.
fn answer(client: BufReader<UnixStream>) -> (Value, Instant) {
    // Found by its text: reading all that is told of progress would take the daemon's processor time.
    let mut lines = client.lines().map(Result::unwrap);
    let line = lines.find(|line| !line.contains("\"progress\"")).expect("an answer");
    let came = Instant::now();
    (serde_json::from_str(&line).unwrap(), came)
}

fn ended(child: Child) -> Ended {
    child.wait_with_output().unwrap().into()
}

/// A version with a custom node at a gate, a package and a model.
fn gated() -> (TestEnv, Gate, Wheel) {
    let env = machine();
    let gate = gate(&env, "v");
    let wheel = Wheel::new("shared", "1.0");
    env.index.add(&wheel, UPLOADED);
    let mut spec: Value =
        serde_json::from_str(&fs::read_to_string(env.volume("versions/v.json")).unwrap()).unwrap();
    spec["python_packages"] = json!(["shared"]);
    spec["models"] = json!([{ "source": env.model("/m.safetensors"), "target_subdir": "loras" }]);
    env.write_spec("v", &spec);
    (env, gate, wheel)
}

#[test]
fn two_hundred_clients_of_one_cold_version_cost_the_hosts_what_one_costs() {
    const CONNECTIONS: usize = 200;
    const PROGRAMS: usize = 20;
    let (alone, gate, wheel) = gated();
    gate.open();
    alone.json(&["realize", "v"]);
    let packages = alone.index.downloads(&wheel);
    let (env, gate, wheel) = gated();
    env.json(&["status"]);
    let connections: Vec<_> = (0..CONNECTIONS).map(|_| ask(&env, "v")).collect();
    let programs: Vec<_> = (0..PROGRAMS).map(|_| env.spawn(&["realize", "v", "--json"])).collect();
    eventually("all wait for one job", || {
        let jobs = env.json(&["status"])["jobs"].take();
        jobs.as_array().is_some_and(|jobs| jobs.len() == 1)
            && jobs[0]["waiting"].as_u64() == Some((CONNECTIONS + PROGRAMS) as u64)
    });
    let readers: Vec<_> =
        connections.into_iter().map(|client| std::thread::spawn(|| answer(client))).collect();
    gate.open();
    let answers: Vec<_> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
    for (answer, _) in &answers {
        assert_eq!(answer["result"]["outcome"], "realized", "{answer}");
    }
    for program in programs {
        let ended = ended(program);
        assert_eq!(ended.status, Some(0), "{}{}", ended.stdout, ended.stderr);
    }
    let moments = || answers.iter().map(|(_, at)| *at);
    let spread = moments().max().unwrap() - moments().min().unwrap();
    println!("clients held: {}; from the first answer to the last: {spread:?}", CONNECTIONS + PROGRAMS);
    assert_eq!(env.git.requests().len(), alone.git.requests().len(), "fetches of repositories");
    assert_eq!(env.files.seen().len(), alone.files.seen().len(), "requests for models");
    // uv reads a package's metadata in one request or in two.
    let asked = env.index.downloads(&wheel);
    assert!(
        asked.abs_diff(packages) <= 1,
        "{asked} requests for a package's file, and {packages} for one client"
    );
    assert_eq!(gate.passed(), 1, "one environment was built");
    assert_eq!(fs::read_dir(env.home("v").join("generations")).unwrap().count(), 1);
}

/// Two versions that share ComfyUI, a custom node by its commit, and a model; the daemon's first checkout of the
/// node takes some seconds, and `then` is what a second one comes to.
fn two_versions(then: &str) -> TestEnv {
    let mut env = machine();
    let failpoint = format!("checkout.publish=1*sleep(3000){then}");
    env.set("FAILPOINTS", &failpoint);
    let node = env.node("n", &[("data.txt", "data\n")]);
    let mut spec = env.spec();
    spec["comfy"] = json!({ "repo": env.comfy.url(), "commit": env.comfy.head() });
    spec["custom_nodes"] = json!([{ "repo": node.url(), "commit": node.head() }]);
    spec["models"] = json!([{ "source": env.model("/m.safetensors"), "target_subdir": "loras" }]);
    env.write_spec("v", &spec);
    env.write_spec("w", &spec);
    env
}

/// Returns the wait of a realize under way, once it has one for the node's checkout.
fn wait_for_node(env: &TestEnv) -> Value {
    let mut found = Value::Null;
    eventually("one waits for the other's checkout", || {
        let status = env.json(&["status"]);
        let waits = status["jobs"].as_array().unwrap().iter().filter_map(|job| job["waits"].as_array());
        let is_node = |wait: &&Value| wait["for_what"].as_str().unwrap().contains("/n@");
        found = waits.flatten().find(is_node).cloned().unwrap_or_default();
        !found.is_null()
    });
    found
}

#[test]
fn two_versions_side_by_side_share_what_is_in_flight() {
    let env = two_versions("->return(EIO)");
    let clients = ["v", "w"].map(|version| env.spawn(&["realize", version, "--json"]));
    let wait = wait_for_node(&env);
    let daemon = env.json(&["status"])["pid"].as_u64().unwrap();
    assert!(wait["holder"].as_str().unwrap().starts_with(&format!("pid {daemon} on ")), "{wait}");
    assert!(wait["left_ms"].as_u64().unwrap() > 0, "{wait}");
    let shown = unfolded(&env.comfyctl(&["status"]).stdout);
    assert!(shown.contains("waiting for") && shown.contains(&format!("held by pid {daemon}")), "{shown}");
    for client in clients {
        let ended = ended(client);
        assert_eq!(ended.status, Some(0), "checked out once: {}{}", ended.stdout, ended.stderr);
    }
    let downloads = env.files.seen().into_iter().filter(|seen| seen.range.as_deref() != Some("bytes=0-0"));
    assert!(downloads.count() <= 1, "one download");
    for version in ["v", "w"] {
        assert_eq!(env.json(&["realize", version])["outcome"], "ready");
        let node = env.home(version).join("current/ComfyUI/custom_nodes/n/data.txt");
        assert_eq!(fs::read_to_string(node).unwrap(), "data\n");
    }
    let packs = |requests: &[String]| requests.iter().filter(|request| request.starts_with("POST")).count();
    let alone = machine_of_one();
    assert_eq!(packs(&env.git.requests()), packs(&alone.git.requests()), "{:#?}", env.git.requests());
}

/// The same for one version.
fn machine_of_one() -> TestEnv {
    let env = two_versions("");
    env.json(&["realize", "v"]);
    env
}

#[test]
fn one_that_leaves_in_the_middle_leaves_the_work_to_the_one_that_waits() {
    let env = two_versions("");
    let mut clients = vec![env.spawn(&["realize", "v", "--json"]), env.spawn(&["realize", "w", "--json"])];
    wait_for_node(&env);
    let jobs = env.json(&["status"])["jobs"].take();
    let waits = |job: &&Value| job["waits"].as_array().is_some_and(|waits| !waits.is_empty());
    let waiter = jobs.as_array().unwrap().iter().find(waits).unwrap();
    let leaver = usize::from(waiter["version_id"] == "v");
    let leaver = clients.remove(leaver);
    kill(leaver.id(), "INT");
    assert_eq!(ended(leaver).status, Some(130));
    let stays = ended(clients.remove(0));
    assert_eq!(stays.status, Some(0), "{}{}", stays.stdout, stays.stderr);
    for version in ["v", "w"] {
        env.json(&["realize", version]);
        assert_eq!(env.json(&["realize", version])["outcome"], "ready");
    }
}
