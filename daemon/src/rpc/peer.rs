//! Who may use the daemon: its own user, root, and the members of one group where that was set.
//!
//! The socket's mode keeps others out before they connect; this is the second look, by what the kernel
//! recorded of the peer at that moment (`SO_PEERCRED`, unix(7)). It also holds where the mode does not: a
//! descriptor that was passed on, or a volume whose modes mean nothing.

use crate::config::UserGroup;
use interprocess::local_socket::tokio::Stream;
use interprocess::local_socket::traits::StreamCommon as _;
use proto::rpc::{Message, RpcError};
use proto::{ErrorData, ErrorKind};

/// The process at the other end, as it was when it connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) uid: u32,
    /// Its group, then its supplementary ones, where they matter and the system tells them.
    pub(super) gids: Vec<u32>,
}

/// Whom the daemon serves.
#[derive(Debug, Clone)]
pub(super) struct Served {
    pub(super) uid: u32,
    pub(super) group: Option<UserGroup>,
}

impl Served {
    /// Returns the daemon's own user, and the members of a group.
    pub(super) fn new(group: Option<UserGroup>) -> Self {
        Self { uid: nix::unistd::geteuid().as_raw(), group }
    }

    pub(super) fn allows(&self, peer: &Peer) -> bool {
        let is_member = |group: &UserGroup| peer.gids.contains(&group.gid);
        self.owns(peer) || self.group.as_ref().is_some_and(is_member)
    }

    /// Tells whether a peer may do whatever the daemon may: its own user, and root.
    pub(super) fn owns(&self, peer: &Peer) -> bool {
        peer.uid == 0 || peer.uid == self.uid
    }

    /// Returns what a peer is told that may not use the daemon.
    pub(super) fn refusal(&self, peer: Option<&Peer>) -> Message {
        let who = peer.map_or("a process of an unknown user".to_owned(), |peer| format!("user {}", peer.uid));
        let (members, remedy) = match &self.group {
            Some(group) => (
                format!(", root and members of the group `{}`", group.name),
                format!("have an administrator add the user to `{}` and log in again", group.name),
            ),
            None => (
                " and root".to_owned(),
                "start comfyd with COMFYD_GROUP set to a group of both users, or use a comfyd of your own \
                 (COMFYD_SOCKET)"
                    .to_owned(),
            ),
        };
        let message = format!("{who} may not use this daemon, which serves user {}{members}", self.uid);
        refusal(ErrorKind::Access, message, remedy)
    }
}

impl Peer {
    /// Returns who connected; none where the system does not tell. Blocks for a moment where groups matter.
    pub(super) fn of(stream: &Stream, served: &Served) -> Option<Self> {
        let creds = stream.peer_creds().ok()?;
        let uid = creds.euid()?;
        let mut gids = Vec::from_iter(creds.egid());
        if served.group.is_some() {
            let pid = creds.pid().and_then(|pid| u32::try_from(pid).ok());
            gids.extend(pid.map(|pid| supplementary(pid, uid)).unwrap_or_default());
        }
        Some(Self { uid, gids })
    }
}

/// Returns the supplementary groups of a process of that user (proc_pid_status(5)); none when it has ended.
/// Its number may have gone to another process of the same user meanwhile, which has no other rights.
fn supplementary(pid: u32, uid: u32) -> Vec<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    groups_of(&status, uid)
}

fn groups_of(status: &str, uid: u32) -> Vec<u32> {
    let numbers = |name: &str| -> Vec<u32> {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.split_ascii_whitespace().filter_map(|number| number.parse().ok()).collect()
    };
    // The second one is the effective user.
    if numbers("Uid:").get(1) == Some(&uid) { numbers("Groups:") } else { Vec::new() }
}

/// Makes what is told to a client before its connection is ended.
pub(super) fn refusal(kind: ErrorKind, message: String, hint: String) -> Message {
    let (causes, diagnostics, details) = (vec![], vec![], vec![]);
    let data = ErrorData { kind, causes, hint: Some(hint), diagnostics, details };
    Message::failure(None, RpcError { code: kind.code(), message, data: Some(Box::new(data)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group() -> UserGroup {
        UserGroup { name: "painters".to_owned(), gid: 70 }
    }

    #[test]
    fn the_owner_root_and_members_are_served_and_nobody_else() {
        let table: &[(u32, &[u32], bool, bool)] = &[
            // uid, gids, without a group, with group 70
            (1000, &[1000], true, true),
            (0, &[0], true, true),
            (1001, &[1001], false, false),
            (1001, &[70], false, true),
            (1001, &[1001, 4, 70], false, true),
            (1001, &[], false, false),
            (70, &[7, 700], false, false),
            (65_534, &[65_534], false, false),
        ];
        for (uid, gids, alone, with_group) in table {
            let peer = Peer { uid: *uid, gids: gids.to_vec() };
            let served = |group| Served { uid: 1000, group };
            assert_eq!(served(None).allows(&peer), *alone, "{peer:?}");
            assert_eq!(served(Some(group())).allows(&peer), *with_group, "{peer:?}");
            assert_eq!(served(Some(group())).owns(&peer), *alone, "members own nothing: {peer:?}");
        }
    }

    #[test]
    fn groups_are_read_from_the_process_of_that_user_only() {
        let status =
            "Name:\tx Groups:\nUid:\t5\t1001\t1001\t1001\nGid:\t9\t9\t9\t9\nGroups:\t4 70 1001 \nX:\n";
        assert_eq!(groups_of(status, 1001), [4, 70, 1001]);
        assert_eq!(groups_of(status, 1002), [0; 0]);
        assert_eq!(groups_of("Uid:\t1\t1\nGroups:\t\n", 1), [0; 0]);
        assert_eq!(groups_of("", 0), [0; 0]);
    }

    #[test]
    fn a_refusal_says_who_it_is_who_is_served_and_what_to_do() {
        let text = |group| {
            let peer = Peer { uid: 1001, gids: vec![] };
            let error = Served { uid: 1000, group }.refusal(Some(&peer)).error.unwrap();
            format!("{} | {}", error.message, error.data.unwrap().hint.unwrap())
        };
        assert_eq!(
            text(Some(group())),
            "user 1001 may not use this daemon, which serves user 1000, root and members of the group \
             `painters` | have an administrator add the user to `painters` and log in again"
        );
        let alone = text(None);
        assert!(alone.starts_with("user 1001 may not use this daemon, which serves user 1000 and root | "));
        assert!(alone.contains("COMFYD_GROUP"), "{alone}");
    }
}
