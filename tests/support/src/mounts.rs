//! A daemon whose disks are what a test makes of them: it sees mounts that nobody else does.

use crate::TestEnv;
use crate::process::eventually;
use std::fs::File;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// What is mounted over a place.
#[derive(Debug, Clone, Copy)]
pub enum Mount {
    /// An empty disk with so many KiB.
    Disk(u32),
    /// The place itself, read-only.
    ReadOnly,
}

/// A daemon behind mounts of its own. Dropping it kills the daemon.
#[derive(Debug)]
pub struct Mounted {
    daemon: Child,
}

/// Mounts what the first arguments say, then becomes the program. A name space that was just made is not told
/// to others (`unshare(1)`, `--propagation private`).
const MOUNT: &str = r#"set -e
while [ "$1" != -- ]; do
    case "$1" in
        ro) mount --bind "$2" "$2"; mount -o remount,bind,ro "$2" ;;
        *) mount -t tmpfs -o "size=$1k" disk "$2" ;;
    esac
    shift 2
done
shift
cd "$HOME"
exec "$@""#;

impl Mounted {
    /// Starts a daemon on this machine for which places are mounted, the first one first. Its socket must not be
    /// in one of them.
    pub fn start(env: &TestEnv, mounts: &[(PathBuf, Mount)]) -> Self {
        let mut command = Command::new("unshare");
        command.arg("--mount");
        if nix::unistd::geteuid().as_raw() != 0 {
            command.args(["--user", "--map-root-user"]);
        }
        command.args(["sh", "-c", MOUNT, "sh"]);
        for (place, mount) in mounts {
            match mount {
                Mount::Disk(size) => command.arg(size.to_string()),
                Mount::ReadOnly => command.arg("ro"),
            };
            command.arg(place);
        }
        let comfyd = env.comfyd();
        command.arg("--").arg(comfyd.get_program()).env_clear();
        command.envs(comfyd.get_envs().filter_map(|(name, value)| Some((name, value?))));
        Self::of(env, command)
    }

    /// Starts a daemon as a user who may write only where everybody may.
    pub fn as_nobody(env: &TestEnv) -> Self {
        /// `nobody` of most systems.
        const NOBODY: u32 = 65534;
        let mut command = env.comfyd();
        if nix::unistd::geteuid().as_raw() == 0 {
            command.uid(NOBODY).gid(NOBODY);
        }
        Self::of(env, command)
    }

    fn of(env: &TestEnv, mut command: Command) -> Self {
        let said = env.path("run/said");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&said).unwrap());
        let mut daemon = command.spawn().unwrap();
        eventually("the daemon listens", || {
            let ended = daemon.try_wait().unwrap();
            assert!(ended.is_none(), "the daemon cannot begin: {}", std::fs::read_to_string(&said).unwrap());
            UnixStream::connect(env.socket()).is_ok()
        });
        Self { daemon }
    }

    /// Returns a path as it is for the daemon.
    pub fn path(&self, path: &Path) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{}", self.daemon.id(), path.display()))
    }

    /// Leaves so many KiB free on the disk that `place` is on; the rest is taken by a file there.
    pub fn leave_free(&self, place: &Path, free: u64) {
        let path = self.path(&place.join("ballast"));
        std::fs::remove_file(&path).ok();
        let file = File::create(&path).unwrap();
        // Others write meanwhile: what was free a moment ago need not be.
        eventually("the rest of the disk is taken", || {
            let found = nix::sys::statvfs::fstatvfs(&file).unwrap();
            let ballast = (found.blocks_available() * found.fragment_size()).saturating_sub(free << 10);
            let size = i64::try_from(ballast).unwrap();
            nix::fcntl::fallocate(&file, nix::fcntl::FallocateFlags::empty(), 0, size.max(1)).is_ok()
        });
    }

    /// Returns whether the daemon still runs.
    pub fn lives(&mut self) -> bool {
        self.daemon.try_wait().unwrap().is_none()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        self.daemon.kill().ok();
        self.daemon.wait().ok();
    }
}
