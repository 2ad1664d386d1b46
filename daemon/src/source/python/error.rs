//! What can go wrong, its kind, and the remedy.

use super::said::Said;
use crate::process::ProcessError;
use crate::store::commit::StoreError;
use crate::store::file_lock::LockError;
use proto::ErrorKind;
use std::path::PathBuf;

/// Why there is no environment.
#[derive(Debug, thiserror::Error)]
pub enum PythonError {
    /// There is no usable uv, and none could be installed.
    #[error("there is no usable `uv`: {0}")]
    NoUv(String),
    /// No interpreter fits.
    #[error("found no {sought} on this machine; there is {}", list_or_nothing(found))]
    NoInterpreter {
        /// What was sought.
        sought: String,
        /// What there is.
        found: Vec<String>,
    },
    /// A requirement line cannot be used.
    #[error("`{line}` ({origin}) cannot be used: {reason}")]
    Line {
        /// The line.
        line: String,
        /// Where it stands.
        origin: String,
        /// What is wrong with it.
        reason: String,
        /// Whether it is the spec's own line, which its author can change.
        in_spec: bool,
    },
    /// Requirements that no set of packages satisfies.
    #[error("requirements contradict each other: {}", lines.join(" against "))]
    Conflict {
        /// A smallest set of lines, each with its place: "numpy<2" (NodeA requirements.txt:4).
        lines: Vec<String>,
        /// Whether one of them is the torch that ComfyUI and the spec resolve to.
        torch: bool,
        /// uv's reasoning.
        source: Said,
    },
    /// One requirement that nothing satisfies.
    #[error("no package satisfies {line}")]
    Unavailable {
        /// The line, with its place.
        line: String,
        /// uv's reasoning.
        source: Said,
    },
    /// uv failed.
    #[error("failed to {attempt}")]
    Uv {
        /// What was attempted.
        attempt: String,
        /// What kind of failure uv's words mean.
        kind: ErrorKind,
        /// uv's words.
        source: Said,
    },
    /// uv's answer cannot be read.
    #[error("cannot read uv's {what}: {reason}")]
    Answer {
        /// Which answer.
        what: &'static str,
        /// Why not.
        reason: String,
    },
    /// A file of an installed package is not as it was installed.
    #[error("`{file}` of the package `{package}` {what}")]
    Damaged {
        /// The package, `name-version`.
        package: String,
        /// The file, relative to site-packages.
        file: String,
        /// What is wrong with it.
        what: String,
    },
    /// A package is absent or of another version than the lock says.
    #[error("the environment has {found} where the lock has `{locked}`")]
    Differs {
        /// What is installed.
        found: String,
        /// What the lock says.
        locked: String,
    },
    /// Installed packages do not fit together.
    #[error("the installed packages do not fit together")]
    Check(#[source] Said),
    /// A node's `install.py` failed.
    #[error("`install.py` of `{node}` failed ({status})")]
    InstallScript {
        /// The node's directory.
        node: String,
        /// Its exit status.
        status: String,
        /// The end of its output.
        source: Said,
    },
    /// A program could not be run.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// Something could not be published.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A lock was not taken.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The disk refused.
    #[error("failed to {attempt} `{path}`")]
    Io {
        /// What was attempted.
        attempt: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A thread of ours died.
    #[error("a worker thread ended early")]
    Thread(#[source] tokio::task::JoinError),
}

impl PythonError {
    /// Returns what kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Line { in_spec: true, .. } => ErrorKind::Spec,
            Self::Conflict { .. } | Self::Check(_) => ErrorKind::Conflict,
            Self::Unavailable { .. } => ErrorKind::NotFound,
            Self::Uv { kind, .. } => *kind,
            Self::Process(ProcessError::Cancelled(_)) | Self::Lock(LockError::Cancelled(_)) => {
                ErrorKind::Cancelled
            }
            Self::Lock(LockError::Timeout { .. }) => ErrorKind::Busy,
            Self::Store(_) | Self::Io { .. } | Self::Lock(LockError::Store(_)) | Self::Damaged { .. } => {
                ErrorKind::Disk
            }
            Self::Thread(_) => ErrorKind::Internal,
            _ => ErrorKind::Toolchain,
        }
    }

    /// Returns the package whose files in uv's cache are not whole, where that is what went wrong.
    pub fn damaged_package(&self) -> Option<&str> {
        match self {
            Self::Damaged { package, .. } => package.rsplit_once('-').map(|(name, _)| name),
            Self::Uv { kind: ErrorKind::Toolchain, source, .. } => source.unusable_package(),
            _ => None,
        }
    }

    /// Returns what to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoUv(_) => "put `uv` on the daemon's PATH, or name it in COMFYD_UV",
            Self::NoInterpreter { .. } => {
                "install that Python, or name another one in the spec's `env.COMFY_PYTHON`"
            }
            Self::Line { in_spec: true, .. } => {
                "`python_packages` takes lines such as `numpy<2` or `name @ https://…`; set indexes by UV_DEFAULT_INDEX or UV_INDEX in the daemon's environment, put local files into COMFY_WHEELS_DIR"
            }
            Self::Conflict { torch: true, .. } => {
                "choose another torch in the spec's `python_packages` (such as `torch==2.8.0`), pin another commit of the node, set `install_requirements: false` for it, or set `options.conflicts` to `\"warn\"` to leave out its line"
            }
            Self::Conflict { .. } => {
                "pin another commit of one of the nodes or drop it, set `install_requirements: false` for it, or set `options.conflicts` to `\"warn\"` to leave out the later line"
            }
            Self::Unavailable { source, .. } if source.to_string().contains("exclude-newer") => {
                "packages are taken as of the newest commit's date; set `options.exclude_newer` to a later date or switch it off"
            }
            Self::Unavailable { .. } => {
                "check the name and version, or the indexes that uv is told to use (UV_DEFAULT_INDEX, UV_INDEX)"
            }
            Self::Uv { kind: ErrorKind::Offline, .. } => {
                "go online once, or put the wheels into COMFY_WHEELS_DIR"
            }
            Self::Uv { kind: ErrorKind::Access, .. } => {
                "give uv the index's credentials (a netrc file, or UV_INDEX_<NAME>_USERNAME and …_PASSWORD)"
            }
            Self::Damaged { .. } | Self::Differs { .. } => "realize the version again: it is built anew",
            Self::InstallScript { .. } => {
                "the node needs something that this machine lacks; pin another commit, or set `install_requirements: false` for it"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }

    pub(super) fn io(attempt: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { attempt, path, source }
    }
}

fn list_or_nothing(found: &[String]) -> String {
    if found.is_empty() { "none at all".to_owned() } else { found.join(", ") }
}
