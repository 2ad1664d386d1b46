//! One canary in every secret that the daemon is given, and a search of every place where it must not be: files,
//! output, processes, hosts, and each byte on the socket, while a version goes through its whole life.

use crate::adoption::crash;
use crate::client::machine;
use serde_json::json;
use std::fs;
use std::process::Stdio;
use support::TestEnv;
use support::env::Ended;
use support::file_server::{Fault, safetensors};
use support::process::eventually;
use support::raw_client::RawClient;
use support::tap::Tap;

const CANARY: &str = "c4n4ry";

/// Writes down which variables a program got, and with which arguments it was run.
const SPY: &str = "\
import os, pathlib
spied = pathlib.Path(os.environ['HOME'], 'spied')
spied.mkdir(exist_ok=True)
for pid in filter(str.isdigit, os.listdir('/proc')):
    try:
        title = pathlib.Path('/proc', pid, 'cmdline').read_bytes()
    except OSError:
        continue
    (spied / pid).write_bytes(title)
(spied / 'install.py').write_text(repr(dict(os.environ)))
";

fn with_canaries() -> TestEnv {
    let mut env = machine();
    let hub = env.files.url("");
    for name in ["HF_TOKEN", "CIVITAI_TOKEN", "RUNPOD_API_KEY"] {
        env.set(name, &format!("{name}-{CANARY}"));
    }
    env.set("HF_ENDPOINT", &hub);
    // uv tells what it was given before it begins.
    let (uv, real) = (env.path("uv"), support::uv_path());
    let spy = format!(
        "#!/bin/sh\nenv > \"$HOME/uv-env\"\necho \"$@\" >> \"$HOME/uv-args\"\nexec {} \"$@\"\n",
        real.display()
    );
    fs::write(&uv, spy).unwrap();
    fs::set_permissions(&uv, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    env.set("COMFYD_UV", &uv.display().to_string());
    env.files.put("/o/r/resolve/main/x.safetensors", safetensors("x"));
    env.files.put("/other.safetensors", safetensors("other"));
    let node = env.node("spy", &[("install.py", SPY)]);
    let mut spec = env.spec();
    spec["custom_nodes"] = json!([{ "repo": node.url() }]);
    spec["models"] = json!([
        { "source": "hf://o/r/x.safetensors", "target_subdir": "loras" },
        { "source": env.files.other_url("/other.safetensors"), "target_subdir": "loras" },
    ]);
    env.write_spec("v", &spec);
    env
}

fn holding(env: &TestEnv) -> Vec<String> {
    let found =
        std::process::Command::new("grep").args(["-rlaF", CANARY]).arg(env.path("")).output().unwrap();
    String::from_utf8(found.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// Looks at all processes but the daemon and comfyctl, which are given the secrets.
fn processes_hold_none(env: &TestEnv) {
    for pid in env.processes() {
        let read = |name: &str| {
            let bytes = fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
            String::from_utf8_lossy(&bytes).replace('\0', " ")
        };
        let title = read("cmdline");
        assert!(!title.contains(CANARY), "{title}");
        if !title.contains("comfyd") && !title.contains("comfyctl") {
            assert!(!read("environ").contains(CANARY), "the environment of {title}");
        }
    }
}

#[test]
#[allow(clippy::too_many_lines, reason = "one life, from its begin to its end")]
fn a_canary_in_every_secret_is_found_nowhere() {
    let env = with_canaries();
    env.json(&["status"]);
    let line = env.path("line.sock");
    let tap = Tap::between(&line, &env.socket());
    let line = line.display().to_string();
    let through = |args: &[&str]| -> Ended { env.comfyctl(&[args, &["--socket", &line]].concat()) };
    let graph = json!({
        "1": { "class_type": "EmptyImage", "inputs": { "width": 8, "height": 8, "batch_size": 1, "color": 1 } },
        "2": { "class_type": "SaveImage", "inputs": { "images": ["1", 0], "filename_prefix": "x" } },
    });
    fs::write(env.path("graph.json"), graph.to_string()).unwrap();
    let workflow = env.path("graph.json").display().to_string();
    let run = ["run", "--version-id", "v", "--workflow", &workflow, "--json", "-v"];

    let mut told = vec![through(&["realize", "v", "--dry-run", "--json"]), through(&["realize", "v", "-v"])];
    told.extend([through(&["ui", "v", "--detach", "--json"]), through(&run)]);
    assert!(told.iter().all(|ended| ended.status == Some(0)), "{told:?}");
    processes_hold_none(&env);
    // A host that repeats the token in its refusal, and one that sends it along.
    env.files.put("/o/r/resolve/main/y.safetensors", safetensors("y"));
    let refusal = Fault::Status(403, vec![], "HF_TOKEN-c4n4ry is wrong");
    env.files.always("/o/r/resolve/main/y.safetensors", refusal);
    let mut spec = env.spec();
    spec["models"] = json!([{ "source": "hf://o/r/y.safetensors", "target_subdir": "loras" }]);
    env.write_spec("w", &spec);
    let refused = through(&["realize", "w", "--json", "-v"]);
    assert_eq!(refused.status, Some(7), "{refused:?}");
    told.push(refused);

    // A daemon that dies in the middle, and the next one, which adopts.
    let mut during = env.command(&["realize", "v", "--update", "--json", "-v"]);
    let during = during.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    crash(&env);
    told.push(during.wait_with_output().unwrap().into());
    let adopted = env.json(&["status"]);
    assert_eq!(adopted["instances"][0]["adopted"], true, "{adopted}");
    // A user's own key goes to ComfyUI with its job, and stays with it.
    let params = json!({ "version": "v", "workflow": graph, "comfy_org_api_key": format!("org-{CANARY}") });
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "run", "params": params }).to_string();
    let mut client = RawClient::connect(&env.socket());
    client.write(&call);
    let answer = loop {
        let message = client.read().unwrap();
        assert!(!message.to_string().contains(CANARY), "{message}");
        if message["method"].is_null() {
            break message;
        }
    };
    assert!(answer["result"].is_object(), "{answer}");
    for args in
        [&["status", "--json", "-v"][..], &["logs", "v"], &["show", "v", "--json"], &["list", "--json"]]
    {
        told.push(through(args));
    }
    processes_hold_none(&env);

    for text in told.iter().flat_map(|ended| [&ended.stdout, &ended.stderr]) {
        assert!(!text.contains(CANARY), "{text}");
    }
    let heard = tap.heard();
    assert!(
        heard.contains("\"method\":\"hello\"") && heard.contains("\"outcome\""),
        "the line was listened to"
    );
    assert!(!heard.contains(CANARY), "on the socket: {heard}");
    for seen in env.files.seen() {
        let own = seen.host.starts_with("127.0.0.1") && seen.authorization.is_some();
        assert!(own || !format!("{seen:?}").contains(CANARY), "{seen:?}");
    }
    assert!(!env.git.requests().concat().contains(CANARY));
    assert!(
        env.path("home/spied/install.py").exists() && env.path("home/uv-env").exists(),
        "both were spied on"
    );
    assert_eq!(holding(&env), [""; 0]);
    assert_eq!(env.comfyctl(&["shutdown"]).status, Some(0));
    eventually("all have ended", || env.processes().is_empty());
    assert_eq!(holding(&env), [""; 0], "nor does the end write one");
}
