//! A volume far away: a directory seen through FUSE, each of whose operations takes a while.
//!
//! As network volumes have it, many operations may be under way at once, attributes and names are kept for a
//! second, and pages stay in the page cache. What is below is passed through as it is.

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow,
    WriteFlags,
};
use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{
    FileExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// How long the kernel keeps names and attributes: what MooseFS's client says by default (mfsmount(8)).
const KEPT: Duration = Duration::from_secs(1);

/// Operations that may be under way at once.
const THREADS: usize = 64;

/// A mounted slow volume; unmounted when this is dropped.
#[derive(Debug)]
pub struct SlowVolume {
    session: Option<BackgroundSession>,
    seen: Arc<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    operations: Mutex<BTreeMap<&'static str, u64>>,
    read_bytes: AtomicU64,
}

impl SlowVolume {
    /// Shows `below` at `mount_point` with operations that take `delay` each.
    ///
    /// # Errors
    /// Where there is no FUSE, or no right to mount.
    pub fn mount(below: &Path, mount_point: &Path, delay: Duration) -> io::Result<Self> {
        let seen = Arc::new(Seen::default());
        let below = below.canonicalize()?;
        let volume = Volume {
            delay,
            seen: Arc::clone(&seen),
            names: Mutex::new(HashMap::from([(INodeNo::ROOT.0, (0, below.into_os_string()))])),
            files: Mutex::default(),
            last: AtomicU64::new(0),
        };
        let mut config = Config::default();
        config.mount_options =
            vec![MountOption::FSName("slow-volume".to_owned()), MountOption::DefaultPermissions];
        config.n_threads = Some(THREADS);
        let session = fuser::spawn_mount(volume, mount_point, &config)?;
        Ok(Self { session: Some(session), seen })
    }

    /// Returns how often each operation was asked for so far, and bytes read as `read_bytes`.
    pub fn operations(&self) -> BTreeMap<&'static str, u64> {
        let mut operations = lock(&self.seen.operations).clone();
        operations.insert("read_bytes", self.seen.read_bytes.load(Ordering::Relaxed));
        operations
    }
}

impl Drop for SlowVolume {
    fn drop(&mut self) {
        // What still has files open there keeps it mounted until it ends.
        self.session.take().map(BackgroundSession::umount_and_join);
    }
}

struct Volume {
    delay: Duration,
    seen: Arc<Seen>,
    /// By inode: the parent's inode, and the name in it. Of a file with two names the one that was looked up last.
    names: Mutex<HashMap<u64, (u64, OsString)>>,
    files: Mutex<HashMap<u64, Open>>,
    last: AtomicU64,
}

#[derive(Clone)]
enum Open {
    File(Arc<File>),
    Dir(Arc<Vec<(INodeNo, FileType, OsString)>>),
}

impl Volume {
    /// Counts an operation, and lets it take its time.
    fn operation(&self, name: &'static str) {
        *lock(&self.seen.operations).entry(name).or_default() += 1;
        if !self.delay.is_zero() {
            std::thread::sleep(self.delay);
        }
    }

    fn path(&self, node: INodeNo) -> io::Result<PathBuf> {
        let names = lock(&self.names);
        let (mut parts, mut node) = (Vec::new(), node.0);
        loop {
            let (parent, name) = names.get(&node).ok_or(io::ErrorKind::NotFound)?;
            parts.push(name.clone());
            match parent {
                0 => break,
                parent => node = *parent,
            }
        }
        Ok(parts.iter().rev().collect())
    }

    fn child(&self, parent: INodeNo, name: &OsStr) -> io::Result<PathBuf> {
        Ok(self.path(parent)?.join(name))
    }

    fn entry(&self, parent: INodeNo, name: &OsStr) -> io::Result<FileAttr> {
        let found = attributes(&fs::symlink_metadata(self.child(parent, name)?)?);
        lock(&self.names).insert(found.ino.0, (parent.0, name.to_owned()));
        Ok(found)
    }

    fn keep(&self, open: Open) -> FileHandle {
        let handle = self.last.fetch_add(1, Ordering::Relaxed);
        lock(&self.files).insert(handle, open);
        FileHandle(handle)
    }

    fn file(&self, handle: FileHandle) -> io::Result<Arc<File>> {
        match lock(&self.files).get(&handle.0) {
            Some(Open::File(file)) => Ok(Arc::clone(file)),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    fn list(&self, node: INodeNo) -> io::Result<FileHandle> {
        let mut list = Vec::new();
        for entry in fs::read_dir(self.path(node)?)? {
            let entry = entry?;
            list.push((INodeNo(entry.metadata()?.ino()), kind(entry.file_type()?), entry.file_name()));
        }
        Ok(self.keep(Open::Dir(Arc::new(list))))
    }

    fn open_file(&self, path: &Path, flags: i32, mode: u32) -> io::Result<FileHandle> {
        const NOT_OURS: i32 = 0o200_000 | 0o2_000; // O_DIRECTORY is the kernel's, O_APPEND its offsets'
        let writes = flags & 0o3 != 0;
        let file = fs::OpenOptions::new()
            .read(flags & 0o3 != 1)
            .write(writes)
            .custom_flags(flags & !NOT_OURS & !0o3)
            .mode(mode)
            .open(path)?;
        Ok(self.keep(Open::File(Arc::new(file))))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers an operation with its result.
macro_rules! answer {
    ($reply:ident, $result:expr, |$value:pat_param| $answer:expr) => {{
        let result: io::Result<_> = $result;
        match result {
            Ok($value) => $answer,
            Err(error) if error.raw_os_error().is_none() => $reply.error(Errno::EIO),
            Err(error) => $reply.error(Errno::from(error)),
        }
    }};
}

impl Filesystem for Volume {
    fn init(&mut self, _: &Request, config: &mut fuser::KernelConfig) -> io::Result<()> {
        // What libfuse asks for by default: names of one directory are looked up side by side. Older kernels know
        // nothing of it.
        config.add_capabilities(fuser::InitFlags::FUSE_PARALLEL_DIROPS).ok();
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.operation("lookup");
        answer!(reply, self.entry(parent, name), |found| reply.entry(&KEPT, &found, Generation(0)));
    }

    fn getattr(&self, _: &Request, node: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        self.operation("getattr");
        let found = self.path(node).and_then(fs::symlink_metadata);
        answer!(reply, found, |found| reply.attr(&KEPT, &FileAttr { ino: node, ..attributes(&found) }));
    }

    fn setattr(
        &self,
        _: &Request,
        node: INodeNo,
        mode: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        modified: Option<TimeOrNow>,
        _: Option<SystemTime>,
        handle: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        self.operation("setattr");
        let change = || {
            let path = self.path(node)?;
            let file = || {
                handle.map_or_else(
                    || File::options().write(true).open(&path).map(Arc::new),
                    |handle| self.file(handle),
                )
            };
            if let Some(mode) = mode {
                fs::set_permissions(&path, Permissions::from_mode(mode & 0o7777))?;
            }
            if let Some(size) = size {
                file()?.set_len(size)?;
            }
            match modified {
                Some(TimeOrNow::SpecificTime(time)) => file()?.set_modified(time)?,
                Some(TimeOrNow::Now) => file()?.set_modified(SystemTime::now())?,
                None => (),
            }
            fs::symlink_metadata(path)
        };
        answer!(reply, change(), |found| reply.attr(&KEPT, &FileAttr { ino: node, ..attributes(&found) }));
    }

    fn readlink(&self, _: &Request, node: INodeNo, reply: ReplyData) {
        self.operation("readlink");
        answer!(reply, self.path(node).and_then(fs::read_link), |target| reply
            .data(target.as_os_str().as_bytes()));
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        self.operation("mkdir");
        let make = || {
            let path = self.child(parent, name)?;
            fs::create_dir(&path)?;
            fs::set_permissions(&path, Permissions::from_mode(mode & !umask & 0o7777))?;
            self.entry(parent, name)
        };
        answer!(reply, make(), |entry| reply.entry(&KEPT, &entry, Generation(0)));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.operation("unlink");
        answer!(reply, self.child(parent, name).and_then(fs::remove_file), |()| reply.ok());
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.operation("rmdir");
        answer!(reply, self.child(parent, name).and_then(fs::remove_dir), |()| reply.ok());
    }

    fn symlink(&self, _: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        self.operation("symlink");
        let make = || {
            std::os::unix::fs::symlink(target, self.child(parent, name)?)?;
            self.entry(parent, name)
        };
        answer!(reply, make(), |entry| reply.entry(&KEPT, &entry, Generation(0)));
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        self.operation("rename");
        if !flags.is_empty() {
            return reply.error(Errno::EINVAL);
        }
        let rename = || {
            #[allow(clippy::disallowed_methods, reason = "a volume renames when it is told to")]
            fs::rename(self.child(parent, name)?, self.child(new_parent, new_name)?)?;
            self.entry(new_parent, new_name).map(drop)
        };
        answer!(reply, rename(), |()| reply.ok());
    }

    fn link(&self, _: &Request, node: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.operation("link");
        let make = || {
            fs::hard_link(self.path(node)?, self.child(parent, name)?)?;
            self.entry(parent, name)
        };
        answer!(reply, make(), |entry| reply.entry(&KEPT, &entry, Generation(0)));
    }

    fn open(&self, _: &Request, node: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        self.operation("open");
        let open = self.path(node).and_then(|path| self.open_file(&path, flags.0, 0));
        answer!(reply, open, |handle| reply.opened(handle, FopenFlags::FOPEN_KEEP_CACHE));
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        self.operation("create");
        let create = || {
            // O_CREAT: the kernel has asked for it by the operation.
            let handle = self.open_file(&self.child(parent, name)?, flags | 0o100, mode & !umask)?;
            Ok((self.entry(parent, name)?, handle))
        };
        answer!(reply, create(), |(entry, handle)| {
            reply.created(&KEPT, &entry, Generation(0), handle, FopenFlags::FOPEN_KEEP_CACHE);
        });
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.operation("read");
        let read = || {
            let (file, mut data, mut done) = (self.file(handle)?, vec![0; size as usize], 0);
            while done < data.len() {
                match file.read_at(&mut data[done..], offset + done as u64)? {
                    0 => break,
                    more => done += more,
                }
            }
            data.truncate(done);
            Ok(data)
        };
        answer!(reply, read(), |data| {
            self.seen.read_bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
            reply.data(&data);
        });
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        self.operation("write");
        let written = self.file(handle).and_then(|file| file.write_all_at(data, offset));
        // The kernel asks for less than 4 GiB at once.
        answer!(reply, written, |()| reply.written(u32::try_from(data.len()).unwrap_or(u32::MAX)));
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        lock(&self.files).remove(&handle.0);
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, handle: FileHandle, _: bool, reply: ReplyEmpty) {
        self.operation("fsync");
        answer!(reply, self.file(handle).and_then(|file| file.sync_all()), |()| reply.ok());
    }

    fn opendir(&self, _: &Request, node: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        self.operation("opendir");
        answer!(reply, self.list(node), |handle| reply.opened(handle, FopenFlags::empty()));
    }

    fn readdir(&self, _: &Request, _: INodeNo, handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        self.operation("readdir");
        let list = match lock(&self.files).get(&handle.0) {
            Some(Open::Dir(list)) => Arc::clone(list),
            _ => return reply.error(Errno::EBADF),
        };
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        for (place, (node, kind, name)) in list.iter().enumerate().skip(from) {
            if reply.add(*node, place as u64 + 1, *kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn releasedir(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        lock(&self.files).remove(&handle.0);
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.operation("fsync");
        reply.ok();
    }

    fn statfs(&self, _: &Request, node: INodeNo, reply: ReplyStatfs) {
        self.operation("statfs");
        let found = self.path(node).and_then(|path| Ok(nix::sys::statvfs::statvfs(&path)?));
        answer!(reply, found, |found| {
            let size = u32::try_from(found.block_size()).unwrap_or(4096);
            reply.statfs(
                found.blocks(),
                found.blocks_free(),
                found.blocks_available(),
                found.files(),
                found.files_free(),
                size,
                255,
                size,
            );
        });
    }
}

fn attributes(found: &Metadata) -> FileAttr {
    let time = |seconds: i64, nanos: i64| {
        let (seconds, nanos) = (u64::try_from(seconds).unwrap_or(0), u32::try_from(nanos).unwrap_or(0));
        SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos)
    };
    FileAttr {
        ino: INodeNo(found.ino()),
        size: found.len(),
        blocks: found.blocks(),
        atime: time(found.atime(), found.atime_nsec()),
        mtime: time(found.mtime(), found.mtime_nsec()),
        ctime: time(found.ctime(), found.ctime_nsec()),
        crtime: SystemTime::UNIX_EPOCH,
        kind: kind(found.file_type()),
        perm: u16::try_from(found.mode() & 0o7777).unwrap_or(0o644),
        nlink: u32::try_from(found.nlink()).unwrap_or(1),
        uid: found.uid(),
        gid: found.gid(),
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

fn kind(kind: fs::FileType) -> FileType {
    match kind {
        kind if kind.is_dir() => FileType::Directory,
        kind if kind.is_symlink() => FileType::Symlink,
        kind if kind.is_socket() => FileType::Socket,
        kind if kind.is_fifo() => FileType::NamedPipe,
        _ => FileType::RegularFile,
    }
}
