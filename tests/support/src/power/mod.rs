//! Power loss, without a machine to unplug.
//!
//! [`Recording`] runs a program under ptrace and notes each change of a name or of bytes below a directory, and
//! what was synced when. [`History`] makes of that the disks that a power loss at any moment may leave: what
//! was synced is there; of the rest, names may have come through without bytes, bytes may be zeros, and
//! of each directory's changes the first few may stand without those after them.

mod calls;
mod history;
mod trace;

pub use history::{Bytes, Disk, Found, History, Loss, Names};

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// Number of an inode.
pub(crate) type Ino = u64;

/// What a file holds, and its mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// Its bytes.
    pub bytes: Arc<[u8]>,
    /// Its permissions.
    pub mode: u32,
}

impl Contents {
    fn read(path: &Path) -> io::Result<Self> {
        let mode = std::fs::metadata(path)?.mode();
        Ok(Self { bytes: std::fs::read(path)?.into(), mode })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Dir,
    Link(PathBuf),
}

/// One change, in the order in which the program could have noticed it. Paths are real and relative.
#[derive(Debug)]
pub(crate) enum Event {
    /// A name leads to this inode, maybe as before.
    Named {
        path: PathBuf,
        ino: Ino,
        kind: Kind,
    },
    Renamed {
        from: PathBuf,
        to: PathBuf,
    },
    Removed {
        path: PathBuf,
    },
    /// A file's bytes or size changed.
    Written {
        ino: Ino,
        size: u64,
    },
    /// A file's bytes, or a directory's names (then there are no contents), outlive the machine from here on.
    Synced {
        ino: Ino,
        contents: Option<Contents>,
    },
    /// Everything does; these files had something new.
    SyncedAll(Vec<(Ino, Contents)>),
}

/// A program that is being recorded. Dropping it kills the program.
#[derive(Debug)]
pub struct Recording {
    events: Arc<Mutex<Vec<Event>>>,
    tracer: Option<JoinHandle<nix::Result<()>>>,
}

impl Recording {
    /// Starts a program with what it changes below `root` recorded. What stands there counts as synced.
    pub fn start(root: &Path, command: Command) -> Self {
        let events = Arc::new(Mutex::new(Vec::new()));
        let tracer = trace::Tracer::new(root, Arc::clone(&events));
        let tracer = std::thread::spawn(move || tracer.run(&command));
        Self { events, tracer: Some(tracer) }
    }

    /// Returns how much has been recorded: a moment for [`History`].
    pub fn now(&self) -> usize {
        self.events.lock().unwrap().len()
    }

    /// Waits until the program and all that it started have ended, and returns what they did. `promises` says
    /// for each rename what must be whole from then on: the name itself with all below it, something else, or
    /// nothing.
    pub fn finish(mut self, promises: impl Fn(&Path, &Path) -> Option<PathBuf>) -> History {
        let tracer = self.tracer.take().expect("taken here only");
        tracer.join().unwrap().expect("the kernel lets a parent trace its children");
        History::new(&self.events.lock().unwrap(), &promises)
    }
}
