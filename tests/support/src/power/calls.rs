//! System calls that change names or bytes, as x86-64 numbers and passes them.

use super::{Contents, Ino};
use nix::libc;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// A call that is under way, with what could only be known before it.
#[derive(Debug)]
pub(super) enum Call {
    /// A file may be made or emptied; the call returns its descriptor.
    Open,
    /// A name appears.
    Name(PathBuf),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    /// Bytes or the size of an open file change.
    Write(u64),
    /// Bytes of a file change by its name.
    Truncate(PathBuf),
    /// What is open is synced: a file with what it holds, or a directory.
    Sync(Ino, Option<Contents>),
    /// The whole file system is synced.
    SyncAll,
}

/// A thread that is about to make a system call.
pub(super) struct Caller {
    pub(super) id: i32,
    pub(super) number: u64,
    pub(super) args: [u64; 6],
}

const CURRENT_DIR: u64 = libc::AT_FDCWD.cast_unsigned() as u64;

impl Caller {
    /// Returns what the call is going to do; none when it changes nothing that outlives the machine.
    pub(super) fn call(&self) -> Option<Call> {
        let [a, b, c, d, ..] = self.args;
        Some(match i64::try_from(self.number).ok()? {
            libc::SYS_open => Self::open(b)?,
            libc::SYS_openat => Self::open(c)?,
            libc::SYS_openat2 => Self::open(u64::from_ne_bytes(self.bytes(c)?))?,
            libc::SYS_creat => Call::Open,
            libc::SYS_mkdir | libc::SYS_mknod => Call::Name(self.path(CURRENT_DIR, a)?),
            libc::SYS_mkdirat | libc::SYS_mknodat => Call::Name(self.path(a, b)?),
            libc::SYS_symlink | libc::SYS_link => Call::Name(self.path(CURRENT_DIR, b)?),
            libc::SYS_symlinkat => Call::Name(self.path(b, c)?),
            libc::SYS_linkat => Call::Name(self.path(c, d)?),
            libc::SYS_rename => Call::Rename(self.path(CURRENT_DIR, a)?, self.path(CURRENT_DIR, b)?),
            libc::SYS_renameat | libc::SYS_renameat2 => Call::Rename(self.path(a, b)?, self.path(c, d)?),
            libc::SYS_unlink | libc::SYS_rmdir => Call::Remove(self.path(CURRENT_DIR, a)?),
            libc::SYS_unlinkat => Call::Remove(self.path(a, b)?),
            libc::SYS_write
            | libc::SYS_writev
            | libc::SYS_pwrite64
            | libc::SYS_pwritev
            | libc::SYS_pwritev2
            | libc::SYS_ftruncate
            | libc::SYS_fallocate
            | libc::SYS_sendfile => Call::Write(a),
            libc::SYS_copy_file_range | libc::SYS_splice => Call::Write(c),
            // FICLONE, FICLONERANGE (linux/fs.h)
            libc::SYS_ioctl if matches!(b, 0x4004_9409 | 0x4020_940d) => Call::Write(a),
            libc::SYS_mmap if Self::is_shared_and_writable(c, d) => Call::Write(self.args[4]),
            libc::SYS_truncate => Call::Truncate(self.path(CURRENT_DIR, a)?),
            libc::SYS_fsync | libc::SYS_fdatasync => self.sync(a)?,
            libc::SYS_syncfs | libc::SYS_sync => Call::SyncAll,
            _ => return None,
        })
    }

    fn open(flags: u64) -> Option<Call> {
        let changing = libc::O_CREAT | libc::O_TRUNC | (libc::O_TMPFILE & !libc::O_DIRECTORY);
        (flags & u64::from(changing.unsigned_abs()) != 0).then_some(Call::Open)
    }

    fn is_shared_and_writable(protection: u64, flags: u64) -> bool {
        let has = |word: u64, bit: i32| word & u64::from(bit.unsigned_abs()) != 0;
        has(protection, libc::PROT_WRITE) && has(flags, libc::MAP_SHARED) && !has(flags, libc::MAP_ANONYMOUS)
    }

    /// Returns where an open file is seen from here.
    pub(super) fn descriptor(&self, fd: u64) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", self.id, low(fd)))
    }

    fn sync(&self, fd: u64) -> Option<Call> {
        let path = self.descriptor(fd);
        let found = fs::metadata(&path).ok()?;
        // Read before the call: what comes during it may not be part of it.
        let contents = if found.is_file() { Some(Contents::read(&path).ok()?) } else { None };
        Some(Call::Sync(found.ino(), contents))
    }

    /// Returns the real path of a name that the call is about, itself not followed.
    fn path(&self, dir: u64, address: u64) -> Option<PathBuf> {
        let name = self.text(address)?;
        let name = Path::new(OsStr::from_bytes(&name));
        let base = match dir {
            dir if low(dir) == low(CURRENT_DIR) => PathBuf::from(format!("/proc/{}/cwd", self.id)),
            dir => self.descriptor(dir),
        };
        let path = base.join(name);
        Some(path.parent()?.canonicalize().ok()?.join(path.file_name()?))
    }

    fn text(&self, mut address: u64) -> Option<Vec<u8>> {
        let mut text = Vec::new();
        let memory = self.memory()?;
        loop {
            let mut piece = [0; 256];
            // Never across the end of a page: the next one may not be there.
            let room = 4096 - usize::try_from(address % 4096).ok()?;
            let count = memory.read_at(&mut piece[..room.min(256)], address).ok()?;
            if let Some(end) = piece[..count].iter().position(|byte| *byte == 0) {
                text.extend_from_slice(&piece[..end]);
                return Some(text);
            }
            if count == 0 || text.len() > 4096 {
                return None;
            }
            text.extend_from_slice(&piece[..count]);
            address += count as u64;
        }
    }

    fn bytes(&self, address: u64) -> Option<[u8; 8]> {
        let mut bytes = [0; 8];
        self.memory()?.read_exact_at(&mut bytes, address).ok()?;
        Some(bytes)
    }

    fn memory(&self) -> Option<File> {
        File::open(format!("/proc/{}/mem", self.id)).ok()
    }
}

/// Descriptors are passed as the low half of a register.
#[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "the kernel does the same")]
pub(super) fn low(word: u64) -> i32 {
    word as u32 as i32
}
