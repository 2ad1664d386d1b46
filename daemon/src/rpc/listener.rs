//! The socket itself: mode 0600, one user.

use interprocess::local_socket::tokio::{Listener, Stream};
use interprocess::local_socket::traits::StreamCommon as _;
use interprocess::local_socket::{GenericFilePath, ListenerOptions, ToFsName as _};
use interprocess::os::unix::local_socket::ListenerOptionsExt as _;
use std::path::Path;

/// Binds the socket, readable and writable by its owner only. The daemon's lock must be held: what lies
/// at the path is then a dead daemon's and is removed.
///
/// # Errors
/// When the path cannot be bound.
pub fn listen(path: &Path) -> std::io::Result<Listener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => (),
    }
    let name = path.to_fs_name::<GenericFilePath>()?;
    // The daemon removes the socket itself, as the last step of its stop.
    ListenerOptions::new().name(name).mode(0o600).reclaim_name(false).create_tokio()
}

/// Tells whether the peer is the daemon's own user, or root.
pub(super) fn is_trusted(stream: &Stream) -> bool {
    let peer = stream.peer_creds().ok().and_then(|creds| creds.euid());
    peer.is_some_and(|uid| uid == 0 || uid == nix::unistd::geteuid().as_raw())
}
