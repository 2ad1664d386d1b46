//! What Tab finds: verbs, options and versions, in the shell that people have.

use crate::client::machine;
use serde_json::json;
use std::fs::{self, File};
use std::process::Command;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};
use support::TestEnv;
use support::script_daemon::ScriptDaemon;

/// Learns from `comfyctl completions bash` and completes a line at its end, as bash does at a Tab.
const TAB: &str = r#"
eval "$(comfyctl completions bash)"
read -ra COMP_WORDS <<<"$LINE"
[[ $LINE == *' ' ]] && COMP_WORDS+=("")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMP_LINE=$LINE COMP_POINT=${#LINE} COMP_TYPE=9
function=$(complete -p comfyctl | sed 's/.* -F \([^ ]*\).*/\1/')
"$function" comfyctl "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\n' "${COMPREPLY[@]}"
"#;

/// A comfyctl on PATH, for a bash that knows no other.
fn bash(env: &TestEnv) -> Command {
    let programs = std::path::Path::new(env!("CARGO_BIN_EXE_comfyctl")).parent().unwrap();
    let mut command = Command::new("bash");
    command.env_clear().env("HOME", env.path("home")).env("XDG_RUNTIME_DIR", env.path("run"));
    command.env("COMFY_VOLUME", env.path("vol")).env("PATH", format!("{}:/usr/bin:/bin", programs.display()));
    command.current_dir(env.path("home"));
    command
}

fn tab(command: &mut Command, line: &str) -> Vec<String> {
    let output = command.args(["--norc", "-c", TAB]).env("LINE", line).output().unwrap();
    assert!(output.stderr.is_empty(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn verbs_and_options_are_completed() {
    let env = machine();
    assert_eq!(tab(&mut bash(&env), "comfyctl real"), ["realize"]);
    assert_eq!(tab(&mut bash(&env), "comfyctl realize --dry"), ["--dry-run"]);
    assert_eq!(tab(&mut bash(&env), "comfyctl handler ")[..2], ["run", "help"]);
    assert_eq!(tab(&mut bash(&env), "comfyctl completions ")[..3], ["bash", "zsh", "fish"]);
}

#[test]
fn versions_are_completed_by_their_files_and_no_daemon_is_started() {
    let env = machine();
    for id in ["sd15", "sdxl", "flux"] {
        env.write_spec(id, &env.spec());
    }
    fs::write(env.volume("versions/sd.schema.json"), "{}").unwrap();
    let beside = env.path("home/versions");
    fs::create_dir(&beside).unwrap();
    fs::write(beside.join("sd-mine.json"), "not even JSON").unwrap();
    for verb in ["realize", "logs --follow", "run --version-id", "prefetch flux", "version test"] {
        let line = format!("comfyctl {verb} sd");
        assert_eq!(tab(&mut bash(&env), &line), ["sd-mine", "sd15", "sdxl"], "{line}");
    }
    assert_eq!(tab(&mut bash(&env), "comfyctl test ./versions/sd"), ["./versions/sd-mine.json"]);
    assert!(env.processes().is_empty());
    assert!(!env.socket().exists());
}

/// Holds the lock by which a socket's daemon is known to run.
fn held(daemon: &ScriptDaemon) -> File {
    let lock = File::create(daemon.socket().with_extension("sock.lock")).unwrap();
    lock.lock().unwrap();
    lock
}

#[test]
fn a_daemon_that_runs_tells_its_own_versions() {
    let env = machine();
    env.write_spec("on-disk", &env.spec());
    let daemon = ScriptDaemon::start(|peer| {
        peer.hello();
        let call = peer.expect("status");
        let versions = json!([{"version_id": "of-daemon", "home": "/h", "rung": "realized"}]);
        peer.answer(
            &call,
            &json!({"version": "1", "pid": 7, "uptime_s": 1, "socket": "/s", "places": {},
                "jobs": [], "instances": [], "versions": versions}),
        );
    });
    let _lock = held(&daemon);
    let found = tab(bash(&env).env("COMFYD_SOCKET", daemon.socket()), "comfyctl show o");
    assert_eq!(found, ["of-daemon", "on-disk"]);
    daemon.finish();
}

#[test]
fn a_daemon_that_is_silent_costs_a_moment() {
    let env = machine();
    env.write_spec("on-disk", &env.spec());
    let (done, over) = channel::<()>();
    let daemon = ScriptDaemon::start(move |peer| {
        peer.expect("hello");
        over.recv().ok();
    });
    let _lock = held(&daemon);
    let begun = Instant::now();
    assert_eq!(tab(bash(&env).env("COMFYD_SOCKET", daemon.socket()), "comfyctl show o"), ["on-disk"]);
    // Its own limit is a twentieth of a second; the rest is for machines that do much besides.
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    drop(done);
    daemon.finish();
}

#[test]
fn the_shells_can_read_what_they_are_taught() {
    let env = machine();
    for shell in ["bash", "zsh", "fish"] {
        let script = env.comfyctl(&["completions", shell]);
        assert_eq!(script.status, Some(0), "{}", script.stderr);
        let file = env.path(shell);
        fs::write(&file, script.stdout).unwrap();
        match Command::new(shell).arg("-n").arg(&file).output() {
            Ok(output) => {
                assert!(output.status.success(), "{shell}: {}", String::from_utf8_lossy(&output.stderr));
            }
            Err(_) => eprintln!("{shell} is not installed: its script is not checked"),
        }
    }
}
