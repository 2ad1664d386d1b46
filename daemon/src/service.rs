//! The service manager that started comfyd, systemd: the socket that it passed (sd_listen_fds(3)), and what it is
//! told (sd_notify(3)). Where there is none, nothing here does anything.
//!
//! A passed socket listens before the daemon begins and after it has ended: who connects while one daemon follows
//! another waits for the next. Its file, owner and mode are systemd's; comfyd neither makes nor removes it.

use listenfd::ListenFd;
use sd_notify::NotifyState;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

/// How much longer than a step of the start or the stop the service manager is asked to wait for it.
const MARGIN: Duration = Duration::from_secs(5);

/// What the service manager gave. Nothing where there is none.
#[derive(Debug, Default)]
pub struct Service {
    /// The control socket, which listens already.
    pub socket: Option<Passed>,
    /// How often it must hear that the daemon lives: else it ends it, and starts another.
    pub watchdog: Option<Duration>,
}

/// A socket that the service manager made, and will keep.
#[derive(Debug)]
pub struct Passed {
    path: PathBuf,
    listener: UnixListener,
}

/// Why what the service manager passed cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// A daemon has one socket.
    #[error("the service manager passed {0} sockets, and comfyd serves one")]
    Sockets(usize),
    /// It is no Unix stream socket that listens.
    #[error("failed to use the socket that the service manager passed")]
    Socket(#[source] std::io::Error),
    /// It has no file.
    #[error("the socket that the service manager passed has no path")]
    NoPath,
}

impl Service {
    /// Takes what this process was started with. Changes the environment, so it must be called while the process
    /// has one thread; a second call finds nothing.
    ///
    /// # Errors
    /// A socket was passed that is none of ours, or several.
    pub fn take() -> Result<Self, ServiceError> {
        let mut passed = ListenFd::from_env();
        let listener = match passed.len() {
            0 | 1 => passed.take_unix_listener(0).map_err(ServiceError::Socket)?,
            count => return Err(ServiceError::Sockets(count)),
        };
        let socket = listener.map(Passed::new).transpose()?;
        Ok(Self { socket, watchdog: sd_notify::watchdog_enabled() })
    }
}

impl Passed {
    fn new(listener: UnixListener) -> Result<Self, ServiceError> {
        let address = listener.local_addr().map_err(ServiceError::Socket)?;
        let path = address.as_pathname().ok_or(ServiceError::NoPath)?.to_owned();
        Ok(Self { path, listener })
    }

    /// Returns where clients find it.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl From<Passed> for OwnedFd {
    fn from(passed: Passed) -> Self {
        passed.listener.into()
    }
}

/// Says that the daemon has yet to wait for something before it begins, and for how long until it says so again. For the
/// time before there is a [`Manager`]: it blocks while the other side does not read.
pub fn starting(step: &str, limit: Duration) {
    if let Err(error) = sd_notify::notify(&[NotifyState::Status(step), extend(limit)]) {
        tracing::warn!(%error, "failed to tell the service manager how it goes");
    }
}

/// Asks for more time than this.
fn extend(limit: Duration) -> NotifyState<'static> {
    NotifyState::ExtendTimeoutUsec(u32::try_from((limit + MARGIN).as_micros()).unwrap_or(u32::MAX))
}

/// Who is told how it goes: nobody where there is no service manager. Copies speak to the same one.
///
/// A thread of its own does the talking, since a message waits while the other side does not read, as at the end of
/// a machine's shutdown: that must not hold up the daemon.
#[derive(Debug, Clone)]
pub struct Manager(Option<Sender<String>>);

impl Manager {
    /// Returns the service manager, if there is one.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn new(is_there: bool) -> std::io::Result<Self> {
        if !is_there {
            return Ok(Self(None));
        }
        let (sender, messages) = channel::<String>();
        let speak = move || {
            while let Ok(text) = messages.recv() {
                if let Err(error) = sd_notify::notify(&[NotifyState::Custom(&text)]) {
                    tracing::warn!(%error, "failed to tell the service manager how it goes");
                }
            }
        };
        std::thread::Builder::new().name("service".to_owned()).spawn(speak)?;
        Ok(Self(Some(sender)))
    }

    /// Says that clients are served.
    pub fn ready(&self) {
        self.tell(&[NotifyState::Ready, NotifyState::Status("serving")]);
    }

    /// Says that the daemon lives, and in a few words what it does.
    pub fn alive(&self, status: &str) {
        self.tell(&[NotifyState::Watchdog, NotifyState::Status(status)]);
    }

    /// Says that the daemon stops and has come to a step that may take so long.
    pub fn stopping(&self, step: &str, limit: Duration) {
        let status = format!("stopping: {step}");
        self.tell(&[NotifyState::Stopping, NotifyState::Status(&status), extend(limit)]);
    }

    fn tell(&self, states: &[NotifyState<'_>]) {
        let lines: Vec<String> = states.iter().map(ToString::to_string).collect();
        // The thread lives for as long as there is a sender.
        self.0.iter().for_each(|sender| sender.send(lines.join("\n")).unwrap_or_default());
    }
}
