//! A volume that is mounted after the container began.

use crate::client::machine;
use std::fs;
use std::process::Command;
use support::container::Container;
use support::process::eventually;
use support::{TestEnv, unfolded};

/// Returns a machine whose volume is an empty mount point, and the seconds to wait for it.
fn unmounted(seconds: &str) -> TestEnv {
    let mut env = machine();
    fs::remove_dir_all(env.path("vol")).unwrap();
    fs::create_dir(env.path("vol")).unwrap();
    env.set("COMFYD_VOLUME_WAIT", seconds);
    env
}

/// Starts a container that does nothing by itself.
fn idle(env: &TestEnv) -> Container {
    let mut sleep = Command::new("sleep");
    Container::start(env, sleep.arg("1000").env("PATH", "/usr/bin:/bin"))
}

#[test]
fn the_daemon_waits_for_its_volume_and_clients_wait_for_the_daemon() {
    let env = unmounted("600");
    let container = idle(&env);
    let told = env.path("run/told");
    let mut client = container.command(&env.command(&["list"]));
    let mut client = client.stderr(fs::File::create(&told).unwrap()).spawn().unwrap();
    eventually("the daemon says what it waits for", || {
        env.log().contains(&format!("waiting until a volume is mounted at `{}`", env.path("vol").display()))
    });
    assert!(!env.socket().exists(), "it serves nobody yet");
    assert_eq!(fs::read_dir(env.path("vol")).unwrap().count(), 0, "nothing is made below the mount point");
    eventually("the client says why it waits", || {
        let log = env.path("state/comfyd/comfyd.log");
        let said = format!("comfyd does not listen yet; `{}` says what it waits for", log.display());
        unfolded(&fs::read_to_string(&told).unwrap()) == said
    });
    container.mount(&env.path("vol"));
    assert!(client.wait().unwrap().success(), "{}", env.log());
    let status = container.comfyctl(&env, &["status", "--json"]);
    assert!(status.stdout.contains(&env.path("vol").display().to_string()), "{}", status.stdout);
    assert_eq!(container.comfyctl(&env, &["shutdown"]).status, Some(0));
}

#[test]
fn a_volume_that_does_not_come_is_not_replaced() {
    let env = unmounted("1");
    let error = env.error(&["status"], 17);
    let said = format!("no volume was mounted at `{}` within 1 s", env.path("vol").display());
    assert!(error.to_string().contains(&said), "{error}");
    assert_eq!(fs::read_dir(env.path("vol")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(env.path("home")).unwrap().count(), 0, "the home directory is no volume");
}

#[test]
fn a_daemon_whose_volume_is_awaited_can_be_stopped() {
    let env = unmounted("600");
    let mut comfyd = env.comfyd();
    let container = Container::start(&env, comfyd.env("COMFYD_LOG", "info"));
    eventually("it waits", || support::container::said(&env).contains("waiting until a volume is mounted"));
    support::process::kill(container.first(), "TERM");
    assert_eq!(container.wait().code(), Some(128 + 15));
}
