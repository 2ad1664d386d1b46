//! Starts `comfyd` when nobody listens.
//!
//! Two clients may start two daemons at once. The daemon's own lock decides: the second daemon ends
//! with the status of [`ErrorKind::Busy`], and its client goes on to ask for the first one's socket.
//! The same status comes while an old daemon is on its way out; then a new one is started again.

use crate::connection::{connect, nobody_listens};
use crate::interrupt::Interrupt;
use interprocess::local_socket::Stream;
use proto::ErrorKind;
use proto::places::{SERVICE_VARIABLES, socket_lock};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long a daemon may take until it listens, once its volume is there.
const START_LIMIT: Duration = Duration::from_secs(10);

/// How often the socket is tried meanwhile; a try costs microseconds.
const POLL: Duration = Duration::from_millis(10);

/// How long to wait before a second start when another daemon holds the lock.
const RESTART_PAUSE: Duration = Duration::from_millis(250);

/// How long a daemon that runs may take until it listens at its name again: it looks twice a second.
const RETURN_LIMIT: Duration = Duration::from_secs(3);

/// After how long the user is told that the daemon may be waiting for its volume.
const PATIENCE: Duration = Duration::from_secs(2);

/// Lines of the daemon's log that an error shows.
const LOG_LINES: usize = 20;

/// What to start, and where it should listen and write.
#[derive(Debug)]
pub struct Start {
    /// The program; a bare name is sought on PATH.
    pub program: PathBuf,
    /// The socket that it must listen on.
    pub socket: PathBuf,
    /// Directory of its log; made with mode 0700 where it is missing.
    pub state_dir: PathBuf,
    /// For how long it waits for its volume before anything else.
    pub volume_wait: Duration,
}

impl Start {
    /// Starts the daemon and returns a connection to whoever listens first. Blocks for at most 10 s, and for as long
    /// as the daemon waits for its volume; `on_wait` is called when that may be what takes so long.
    /// The daemon goes on when this process ends, and a Ctrl-C at the terminal does not reach it.
    ///
    /// # Errors
    /// The daemon cannot be started, ends early, or does not listen in time.
    pub fn run(&self, interrupt: &Interrupt, on_wait: impl FnOnce(&Path)) -> Result<Stream, Error> {
        let (began, limit) = (Instant::now(), START_LIMIT + self.volume_wait);
        let mut on_wait = Some(on_wait).filter(|_| !self.volume_wait.is_zero());
        let (mut child, mut log) = self.spawn()?;
        loop {
            // In this order: a daemon that ended may have ended because another one listens.
            let ended = child.try_wait().map_err(|source| self.spawn_error(source))?;
            match connect(&self.socket) {
                Ok(stream) => return Ok(stream),
                Err(error) if nobody_listens(&error) => {}
                Err(source) => return Err(Error::Connect { socket: self.socket.clone(), source }),
            }
            if interrupt.is_set() {
                return Err(Error::Cancelled);
            }
            let waited = began.elapsed();
            if waited > limit {
                return Err(Error::Late { limit, log: self.log_path() });
            }
            if let Some(tell) = on_wait.take_if(|_| waited > PATIENCE) {
                tell(&self.log_path());
            }
            match ended {
                None => std::thread::sleep(POLL),
                Some(status) if status.code() == Some(i32::from(ErrorKind::Busy.exit_status())) => {
                    std::thread::sleep(RESTART_PAUSE);
                    (child, log) = self.spawn()?;
                }
                Some(status) => return Err(self.died(status, log)),
            }
        }
    }

    /// Spawns the daemon in a process group of its own; returns it with its log, at its present end.
    fn spawn(&self) -> Result<(Child, File), Error> {
        let log_error = |source| Error::Log { path: self.log_path(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(&self.state_dir).map_err(log_error)?;
        let mut log = OpenOptions::new()
            .append(true)
            .read(true)
            .create(true)
            .mode(0o600)
            .open(self.log_path())
            .map_err(log_error)?;
        log.seek(SeekFrom::End(0)).map_err(log_error)?;
        // Duplicates of one descriptor share one position; a second open does not.
        let for_child = || OpenOptions::new().append(true).open(self.log_path()).map_err(log_error);
        let mut command = Command::new(&self.program);
        // A service that calls comfyctl is not the daemon's.
        for name in SERVICE_VARIABLES {
            command.env_remove(name);
        }
        let child = command
            .arg("--background")
            .env("COMFYD_SOCKET", &self.socket)
            .stdin(Stdio::null())
            .stdout(for_child()?)
            .stderr(for_child()?)
            .process_group(0)
            .spawn()
            .map_err(|source| self.spawn_error(source))?;
        Ok((child, log))
    }

    fn spawn_error(&self, source: io::Error) -> Error {
        Error::Spawn { program: self.program.clone(), source }
    }

    fn died(&self, status: ExitStatus, mut log: File) -> Error {
        let mut bytes = Vec::new();
        // What could be read of the log is shown; the death itself is the error.
        log.read_to_end(&mut bytes).ok();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        let log_end = lines[lines.len().saturating_sub(LOG_LINES)..].iter().map(|&l| l.to_owned()).collect();
        Error::Died { program: self.program.clone(), status, log: self.log_path(), log_end }
    }

    fn log_path(&self) -> PathBuf {
        log_path(&self.state_dir)
    }
}

/// Tells whether a socket's daemon runs, without a connection to it.
pub fn runs(socket: &Path) -> bool {
    is_held(&socket_lock(socket))
}

/// Waits for a daemon that runs and does not listen: it begins, or its socket's file was deleted and it is about
/// to make another. None at once when no daemon runs, or when it ends. Blocks for at most 3 s.
pub fn wait_for_socket(socket: &Path, interrupt: &Interrupt) -> Option<Stream> {
    let deadline = Instant::now() + RETURN_LIMIT;
    while runs(socket) && Instant::now() < deadline && !interrupt.is_set() {
        if let Ok(stream) = connect(socket) {
            return Some(stream);
        }
        std::thread::sleep(POLL);
    }
    None
}

/// Connects to the machine's own socket. It is systemd's, which starts the daemon for whoever connects, so where no
/// daemon may be started, one must run already.
///
/// # Errors
/// Nobody answers there, or none runs and none may be started.
pub fn connect_to_system(socket: &Path, may_start: bool) -> Result<Stream, Error> {
    if !may_start && !is_held(&socket_lock(socket)) {
        return Err(Error::NotRunning(socket.to_owned()));
    }
    connect(socket).map_err(|source| Error::System { socket: socket.to_owned(), source })
}

/// Returns who holds a socket's lock, in the daemon's own words; none when nobody does.
pub fn holder(socket: &Path) -> Option<String> {
    let lock = socket_lock(socket);
    let text = is_held(&lock).then(|| std::fs::read_to_string(&lock).unwrap_or_default())?;
    Some(text.lines().next().filter(|line| !line.is_empty()).unwrap_or("someone unknown").to_owned())
}

/// Tells whether somebody holds a lock by `flock`, without trying to take it: even for a moment that would keep a
/// daemon from beginning. Where the system does not tell (proc_locks(5)), nobody does.
fn is_held(lock: &Path) -> bool {
    let Ok(file) = std::fs::metadata(lock) else { return false };
    let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    let number = format!(":{}", file.ino());
    locks.lines().any(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        fields.next() == Some("FLOCK") && fields.nth(3).is_some_and(|place| place.ends_with(&number))
    })
}

/// Returns the log of a daemon that a client started.
pub fn log_path(state_dir: &Path) -> PathBuf {
    state_dir.join("comfyd.log")
}

/// Why there is no daemon.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// None listens, and none may be started.
    #[error("no daemon listens on `{}`", .0.display())]
    NotRunning(PathBuf),
    /// The socket refuses.
    #[error("failed to connect to `{}`", socket.display())]
    Connect {
        /// The socket.
        socket: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Nobody answers on the machine's socket.
    #[error("failed to connect to the machine's daemon on `{}`", socket.display())]
    System {
        /// The socket.
        socket: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The log cannot be written.
    #[error("failed to open the daemon's log `{}`", path.display())]
    Log {
        /// The log.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The program cannot be started.
    #[error("failed to start the daemon `{}`", program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It ended before it listened.
    #[error("the daemon `{}` ended before it listened: {status}", program.display())]
    Died {
        /// The program.
        program: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// Its log.
        log: PathBuf,
        /// The last lines that it wrote there.
        log_end: Vec<String>,
    },
    /// It runs and does not listen.
    #[error("the daemon did not listen within {} s", limit.as_secs())]
    Late {
        /// How long it was waited for.
        limit: Duration,
        /// Its log.
        log: PathBuf,
    },
    /// The user did not want to wait.
    #[error("cancelled")]
    Cancelled,
}

impl Error {
    /// Returns the kind of failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Cancelled => ErrorKind::Cancelled,
            Self::Connect { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                ErrorKind::Access
            }
            Self::Log { .. } => ErrorKind::Disk,
            _ => ErrorKind::Unavailable,
        }
    }

    /// Returns the remedy.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotRunning(_) => Some("start one with `comfyd`, or leave out `--no-start`".to_owned()),
            Self::Connect { socket, .. } => Some(whose(socket)),
            Self::System { .. } => {
                Some("look for the reason with `systemctl status comfyd.socket comfyd.service`".to_owned())
            }
            Self::Spawn { .. } => {
                Some("put `comfyd` beside `comfyctl`, or name it with COMFYD_BIN".to_owned())
            }
            Self::Died { log, .. } | Self::Late { log, .. } => {
                Some(format!("the daemon's whole log is `{}`", log.display()))
            }
            Self::Log { .. } => Some("name another directory with COMFYD_STATE_DIR".to_owned()),
            Self::Cancelled => None,
        }
    }
}

/// Says who may use a socket, and what another user can do.
fn whose(socket: &Path) -> String {
    let Ok(file) = std::fs::metadata(socket) else {
        return "the socket belongs to the user who started the daemon".to_owned();
    };
    let you = nix::unistd::geteuid();
    let members = if file.mode() & 0o020 == 0 {
        String::new()
    } else {
        format!(" and is open to members of the group {}", file.gid())
    };
    format!(
        "the socket belongs to user {}{members}, and you are user {you}: start comfyd with COMFYD_GROUP set to a \
         group of both users, or use a comfyd of your own (COMFYD_SOCKET)",
        file.uid()
    )
}
