//! Whose the socket is: who may connect, who listens when several begin at once, and what happens when its file
//! is deleted. Prints how long clients waited.
#![allow(clippy::print_stdout, reason = "figures for whoever reads the run")]

use crate::client::machine;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, Stdio};
use std::time::Instant;
use support::TestEnv;
use support::env::Ended;
use support::process::{PATIENCE, eventually};
use support::raw_client::RawClient;

/// A user that is not the tests'.
const STRANGER: u32 = 54_321;

/// A group that nobody is in by the machine's database.
const GROUP: u32 = 54_777;

fn running() -> TestEnv {
    let env = machine();
    env.json(&["status"]);
    env
}

fn pid(status: &Value) -> u64 {
    status["pid"].as_u64().unwrap()
}

/// Runs comfyctl with `--no-start --json` as another user with these groups. Only root may become one: else
/// none, and the decision is tested in `rpc::peer` alone.
fn as_stranger(env: &TestEnv, groups: &[u32], args: &[&str]) -> Option<Ended> {
    if !nix::unistd::geteuid().is_root() {
        println!("not root: who connects as another user is tested by rpc::peer's table alone");
        return None;
    }
    // Strangers reach the directory in any case: what is tested is the socket.
    for dir in ["", "run", "home", "state"] {
        fs::set_permissions(env.path(dir), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let program = env.command(&[]).get_program().to_owned();
    let copy = env.path("comfyctl");
    fs::copy(program, &copy).unwrap();
    let groups: Vec<_> = groups.iter().map(ToString::to_string).collect();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &STRANGER.to_string(), "--regid", &STRANGER.to_string()]);
    if groups.is_empty() {
        command.arg("--clear-groups");
    } else {
        command.args(["--groups", &groups.join(",")]);
    }
    command.arg(copy).args(args).args(["--no-start", "--json"]);
    let vars = env.command(&[]);
    command.env_clear().envs(vars.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Some(command.current_dir("/").output().unwrap().into())
}

#[test]
fn another_user_is_told_whose_the_socket_is() {
    let env = running();
    let Some(ended) = as_stranger(&env, &[], &["status"]) else { return };
    assert_eq!(ended.status, Some(7), "{ended:?}");
    let error = &ended.json()["error"];
    let hint = error["hint"].as_str().unwrap();
    assert!(hint.contains("belongs to user 0") && hint.contains("you are user 54321"), "{error}");
    assert!(hint.contains("COMFYD_GROUP"), "{error}");
}

/// The mode alone does not decide: some volumes know none.
#[test]
fn another_user_is_refused_even_where_the_mode_lets_all_in() {
    let env = running();
    fs::set_permissions(env.socket(), fs::Permissions::from_mode(0o666)).unwrap();
    let Some(ended) = as_stranger(&env, &[], &["status"]) else { return };
    assert_eq!(ended.status, Some(7), "{ended:?}");
    let error = &ended.json()["error"];
    let message = error["message"].as_str().unwrap();
    assert!(message.starts_with("user 54321 may not use this daemon, which serves user "), "{error}");
    assert!(error["hint"].as_str().unwrap().contains("COMFYD_GROUP"), "{error}");
    assert!(env.log().contains("refused a connection of another user"));
    assert_eq!(env.comfyctl(&["status"]).status, Some(0), "its own user goes on");
}

#[test]
fn members_of_the_group_are_served_by_either_kind_of_membership() {
    if !nix::unistd::geteuid().is_root() {
        println!("not root: a socket cannot be given to a group that the tests' user is not in");
        return;
    }
    let mut env = machine();
    env.set("COMFYD_GROUP", &GROUP.to_string());
    env.json(&["status"]);
    let socket = fs::metadata(env.socket()).unwrap();
    assert_eq!((socket.permissions().mode() & 0o777, socket.gid()), (0o660, GROUP));
    let member = as_stranger(&env, &[4, GROUP], &["status"]).unwrap();
    assert_eq!(member.status, Some(0), "{member:?}");
    let other = as_stranger(&env, &[4], &["status"]).unwrap();
    assert_eq!(other.status, Some(7), "{other:?}");
    let hint = other.json()["error"]["hint"].as_str().unwrap().to_owned();
    assert!(hint.contains(&format!("members of the group {GROUP}")), "{hint}");
    // The daemon's rights to read are not the members'.
    let reads = as_stranger(&env, &[GROUP], &["new", "v", "--from-comfyui", "/root"]).unwrap();
    assert_eq!(reads.status, Some(7), "{reads:?}");
    let message = reads.json()["error"]["message"].as_str().unwrap().to_owned();
    assert_eq!(message, "the daemon reads `/root` for its own user and root only");
}

#[test]
fn a_group_that_there_is_not_ends_the_daemon_with_its_name() {
    let mut env = machine();
    env.set("COMFYD_GROUP", "no-such-group");
    let ended = env.comfyctl(&["status"]);
    assert_eq!(ended.status, Some(17), "{ended:?}");
    assert!(
        ended.stderr.contains("COMFYD_GROUP is `no-such-group`, and there is no such group"),
        "{ended:?}"
    );
}

/// A way to lose a socket file, in words and in deed.
type Loss = (&'static str, fn(&TestEnv));

fn losses() -> [Loss; 4] {
    [
        ("deleted", |env| fs::remove_file(env.socket()).unwrap()),
        ("replaced by a file", |env| {
            fs::remove_file(env.socket()).unwrap();
            fs::write(env.socket(), "").unwrap();
        }),
        ("replaced by a socket of nobody", |env| {
            fs::remove_file(env.socket()).unwrap();
            drop(UnixListener::bind(env.socket()).unwrap());
        }),
        ("deleted with all that was beside it", |env| {
            fs::remove_dir_all(env.path("run")).unwrap();
            symlink("elsewhere", env.path("run")).unwrap();
            fs::create_dir(env.path("elsewhere")).unwrap();
            // With the lock's file went what tells clients that a daemon runs.
            eventually("it listens again", || env.socket().exists());
        }),
    ]
}

#[test]
fn a_daemon_whose_socket_file_is_lost_listens_again_and_hurts_no_call() {
    let env = running();
    let first = pid(&env.json(&["status"]));
    let gate = crate::client::gate(&env, "v");
    let call = env.spawn(&["realize", "v", "--json"]);
    gate.reached();
    let mut old = RawClient::greet(&env.socket());
    for (how, lose) in losses() {
        lose(&env);
        let begun = Instant::now();
        // With and without the right to start a daemon: the one that runs is waited for.
        let ended = env.comfyctl(&["status", "--json", "--no-start"]);
        println!("socket file {how}: a client waited {:?}", begun.elapsed());
        assert_eq!(ended.status, Some(0), "{how}: {ended:?}");
        assert_eq!(pid(&ended.json()), first, "{how}");
        assert_eq!(pid(&env.json(&["status"])), first, "{how}");
        assert_eq!(fs::metadata(env.socket()).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(pid(&old.status()), first, "{how}: who was connected is served");
    }
    gate.open();
    let call: Ended = call.wait_with_output().unwrap().into();
    assert_eq!(call.status, Some(0), "{call:?}");
    assert_eq!(env.comfyctl(&["shutdown"]).status, Some(0));
    assert!(!env.socket().exists(), "the new file is removed at the end");
}

#[test]
fn of_two_daemons_that_begin_at_once_one_serves_and_the_other_says_so() {
    let env = machine();
    for round in 0..10 {
        let start = || env.comfyd().stderr(Stdio::piped()).spawn().unwrap();
        let mut daemons = [start(), start()];
        let serving = || env.comfyctl(&["status", "--no-start"]).status == Some(0);
        eventually("one serves", serving);
        let mut ended: Vec<usize> = Vec::new();
        eventually("the other one ends", || {
            ended = (0..2).filter(|index| daemons[*index].try_wait().unwrap().is_some()).collect();
            !ended.is_empty()
        });
        let [index] = ended[..] else { panic!("round {round}: both ended") };
        let status = daemons[index].wait().unwrap();
        assert_eq!(status.code(), Some(9), "round {round}");
        assert_eq!(pid(&env.json(&["status"])), u64::from(daemons[1 - index].id()));
        assert_eq!(env.comfyctl(&["shutdown"]).status, Some(0));
        assert!(daemons[1 - index].wait().unwrap().success());
        assert!(text(&mut daemons[index]).contains("another comfyd serves"), "round {round}");
    }
}

fn text(child: &mut Child) -> String {
    std::io::read_to_string(child.stderr.take().unwrap()).unwrap()
}

#[test]
fn twenty_clients_that_come_to_no_daemon_are_answered_by_one() {
    let env = machine();
    let begun = Instant::now();
    let clients: Vec<_> = (0..20).map(|_| env.spawn(&["status", "--json"])).collect();
    let ended = clients.into_iter().map(|client| Ended::from(client.wait_with_output().unwrap()));
    let pids: BTreeSet<u64> = ended
        .map(|ended| {
            assert_eq!(ended.status, Some(0), "{ended:?}");
            pid(&ended.json())
        })
        .collect();
    println!("20 clients and no daemon: all answered after {:?}", begun.elapsed());
    assert_eq!(pids.len(), 1, "{pids:?}");
    assert!(begun.elapsed() < PATIENCE);
    let daemons = |pid: &u32| {
        let title = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        title.split(|byte| *byte == 0).next().is_some_and(|program| program.ends_with(b"/comfyd"))
    };
    eventually("one is left", || env.processes().iter().filter(|pid| daemons(pid)).count() == 1);
}
