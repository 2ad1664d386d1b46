//! Tokens: they reach their host, and nothing else sees them unless the spec asks for it.

use crate::client::machine;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use support::TestEnv;
use support::file_server::{Fault, safetensors};

const CANARY: &str = "hf_c4n4ry";

/// A machine whose daemon has tokens, and a version with a model of the hub and one of another host.
fn with_tokens() -> (TestEnv, Value) {
    let mut env = machine();
    let hub = env.files.url("");
    env.set("HF_ENDPOINT", &hub);
    env.set("HF_TOKEN", CANARY);
    env.set("CIVITAI_TOKEN", "civ_c4n4ry");
    env.files.put("/o/r/resolve/main/x.safetensors", safetensors("x"));
    env.files.put("/other.safetensors", safetensors("other"));
    let mut spec = env.spec();
    spec["models"] = json!([
        { "source": "hf://o/r/x.safetensors", "target_subdir": "loras" },
        { "source": env.files.other_url("/other.safetensors?sig=s1gned"), "target_subdir": "loras",
          "name": "other.safetensors" },
    ]);
    env.write_spec("v", &spec);
    (env, spec)
}

/// Returns the files under a directory that hold a text.
fn holding(dir: &Path, text: &str) -> Vec<String> {
    let found = std::process::Command::new("grep").args(["-rlF", text]).arg(dir).output().unwrap();
    String::from_utf8(found.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn comfyui_environ(answer: &Value) -> String {
    let pid = answer["instance"]["state"]["pid"].as_u64().unwrap();
    String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/environ")).unwrap()).into_owned()
}

#[test]
fn a_token_reaches_its_host_and_nothing_else() {
    let (env, _) = with_tokens();
    let told = [
        env.comfyctl(&["realize", "v", "--dry-run", "--json"]),
        env.comfyctl(&["realize", "v", "--json", "-v"]),
        env.comfyctl(&["show", "v", "--json"]),
        env.comfyctl(&["status", "--json"]),
    ];
    let hosts: Vec<_> = env.files.seen();
    assert!(
        hosts.iter().all(|seen| {
            let is_hub = seen.host.starts_with("127.0.0.1");
            seen.authorization.as_deref() == is_hub.then_some(&*format!("Bearer {CANARY}"))
        }),
        "{hosts:?}"
    );
    let instance = env.json(&["ui", "v", "--detach"]);
    for text in told.iter().flat_map(|ended| [&ended.stdout, &ended.stderr]) {
        assert!(!text.contains("c4n4ry") && !text.contains("s1gned"), "{text}");
    }
    assert!(!comfyui_environ(&instance).contains("c4n4ry"));
    for pid in env.processes() {
        let title = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        assert!(!title.contains("c4n4ry"), "{title}");
    }
    assert_eq!(holding(&env.path(""), "c4n4ry"), [""; 0]);
    let spec = env.volume("versions/v.json").display().to_string();
    assert_eq!(holding(&env.path(""), "s1gned"), [spec], "a signature stands in the spec only");
}

#[test]
fn an_error_of_a_host_tells_no_token() {
    let (env, _) = with_tokens();
    env.files.always("/o/r/resolve/main/x.safetensors", Fault::Status(403, vec![], "hf_c4n4ry is wrong"));
    let ended = env.comfyctl(&["realize", "v", "--json"]);
    assert_eq!(ended.status, Some(7), "{}", ended.stdout);
    assert!(!ended.stdout.contains("c4n4ry"), "{}", ended.stdout);
    assert!(!env.log().contains("c4n4ry"), "{}", env.log());
}

#[test]
fn a_spec_that_asks_for_a_token_gives_it_to_comfyui() {
    let (env, mut spec) = with_tokens();
    spec["env"] = json!({ "HF_TOKEN": "$HF_TOKEN" });
    env.write_spec("v", &spec);
    let instance = env.json(&["ui", "v", "--detach"]);
    assert!(comfyui_environ(&instance).contains(&format!("HF_TOKEN={CANARY}")));
    let shown = env.comfyctl(&["show", "v", "--json"]);
    assert!(!shown.stdout.contains("c4n4ry"), "{}", shown.stdout);
    assert_eq!(holding(&env.path(""), "c4n4ry"), [""; 0]);
}
