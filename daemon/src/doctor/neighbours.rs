//! Other daemons: on this machine, and on other machines that have the same volume.

use super::list;
use crate::config::Config;
use crate::process;
use crate::store::lease::Lease;
use crate::store::places::{self, Home};
use crate::store::{sweep, tree};
use proto::method::Finding;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

const SUBJECT: &str = "daemons";

/// A lease that was written so lately is of someone who lives: it is written every second (`store::lease`).
const LATELY: Duration = Duration::from_secs(60);

/// Another daemon on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Neighbour {
    pid: u32,
    uid: u32,
    socket: PathBuf,
}

/// Looks for other daemons. Blocks shortly.
pub(super) fn look(config: &Config) -> Vec<Finding> {
    judge(&here(&config.socket), &elsewhere(config), nix::unistd::geteuid().as_raw())
}

fn judge(here: &[Neighbour], elsewhere: &BTreeMap<String, BTreeSet<String>>, uid: u32) -> Vec<Finding> {
    let mut found = Vec::new();
    for Neighbour { pid, socket, .. } in here.iter().filter(|neighbour| neighbour.uid == uid) {
        let socket = socket.display();
        let text = format!(
            "process {pid} is another comfyd of this user, on `{socket}`: neither knows what the other one runs"
        );
        let remedy = format!("unless that is meant to be so: `comfyctl --socket {socket} shutdown`");
        found.push(Finding::warning(SUBJECT, text, remedy));
    }
    for Neighbour { pid, uid, .. } in here.iter().filter(|neighbour| neighbour.uid != uid) {
        found.push(Finding::ok(SUBJECT, format!("process {pid} is another comfyd, of user {uid}")));
    }
    for (host, homes) in elsewhere {
        found.push(Finding::ok(SUBJECT, format!("{host} uses {} of this volume", list(homes))));
    }
    if found.is_empty() {
        found.push(Finding::ok(SUBJECT, "no other one here, and none elsewhere uses this volume"));
    }
    found
}

/// Finds the daemons of this machine that listen on another socket than `own`. What belongs to other users is seen
/// only by root.
fn here(own: &Path) -> Vec<Neighbour> {
    let found = process::pids().filter_map(|pid| {
        let dir = PathBuf::from(format!("/proc/{pid}"));
        let name = std::fs::read_to_string(dir.join("comm")).ok()?;
        (name.trim() == "comfyd" && pid != std::process::id()).then_some(())?;
        let uid = dir.metadata().ok()?.uid();
        let socket = listening(&dir)?;
        (socket != own).then_some(Neighbour { pid, uid, socket })
    });
    found.collect()
}

/// Returns the path on which a process listens.
fn listening(dir: &Path) -> Option<PathBuf> {
    let table = std::fs::read_to_string(dir.join("net/unix")).ok()?;
    let sockets = listeners(&table);
    let files = std::fs::read_dir(dir.join("fd")).ok()?.flatten();
    files.into_iter().find_map(|file| {
        let target = std::fs::read_link(file.path()).ok()?;
        let inode = target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()?;
        sockets.get(&inode).cloned()
    })
}

/// Reads `/proc/net/unix` (unix(7), proc_pid_net(5)): the paths of sockets that listen, by inode.
fn listeners(table: &str) -> BTreeMap<u64, PathBuf> {
    /// `__SO_ACCEPTCON` of the kernel's `net.h`.
    const LISTENS: &str = "00010000";
    let listening = table.lines().filter_map(|line| {
        let (head, path) = line.split_at(line.find(" /")? + 1);
        // Number, count, protocol, flags, type, state, inode.
        let mut fields = head.split_ascii_whitespace().skip(3);
        let flags = fields.next()?;
        let inode = fields.nth(2)?.parse().ok()?;
        (flags == LISTENS).then(|| (inode, path.into()))
    });
    listening.collect()
}

/// Finds who on other machines uses homes of this volume, and which.
fn elsewhere(config: &Config) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for root in places::homes(config) {
        let home = Home { root, models: PathBuf::new() };
        let dir = home.uses();
        for name in tree::published(&dir).unwrap_or_default() {
            let path = dir.join(name);
            let Ok(Some(held)) = Lease::holder(&path) else { continue };
            let is_lately = || sweep::age(&path).is_some_and(|age| age < LATELY);
            if !held.owner.shares_page_cache() && is_lately() {
                let home = home.root.file_name().unwrap_or_default().to_string_lossy().into_owned();
                found.entry(held.owner.to_string()).or_default().insert(home);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::method::Verdict::{Ok as Fine, Warning};
    use std::os::unix::net::{UnixListener, UnixStream};

    #[test]
    fn daemons_of_the_same_user_are_a_warning() {
        let neighbour = |pid, uid| Neighbour { pid, uid, socket: "/run/x.sock".into() };
        let pods = BTreeMap::from([("pid 7 on pod-3".to_owned(), BTreeSet::from(["comfy-a".to_owned()]))]);
        let found = judge(&[neighbour(5, 1000), neighbour(6, 0)], &pods, 0);
        let verdicts: Vec<_> = found.iter().map(|found| found.verdict).collect();
        assert_eq!(verdicts, [Warning, Fine, Fine]);
        assert!(found[0].text.starts_with("process 6 is another comfyd of this user, on `/run/x.sock`"));
        assert_eq!(found[2].text, "pid 7 on pod-3 uses `comfy-a` of this volume");
        let found = judge(&[], &BTreeMap::new(), 0);
        assert_eq!((found.len(), found[0].verdict), (1, Fine));
    }

    #[test]
    fn a_socket_that_listens_is_found_by_its_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a b.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let _client = UnixStream::connect(&path).unwrap();
        let table = std::fs::read_to_string("/proc/self/net/unix").unwrap();
        assert_eq!(listeners(&table).values().filter(|listening| **listening == path).count(), 1);
        assert!(listening(Path::new("/proc/self")).is_some());
        drop(listener);
        assert!(here(&path).iter().all(|neighbour| neighbour.pid != std::process::id()));
    }
}
