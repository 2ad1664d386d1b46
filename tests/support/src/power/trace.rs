//! Follows a program and all that it starts through their system calls.

use super::calls::{Call, Caller};
use super::{Contents, Event, Ino, Kind};
use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

/// Stops until it is traced, then becomes the program.
const WAIT_FOR_TRACER: &str = "kill -STOP $$; exec \"$@\"";

pub(super) struct Tracer {
    root: PathBuf,
    events: Arc<Mutex<Vec<Event>>>,
    under_way: HashMap<Pid, Option<(Call, Caller)>>,
    /// Files that hold what was not synced yet.
    dirty: HashSet<Ino>,
}

impl Tracer {
    pub(super) fn new(root: &Path, events: Arc<Mutex<Vec<Event>>>) -> Self {
        let root = root.canonicalize().unwrap();
        Self { root, events, under_way: HashMap::new(), dirty: HashSet::new() }
    }

    /// Runs the program to the end of all that it starts. This thread is their tracer.
    pub(super) fn run(mut self, command: &Command) -> nix::Result<()> {
        self.start();
        let mut launcher = Command::new("/bin/sh");
        launcher.args(["-c", WAIT_FOR_TRACER, "sh"]).arg(command.get_program()).args(command.get_args());
        launcher.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        launcher.current_dir(command.get_current_dir().unwrap_or(Path::new("/"))).process_group(0);
        launcher.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
        #[allow(clippy::zombie_processes, reason = "the loop below waits for it, as for all its offspring")]
        let child = launcher.spawn().expect("a shell can be started");
        let pid = Pid::from_raw(child.id().cast_signed());
        waitpid(pid, Some(WaitPidFlag::WUNTRACED))?;
        let follow =
            Options::PTRACE_O_TRACEFORK | Options::PTRACE_O_TRACEVFORK | Options::PTRACE_O_TRACECLONE;
        let options = follow
            | Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACEEXEC
            | Options::PTRACE_O_EXITKILL;
        ptrace::seize(pid, options)?;
        kill(pid, Signal::SIGCONT)?;
        loop {
            // Of this thread only: the other threads of this process have children too.
            match waitpid(None, Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD)) {
                Ok(status) => self.stopped(status),
                Err(Errno::EINTR) => {}
                Err(Errno::ECHILD) => return Ok(()),
                Err(errno) => return Err(errno),
            }
        }
    }

    fn stopped(&mut self, status: WaitStatus) {
        let (pid, signal) = match status {
            WaitStatus::PtraceSyscall(pid) => {
                self.system_call(pid);
                (pid, None)
            }
            WaitStatus::PtraceEvent(pid, ..) => (pid, None),
            WaitStatus::Stopped(pid, signal) => (pid, Some(signal)),
            WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..) => {
                self.under_way.remove(&pid);
                return;
            }
            _ => return,
        };
        // One that was killed meanwhile is gone.
        ptrace::syscall(pid, signal).ok();
    }

    fn system_call(&mut self, pid: Pid) {
        let Ok(info) = ptrace::syscall_info(pid) else { return };
        let Ok(registers) = ptrace::getregs(pid) else { return };
        if info.op == nix::libc::PTRACE_SYSCALL_INFO_ENTRY {
            let r = &registers;
            let args = [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9];
            let caller = Caller { id: pid.as_raw(), number: r.orig_rax, args };
            let call = caller.call();
            self.under_way.insert(pid, call.map(|call| (call, caller)));
        } else if let Some(Some((call, caller))) = self.under_way.remove(&pid)
            && registers.rax.cast_signed() >= 0
        {
            self.done(call, &caller, registers.rax);
        }
    }

    fn done(&mut self, call: Call, caller: &Caller, result: u64) {
        match call {
            Call::Open => {
                let at = caller.descriptor(result);
                if let Some(path) = self.inside(fs::read_link(&at).ok()) {
                    self.named(&path, &at);
                    self.written(&at);
                }
            }
            Call::Write(fd) => {
                let at = caller.descriptor(fd);
                if self.inside(fs::read_link(&at).ok()).is_some() {
                    self.written(&at);
                }
            }
            Call::Name(path) => {
                if let Some(name) = self.inside(Some(path.clone())) {
                    self.named(&name, &path);
                }
            }
            Call::Truncate(path) => self.written(&path),
            Call::Rename(from, to) => {
                if let (Some(from), Some(to)) = (self.inside(Some(from)), self.inside(Some(to))) {
                    self.tell(Event::Renamed { from, to });
                }
            }
            Call::Remove(path) => {
                if let Some(path) = self.inside(Some(path)) {
                    self.tell(Event::Removed { path });
                }
            }
            Call::Sync(ino, contents) => {
                self.dirty.remove(&ino);
                self.tell(Event::Synced { ino, contents });
            }
            Call::SyncAll => self.synced_all(),
        }
    }

    /// Returns a path as the record has it; none for what lies elsewhere.
    fn inside(&self, path: Option<PathBuf>) -> Option<PathBuf> {
        path?.strip_prefix(&self.root).ok().map(Path::to_owned)
    }

    fn named(&self, name: &Path, at: &Path) {
        // `at` leads to an open file; a name is not followed.
        let found = if at.starts_with("/proc") { fs::metadata(at) } else { fs::symlink_metadata(at) };
        let Ok(found) = found else { return };
        let kind = match () {
            () if found.is_dir() => Kind::Dir,
            () if found.is_symlink() => Kind::Link(fs::read_link(at).unwrap_or_default()),
            () => Kind::File,
        };
        self.tell(Event::Named { path: name.to_owned(), ino: found.ino(), kind });
    }

    fn written(&mut self, at: &Path) {
        let Some(found) = fs::metadata(at).ok().filter(fs::Metadata::is_file) else { return };
        self.dirty.insert(found.ino());
        self.tell(Event::Written { ino: found.ino(), size: found.len() });
    }

    fn synced_all(&mut self) {
        let mut files = Vec::new();
        walk(&self.root, &mut |path, found| {
            if found.is_file() && self.dirty.contains(&found.ino()) {
                files.extend(Contents::read(path).ok().map(|contents| (found.ino(), contents)));
            }
        });
        self.dirty.clear();
        self.tell(Event::SyncedAll(files));
    }

    /// What is there counts as synced.
    fn start(&mut self) {
        let root = self.root.clone();
        let mut found = vec![(root.clone(), false)];
        walk(&root, &mut |path, meta| found.push((path.to_owned(), meta.is_file())));
        for (path, is_file) in found {
            let name = path.strip_prefix(&root).unwrap_or(&path).to_owned();
            self.named(&name, &path);
            if is_file {
                self.written(&path);
            }
        }
        self.synced_all();
    }

    fn tell(&self, event: Event) {
        self.events.lock().unwrap().push(event);
    }
}

fn walk(dir: &Path, each: &mut dyn FnMut(&Path, &fs::Metadata)) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let (path, Ok(found)) = (entry.path(), entry.metadata()) else { continue };
        each(&path, &found);
        if found.is_dir() {
            walk(&path, each);
        }
    }
}
