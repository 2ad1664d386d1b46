//! comfyd as a service: what it tells a service manager, the socket that it may be passed, and whose daemon a client
//! comes to. `tests/systemd` has the same with systemd itself.
#![allow(clippy::print_stdout, reason = "tells whoever reads the run what was left out")]

use crate::client::machine;
use serde_json::Value;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use support::TestEnv;
use support::env::Ended;
use support::process::{PATIENCE, eventually, kill};

/// Stands where systemd does.
struct Listener {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Listener {
    fn new(env: &TestEnv) -> Self {
        let path = env.path("run/notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, path }
    }

    /// Returns the next thing that it is told.
    fn next(&self) -> String {
        let mut bytes = [0; 4096];
        let length = self.socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    }

    /// Returns everything that it was told and did not read yet.
    fn rest(&self) -> Vec<String> {
        self.socket.set_nonblocking(true).unwrap();
        let mut bytes = [0; 4096];
        let told = std::iter::from_fn(|| {
            let length = self.socket.recv(&mut bytes).ok()?;
            Some(String::from_utf8(bytes[..length].to_vec()).unwrap())
        });
        let told = told.collect();
        self.socket.set_nonblocking(false).unwrap();
        told
    }
}

/// Starts a daemon that has a service manager, which wants to hear from it every 600 ms.
fn under_a_manager(env: &TestEnv, manager: &Listener) -> Child {
    let log = fs::File::create(env.path("run/said")).unwrap();
    let mut command = env.comfyd();
    command.env("NOTIFY_SOCKET", &manager.path).env("WATCHDOG_USEC", "600000");
    command.stderr(log).spawn().unwrap()
}

fn pid(status: &Value) -> u32 {
    u32::try_from(status["pid"].as_u64().unwrap()).unwrap()
}

#[test]
fn the_service_manager_hears_when_clients_are_served_what_is_done_and_how_long_the_stop_may_take() {
    let env = machine();
    let manager = Listener::new(&env);
    let mut daemon = under_a_manager(&env, &manager);
    assert_eq!(manager.next(), "READY=1\nSTATUS=serving\n");
    let client = env.comfyctl(&["status", "--json", "--no-start"]);
    assert_eq!(client.status, Some(0), "it listens when it says so: {client:?}");
    assert_eq!(manager.next(), "WATCHDOG=1\nSTATUS=serving: 0 ComfyUI processes, 0 realizes, 0 workflows\n");
    assert!(manager.next().starts_with("WATCHDOG=1\n"), "again and again");
    kill(daemon.id(), "TERM");
    assert!(daemon.wait().unwrap().success());
    let told = manager.rest();
    let stop: Vec<_> = told.iter().filter(|text| text.starts_with("STOPPING=1\n")).collect();
    assert!(stop[0].contains("STATUS=stopping: workflows\nEXTEND_TIMEOUT_USEC=35000000\n"), "{told:?}");
    assert!(stop.len() > 3 && told.last() == stop.last().copied(), "{told:?}");
}

/// A daemon that runs and serves nobody: it may open no file more, so it accepts no connection.
#[test]
fn who_cannot_serve_clients_does_not_say_that_it_lives() {
    let env = machine();
    let manager = Listener::new(&env);
    let mut daemon = under_a_manager(&env, &manager);
    assert!(manager.next().starts_with("READY=1\n"));
    let may_open = |files: &str| {
        let pid = daemon.id().to_string();
        let limit = format!("--nofile={files}:");
        assert!(Command::new("prlimit").args(["--pid", &pid, &limit]).status().unwrap().success());
    };
    let complaints = || {
        let said = fs::read_to_string(env.path("run/said")).unwrap();
        said.matches("a client would get no answer").count()
    };
    may_open("4");
    eventually("it notices", || complaints() > 0);
    manager.rest();
    eventually("it goes on to notice", || complaints() > 3);
    assert_eq!(manager.rest(), [""; 0]);
    may_open("1024");
    assert!(manager.next().starts_with("WATCHDOG=1\n"));
    kill(daemon.id(), "TERM");
    assert!(daemon.wait().unwrap().success());
}

/// A message to a service manager waits while it reads none, as at the end of a machine's shutdown.
#[test]
fn a_service_manager_that_does_not_listen_holds_nobody_up() {
    let env = machine();
    let manager = Listener::new(&env);
    let mut daemon = under_a_manager(&env, &manager);
    let other = UnixDatagram::unbound().unwrap();
    other.set_nonblocking(true).unwrap();
    // As many as the kernel keeps for one who does not read (unix(7)).
    eventually("no message more can be left", || other.send_to(b"X=1", &manager.path).is_err());
    assert_eq!(env.comfyctl(&["status", "--no-start"]).status, Some(0));
    kill(daemon.id(), "TERM");
    let begun = Instant::now();
    assert!(daemon.wait().unwrap().success());
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[test]
fn what_the_service_manager_says_to_the_daemon_no_child_hears() {
    let env = machine();
    env.write_spec("v", &env.spec());
    let manager = Listener::new(&env);
    let mut daemon = under_a_manager(&env, &manager);
    assert!(manager.next().starts_with("READY=1\n"));
    let instance = env.json(&["ui", "v", "--detach"])["instance"].take();
    let environment = fs::read(format!("/proc/{}/environ", pid(&instance["state"]))).unwrap();
    let environment = String::from_utf8_lossy(&environment).into_owned();
    for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "LISTEN_"] {
        assert!(!environment.contains(name), "{environment}");
    }
    assert!(environment.contains("COMFYD_STARTED_BY"));
    kill(daemon.id(), "TERM");
    assert!(daemon.wait().unwrap().success());
    // Nor does a daemon that a service starts by comfyctl speak in that service's name.
    manager.rest();
    let mut client = env.command(&["status"]);
    let client = client.env("NOTIFY_SOCKET", &manager.path).env("WATCHDOG_USEC", "1").output().unwrap();
    assert!(client.status.success());
    assert_eq!(manager.rest(), [""; 0]);
}

/// Starts a daemon with a socket that listens already, as systemd passes it: descriptor 3.
fn with_passed(env: &TestEnv, listener: &UnixListener) -> Child {
    let comfyd = env.comfyd();
    let pass = "exec 3<&0 </dev/null; export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$0\"";
    let mut command = Command::new("sh");
    command.args(["-c", pass]).arg(comfyd.get_program()).env_clear();
    command.envs(comfyd.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.stdin(Stdio::from(OwnedFd::from(listener.try_clone().unwrap())));
    command.spawn().unwrap()
}

#[test]
fn a_passed_socket_serves_who_came_before_the_daemon_and_outlives_it() {
    let mut env = machine();
    let path = env.path("run/passed.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let file = fs::metadata(&path).unwrap().ino();
    // Where the daemon would listen by itself does not matter.
    env.set("COMFYD_SOCKET", &env.path("run/other.sock").display().to_string());
    let mut daemons = Vec::new();
    for round in 0..2 {
        let named = path.display().to_string();
        let early = env.spawn(&["status", "--json", "--no-start", "--socket", &named]);
        let mut daemon = with_passed(&env, &listener);
        let early: Ended = early.wait_with_output().unwrap().into();
        assert_eq!(early.status, Some(0), "round {round}: {early:?}");
        let status = early.json();
        assert_eq!(status["socket"], named, "round {round}");
        assert_eq!(pid(&status), daemon.id());
        daemons.push(pid(&status));
        assert_eq!(env.comfyctl(&["shutdown", "--socket", &named]).status, Some(0));
        assert!(daemon.wait().unwrap().success());
        assert_eq!(fs::metadata(&path).unwrap().ino(), file, "the file is systemd's: it stays");
    }
    assert_ne!(daemons[0], daemons[1]);
}

#[test]
fn sockets_that_cannot_be_served_are_refused_with_the_reason() {
    let env = machine();
    let listener = UnixListener::bind(env.path("run/passed.sock")).unwrap();
    let refused = |fds: &str, stdin: OwnedFd| {
        let pass = format!("exec 3<&0 4<&0 </dev/null; export LISTEN_FDS={fds} LISTEN_PID=$$; exec \"$0\"");
        let mut command = Command::new("sh");
        command.args(["-c", &pass]).arg(env.comfyd().get_program()).stdin(Stdio::from(stdin));
        let ended: Ended = command.output().unwrap().into();
        assert_eq!(ended.status, Some(1), "{ended:?}");
        ended.stderr
    };
    let said = refused("2", listener.into());
    assert!(said.contains("the service manager passed 2 sockets, and comfyd serves one"), "{said}");
    let said = refused("1", fs::File::open("/dev/null").unwrap().into());
    assert!(said.contains("failed to use the socket that the service manager passed: "), "{said}");
}

/// Runs comfyctl where `/run/comfyd` holds the socket of this machine's daemon, as systemd's would lie there.
fn beside_the_system(env: &TestEnv, client: &TestEnv, args: &[&str]) -> Ended {
    let script = "mount -t tmpfs tmpfs /run && mkdir /run/comfyd && cd /run/comfyd && \
        ln -s \"$0\" comfyd.sock && ln -s \"$0.lock\" comfyd.sock.lock && cd \"$HOME\" && exec \"$@\"";
    let inner = client.command(args);
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script]).arg(env.socket());
    command.arg(inner.get_program()).args(inner.get_args()).env_clear();
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.stdin(Stdio::null()).output().unwrap().into()
}

#[test]
fn a_client_comes_to_the_daemon_named_to_its_own_or_to_the_machines_in_this_order() {
    if !nix::unistd::geteuid().is_root() {
        println!("not root: /run cannot be replaced; tests/systemd has the same");
        return;
    }
    let (system, client) = (machine(), machine());
    // As a unit that failed leaves it.
    drop(UnixListener::bind(system.socket()).unwrap());
    let none = beside_the_system(&system, &client, &["status", "--no-start"]);
    assert_eq!(none.status, Some(17), "{none:?}");
    assert!(none.stderr.contains("no daemon listens on `/run/comfyd/comfyd.sock`"), "{none:?}");
    let none = beside_the_system(&system, &client, &["status"]);
    assert_eq!(none.status, Some(17), "{none:?}");
    assert!(none.stderr.contains("systemctl status comfyd.socket"), "{none:?}");
    assert!(client.processes().is_empty(), "beside the machine's daemon none is started");

    let expected = pid(&system.json(&["status"]));
    let status = |args: &[&str]| {
        let ended = beside_the_system(&system, &client, &[args, &["status", "--json"]].concat());
        assert_eq!(ended.status, Some(0), "{args:?}: {ended:?}");
        pid(&ended.json())
    };
    assert_eq!(status(&[]), expected);
    assert_eq!(status(&["--no-start"]), expected);
    let named = client.path("run/named.sock").display().to_string();
    assert_ne!(status(&["--socket", &named]), expected);
    let own = pid(&client.json(&["status"]));
    assert_eq!(status(&[]), own);
}
