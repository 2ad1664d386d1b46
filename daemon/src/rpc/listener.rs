//! The socket itself, and the lock that says whose it is.
//!
//! The lock is taken before the name is touched and kept for life, so what lies at the name is a dead daemon's
//! or nobody's. Someone may delete the name under a running daemon (cleaners of /tmp do, and a logout that
//! empties the runtime directory). The daemon looks every [`LOOK`] and listens again; clients that are
//! connected notice nothing.
//!
//! A socket that the service manager passed (`service`) is served as it is: its file, owner and mode are not ours.

use crate::config::UserGroup;
use crate::service::Passed;
use crate::store::commit::StoreError;
use crate::store::flock::{Asked, Flock, holder};
use futures_util::FutureExt as _;
use interprocess::local_socket::tokio::{Listener, Stream};
use interprocess::local_socket::traits::tokio::Listener as _;
use interprocess::local_socket::{GenericFilePath, ListenerOptions, ToFsName as _};
use interprocess::os::unix::local_socket::ListenerOptionsExt as _;
use interprocess::os::unix::uds_local_socket::tokio::Listener as UnixListener;
use nix::unistd::{Gid, chown};
use proto::places::socket_lock;
use std::fs::Permissions;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often to look whether the socket is still at its name.
const LOOK: Duration = Duration::from_millis(500);

/// The lock of one socket: who holds it is the daemon of that name.
#[derive(Debug)]
pub struct Life {
    socket: PathBuf,
    lock: Flock,
}

/// The socket, listening.
#[derive(Debug)]
pub struct ControlSocket {
    life: Life,
    group: Option<UserGroup>,
    listener: Listener,
    /// Tells our socket's file from any other: device and number. None: the service manager keeps it.
    file: Option<(u64, u64)>,
}

/// Why the socket cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another daemon serves it.
    #[error("another comfyd serves `{socket}` ({holder})")]
    AlreadyRunning {
        /// The socket.
        socket: PathBuf,
        /// Who holds its lock.
        holder: String,
    },
    /// Its lock cannot be used.
    #[error(transparent)]
    Lock(#[from] StoreError),
    /// The name cannot be bound.
    #[error("failed to listen on `{socket}`")]
    Listen {
        /// The socket.
        socket: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The socket cannot be given to the group.
    #[error(
        "failed to give the socket `{socket}` to the group `{group}`: comfyd's user must be a member of it"
    )]
    Group {
        /// The socket.
        socket: PathBuf,
        /// The group.
        group: String,
        /// Why.
        source: io::Error,
    },
}

impl Life {
    /// Takes the lock of a socket. Does not wait.
    ///
    /// # Errors
    /// [`ListenError::AlreadyRunning`] when another daemon has it.
    pub fn take(socket: &Path) -> Result<Self, ListenError> {
        let path = socket_lock(socket);
        let socket = socket.to_owned();
        match Flock::ask(&path)? {
            Asked::Granted(lock) => Ok(Self { socket, lock }),
            Asked::Refused => Err(ListenError::AlreadyRunning { socket, holder: holder(&path) }),
            Asked::Unsupported => Err(StoreError::at("lock", path)(io::ErrorKind::Unsupported.into()).into()),
        }
    }

    /// Takes the lock anew where its file is gone: whoever took it at its name meanwhile is the daemon now.
    fn renew(&mut self) -> Result<(), ListenError> {
        if !self.lock.is_at(&socket_lock(&self.socket)) {
            *self = Self::take(&self.socket)?;
        }
        Ok(())
    }
}

impl ControlSocket {
    /// Takes the socket that was `passed`; where none was, binds one, readable and writable by its owner, and by the
    /// members of `group`. A passed one is for `group` too; where none is given, for the group that its file is open to.
    ///
    /// # Errors
    /// The path cannot be bound, or the file not be given to the group.
    pub fn listen(life: Life, passed: Option<Passed>, group: Option<UserGroup>) -> Result<Self, ListenError> {
        let Some(passed) = passed else {
            let (listener, file) = bind(&life.socket, group.as_ref())?;
            return Ok(Self { life, group, listener, file: Some(file) });
        };
        let failed = |source| ListenError::Listen { socket: life.socket.clone(), source };
        let listener = UnixListener::try_from(OwnedFd::from(passed)).map_err(failed)?;
        let file = || std::fs::metadata(&life.socket).ok();
        let group = group.or_else(|| UserGroup::of_file(&file()?));
        Ok(Self { life, group, listener: listener.into(), file: None })
    }

    /// Waits for a client. Cancel-safe.
    pub(super) async fn accept(&self) -> io::Result<Stream> {
        self.listener.accept().await
    }

    /// Waits until something else, or nothing, is at the socket's name: for ever where that is not ours. Cancel-safe.
    pub(super) async fn lost(&self) {
        if self.file.is_none() {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(LOOK).await;
            // Here and now: a socket's directory is a local one, and to have another thread look costs a hundred
            // times as much, which is nearly all that an idle daemon would cost.
            let found = std::fs::symlink_metadata(&self.life.socket);
            if found.map(|found| (found.dev(), found.ino())).ok() != self.file {
                return;
            }
        }
    }

    /// Listens at its name again. Returns the clients that had come to the old one.
    ///
    /// # Errors
    /// As [`ControlSocket::listen`]; and when another daemon has taken the name. The old one goes on.
    pub(super) fn listen_again(&mut self) -> Result<Vec<Stream>, ListenError> {
        self.life.renew()?;
        let (listener, file) = bind(&self.life.socket, self.group.as_ref())?;
        let old = std::mem::replace(&mut self.listener, listener);
        self.file = Some(file);
        Ok(std::iter::from_fn(|| old.accept().now_or_never()?.ok()).collect())
    }

    /// Stops listening. The lock stays, and the socket's file, until [`Closed::remove`].
    pub(super) fn close(self) -> Closed {
        Closed { life: self.life, file: self.file }
    }

    pub(super) fn group(&self) -> Option<&UserGroup> {
        self.group.as_ref()
    }
}

/// A socket that nobody listens on any more, and its lock.
#[derive(Debug)]
#[must_use = "the next daemon may begin when this is dropped"]
pub struct Closed {
    life: Life,
    file: Option<(u64, u64)>,
}

impl Closed {
    /// Removes the socket's file, unless it is another's or the service manager's, and lets go of the lock.
    pub fn remove(self) {
        if self.file.is_some() && identity(&self.life.socket).ok() == self.file {
            std::fs::remove_file(&self.life.socket).ok();
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = std::fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

fn bind(path: &Path, group: Option<&UserGroup>) -> Result<(Listener, (u64, u64)), ListenError> {
    let failed = |source| ListenError::Listen { socket: path.to_owned(), source };
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => (),
    }
    let name = path.to_fs_name::<GenericFilePath>().map_err(failed)?;
    // The daemon removes the socket itself, as the last step of its stop.
    let options = ListenerOptions::new().name(name).mode(0o600).reclaim_name(false);
    let listener = options.create_tokio().map_err(failed)?;
    if let Some(group) = group {
        // In this order: at no moment is it open to the group that it had at first.
        let given = chown(path, None, Some(Gid::from_raw(group.gid))).map_err(io::Error::from);
        let given = given.and_then(|()| std::fs::set_permissions(path, Permissions::from_mode(0o660)));
        given.map_err(|source| {
            let (socket, group) = (path.to_owned(), group.name.clone());
            ListenError::Group { socket, group, source }
        })?;
    }
    let file = identity(path).map_err(failed)?;
    Ok((listener, file))
}
