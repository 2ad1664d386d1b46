//! Instances that are forked from a zygote, and cannot be told from others.

use crate::fixture::{PATIENCE, Version, eventually, gone, pid_of};
use comfyd::boot::StartRecord;
use comfyd::ctx::{Ctx, Foreground};
use comfyd::supervise::{Primed, Purpose, Ready, ZygoteInfo};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use proto::method::InstanceState;
use std::path::PathBuf;
use support::comfyui::site_packages;
use tokio::time::timeout;

/// A node that tells what a program can know of its process.
const TELLS: &str = r#"
import json, logging, os, signal, sys, heavy
main = sys.modules["__main__"]
proc = lambda name: open(f"/proc/self/{name}", "rb").read().decode()
stat = proc("stat").rpartition(") ")[2].split()
told = {
    "argv": sys.argv, "orig_argv": sys.orig_argv, "path": sys.path, "environ": dict(os.environ), "cwd": os.getcwd(),
    "main": sorted(name for name in vars(main) if name.startswith("__")), "file": main.__file__,
    "spec": str(main.__spec__), "loader": type(main.__loader__).__name__, "executable": sys.executable,
    "cmdline": proc("cmdline"), "shown": sorted(filter(None, proc("environ").split("\0"))), "comm": proc("comm"),
    "group": os.getpgid(0) == os.getpid(), "stdin": os.readlink("/proc/self/fd/0"),
    "streams": [os.fstat(n).st_ino == os.fstat(1).st_ino for n in (1, 2)], "tty": sys.stdout.isatty(),
    "signals": [str(signal.getsignal(n)) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGCHLD)],
    "nice": stat[16], "fds": sorted(os.listdir("/proc/self/fd"))[:3], "pid": heavy.pid() == os.getpid(),
    "modules": "heavy" in sys.modules and not any("zygote" in name for name in sys.modules),
}
print("told", json.dumps(told, sort_keys=True).replace(str(heavy.port(sys.argv)), "PORT"), flush=True)
NODE_CLASS_MAPPINGS = {}
"#;

/// A package that takes its time.
const HEAVY: &str = "
import os, warnings
warnings.warn('heavy is old')
PID = os.getpid()
def pid():
    return os.getpid()
def port(argv):
    return argv[argv.index('--port') + 1]
";

pub(crate) fn generation(version: &Version) -> PathBuf {
    version.home.join("generations/g1")
}

/// Gives a version a node and a package of these texts, and has its first start recorded.
pub(crate) async fn recorded(misbehaviour: &'static str, node: &str, heavy: &str) -> Version {
    let version = Version::new(misbehaviour);
    let dir = version.comfy_dir().join("custom_nodes/node");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("__init__.py"), node).unwrap();
    std::fs::write(site_packages(&generation(&version)).join("heavy.py"), heavy).unwrap();
    version.ready().await;
    eventually("the record is there", || StartRecord::read(&generation(&version)).is_some()).await;
    version
}

pub(crate) async fn primed(version: &Version) -> ZygoteInfo {
    match version.supervisor.prime(&Ctx::new(), version.launch("g1")).await.unwrap() {
        Primed::Waits(zygote) => zygote,
        Primed::NotYet(reason) => panic!("not primed: {reason}"),
    }
}

/// Starts the version anew, from a zygote.
async fn forked(version: &Version) -> Ready {
    version.supervisor.stop(&version.home).await;
    primed(version).await;
    let ready = version.ready().await;
    assert!(ready.started && ready.info.forked);
    ready
}

#[tokio::test]
async fn a_forked_instance_is_as_one_that_was_executed() {
    let version = recorded("", TELLS, HEAVY).await;
    // The first start was recorded; this one is nothing but plain.
    version.supervisor.stop(&version.home).await;
    let plain = version.ready().await;
    assert!(!plain.info.forked);
    let (told, log) = (version.logged("told").unwrap(), std::fs::read_to_string(&plain.info.log).unwrap());
    assert!(log.contains("heavy is old"), "{log}");
    let forked = forked(&version).await;
    assert_eq!(version.logged("told").unwrap(), told);
    let lines = |log: &str| {
        let lines = log.lines().filter(|line| !line.contains("127.0.0.1") && !line.contains(" seconds"));
        let mut lines: Vec<_> = lines.map(str::to_owned).filter(|line| !line.starts_with("told")).collect();
        lines.sort_unstable();
        lines
    };
    assert_eq!(lines(&std::fs::read_to_string(&forked.info.log).unwrap()), lines(&log), "the same log");
    kill(pid_of(&forked), Signal::SIGKILL).unwrap();
    let ended = timeout(PATIENCE, forked.ended()).await.unwrap();
    assert!(ended.reason.contains("SIGKILL"), "its parent tells how it ended: {ended:?}");
    version.supervisor.shutdown().await;
}

#[tokio::test]
async fn one_zygote_serves_many_starts_and_a_restart_after_a_death() {
    let version = recorded("", TELLS, HEAVY).await;
    let first = forked(&version).await;
    let zygote = version.supervisor.zygotes().remove(0);
    assert_eq!((zygote.home, zygote.generation.as_str()), (version.home.clone(), "g1"));
    assert!(zygote.pss_bytes > 1 << 20, "{}", zygote.pss_bytes);
    let lease = first.hold(Purpose::Lease).unwrap();
    kill(pid_of(&first), Signal::SIGKILL).unwrap();
    timeout(PATIENCE, first.ended()).await.unwrap();
    let again = version.ready().await;
    assert!(again.info.forked);
    assert_eq!(again.info.restarts, 1);
    assert_eq!(version.supervisor.zygotes()[0].pid, zygote.pid);
    drop(lease);
    version.supervisor.shutdown().await;
    gone(pid_of(&again)).await;
    gone(Pid::from_raw(zygote.pid.cast_signed())).await;
}

#[tokio::test]
async fn what_was_forked_outlives_its_zygote() {
    let version = recorded("", TELLS, HEAVY).await;
    let ready = forked(&version).await;
    let zygote = primed(&version).await;
    kill(Pid::from_raw(zygote.pid.cast_signed()), Signal::SIGKILL).unwrap();
    eventually("the zygote is gone", || version.supervisor.zygotes().is_empty()).await;
    assert!(ready.comfy.is_ready().await);
    kill(pid_of(&ready), Signal::SIGKILL).unwrap();
    timeout(PATIENCE, ready.ended()).await.unwrap();
    version.supervisor.shutdown().await;
}

#[tokio::test]
async fn a_zygote_ends_where_another_start_is_asked_for() {
    let version = recorded("", TELLS, HEAVY).await;
    version.supervisor.stop(&version.home).await;
    let zygote = primed(&version).await;
    let mut launch = version.launch("g1");
    launch.env.insert("MORE".to_owned(), "1".to_owned());
    let ready = version.supervisor.ensure_ready(&Ctx::new(), launch).await.unwrap();
    assert!(!ready.info.forked);
    gone(Pid::from_raw(zygote.pid.cast_signed())).await;
    assert!(version.supervisor.zygotes().is_empty());
    version.supervisor.shutdown().await;
}

#[tokio::test]
async fn a_zygote_stands_still_while_other_work_is_under_way() {
    let slow = "import os, time\nopen(os.path.join(os.path.dirname(__file__), 'began'), 'w').close()\n\
                while not os.path.exists(os.path.join(os.path.dirname(__file__), 'go')):\n    time.sleep(0.01)\n";
    let version = recorded("", "NODE_CLASS_MAPPINGS = {}", "").await;
    // The record says `heavy` only if it was imported; it takes its time from now on.
    let packages = site_packages(&generation(&version));
    let mut record = StartRecord::read(&generation(&version)).unwrap();
    record.modules.push("heavy".to_owned());
    record.write(&generation(&version)).unwrap();
    std::fs::write(packages.join("heavy.py"), slow).unwrap();
    version.supervisor.stop(&version.home).await;
    let foreground = Foreground::default();
    let ctx = Ctx { standing: foreground.standing(true), ..Ctx::new() };
    let priming = version.supervisor.prime(&ctx, version.launch("g1"));
    let watch = async {
        eventually("it imports", || packages.join("began").exists()).await;
        let busy = foreground.busy();
        let script = |pid: u32| {
            let read =
                |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
            (read("cmdline").contains("zygote.py") && read("environ").contains("FAKE_COMFYUI"))
                .then(|| read("stat"))
        };
        let mine = version.dir.path().display().to_string();
        let stats = || {
            let pids = std::fs::read_dir("/proc").unwrap().flatten();
            let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
            let mine = |pid: &u32| {
                std::fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains(&mine))
            };
            pids.filter(mine).find_map(script)
        };
        eventually("it stands still", || stats().is_some_and(|stat| stat.contains(") T "))).await;
        std::fs::write(packages.join("go"), "").unwrap();
        drop(busy);
    };
    let (primed, ()) = tokio::join!(priming, watch);
    assert!(matches!(primed.unwrap(), Primed::Waits(_)));
    // One that is given up goes with all it has.
    let zygote = version.supervisor.zygotes().remove(0);
    version.supervisor.unprime(&version.home).await;
    gone(Pid::from_raw(zygote.pid.cast_signed())).await;
    version.supervisor.shutdown().await;
}

#[tokio::test]
async fn a_version_whose_start_was_not_recorded_is_not_primed() {
    let version = Version::new("");
    let primed = version.supervisor.prime(&Ctx::new(), version.launch("g1")).await.unwrap();
    assert!(matches!(&primed, Primed::NotYet(reason) if reason.contains("recorded")), "{primed:?}");
    assert_eq!(version.state(), None::<InstanceState>);
    version.supervisor.shutdown().await;
}
