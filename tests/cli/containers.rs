//! comfyd as the first process of a container: it stands in front of the daemon.

use crate::client::machine;
use serde_json::json;
use std::fs;
use std::os::unix::net::UnixStream;
use std::process::Command;
use support::TestEnv;
use support::container::{Container, said};
use support::process::{eventually, kill};

/// Processes that lose their parents.
const ORPHANS: usize = 100;

/// Starts a container of comfyd.
fn container(env: &TestEnv) -> Container {
    let container = Container::start(env, &env.comfyd());
    eventually("the daemon listens", || UnixStream::connect(env.socket()).is_ok());
    container
}

/// Returns the daemon behind the first process.
fn daemon(container: &Container) -> u32 {
    let children = container.children();
    assert_eq!(children.len(), 1, "{children:?}");
    children[0].0
}

#[test]
fn orphans_are_reaped_and_the_daemon_awaits_its_own_children() {
    let env = machine();
    let mut spec = env.spec();
    // ComfyUI leaves a child behind, too.
    spec["env"] = json!({ "FAKE_COMFYUI": "grandchild" });
    env.write_spec("v", &spec);
    let container = container(&env);
    let ended = env.path("run/ended");
    let orphan = format!("sleep 0.01; echo >> {}", ended.display());
    let mut flood = Command::new("sh");
    flood.args(["-c", &format!("i=0; while [ $i -lt {ORPHANS} ]; do i=$((i+1)); ( ( {orphan} ) & ); done")]);
    let mut flood = container.command(flood.env("PATH", "/usr/bin:/bin")).spawn().unwrap();
    // Meanwhile uv and ComfyUI are children of the daemon, whose exit statuses it needs.
    let warm = container.comfyctl(&env, &["warm", "v"]);
    assert_eq!(warm.status, Some(0), "{}{}", warm.stderr, said(&env));
    assert_eq!(container.comfyctl(&env, &["stop", "v"]).status, Some(0));
    assert!(flood.wait().unwrap().success());
    let count = || fs::read_to_string(&ended).unwrap_or_default().lines().count();
    eventually("all orphans end", || count() == ORPHANS);
    eventually("nobody is left but the daemon", || container.children().len() == 1);
    assert!(!container.children()[0].1, "the daemon lives");
}

#[test]
fn a_signal_to_the_first_process_stops_the_daemon_in_order() {
    for signal in ["TERM", "INT"] {
        let env = machine();
        env.write_spec("v", &env.spec());
        let container = container(&env);
        assert_eq!(container.comfyctl(&env, &["warm", "v"]).status, Some(0));
        kill(container.first(), signal);
        let status = container.wait();
        assert_eq!(status.code(), Some(0), "{}", said(&env));
        assert!(said(&env).contains("asked to stop"), "{}", said(&env));
        assert!(!env.socket().exists(), "an orderly stop takes the socket away");
        assert_eq!(env.processes(), [0_u32; 0]);
    }
}

#[test]
fn the_container_ends_as_the_daemon_does() {
    let env = machine();
    let running = container(&env);
    // Whoever waits in the container for its end is killed by it.
    running.comfyctl(&env, &["shutdown"]);
    assert_eq!(running.wait().code(), Some(0));

    let running = container(&env);
    kill(daemon(&running), "KILL");
    assert_eq!(running.wait().code(), Some(128 + 9), "as of a shell");

    let mut comfyd = env.comfyd();
    let broken = Container::start(&env, comfyd.env("COMFYD_MAX_QUEUE", "many"));
    assert_eq!(broken.wait().code(), Some(1));
    assert!(said(&env).contains("COMFYD_MAX_QUEUE is `many`"), "{}", said(&env));
}
