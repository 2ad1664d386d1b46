//! From a recording to the disks that a power loss may leave.

use super::{Contents, Event, Ino, Kind};
use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::{self, Permissions};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Component, Path, PathBuf};

/// One of the files, directories and links that ever were: inode numbers are used again.
type Id = usize;

/// A name in a directory.
type Name = (Id, OsString);

const ROOT: Id = 0;

/// Everything that happened to a directory tree.
#[derive(Debug)]
pub struct History {
    nodes: Vec<Node>,
    changes: Vec<Change>,
    promises: Vec<Promise>,
    syncs: Vec<usize>,
}

#[derive(Debug)]
struct Node {
    kind: Kind,
    /// When it was written, and how long it was then.
    writes: Vec<(usize, u64)>,
    /// When it was synced, with what.
    syncs: Vec<(usize, Contents)>,
}

/// Names that changed in one step.
#[derive(Debug)]
struct Change {
    at: usize,
    gone: Option<Name>,
    made: Option<(Name, Id)>,
    /// When it was synced.
    durable: Option<usize>,
}

impl Change {
    fn is_in(&self, dir: Id) -> bool {
        let of = |name: &Name| name.0 == dir;
        self.gone.as_ref().is_some_and(of) || self.made.as_ref().is_some_and(|(name, _)| of(name))
    }
}

/// A name that promises something from when it appears.
#[derive(Debug)]
struct Promise {
    /// Which change.
    change: usize,
    path: PathBuf,
    /// Whether the name promises its own bytes.
    is_itself: bool,
    /// What is promised: the name in its directory, and what it led to.
    tree: Vec<(Name, Id)>,
}

/// Which changes of names that were not synced a power loss leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// None.
    Synced,
    /// All, as on file systems that write names before bytes.
    All,
    /// Of each directory the first few, by this seed.
    Some(u64),
}

/// What a power loss leaves of files that were not synced since they were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bytes {
    /// What was synced last, nothing in a file that never was.
    Old,
    /// Zeros, as many as there were bytes.
    Zeros,
}

/// What happens to whatever was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loss {
    /// To names.
    pub names: Names,
    /// To bytes.
    pub bytes: Bytes,
}

/// A disk after a power loss, by path.
#[derive(Debug, Default)]
pub struct Disk {
    /// What stands there.
    pub entries: BTreeMap<PathBuf, Found>,
    names: HashMap<Name, Id>,
    nodes: BTreeMap<PathBuf, Id>,
    lost: Vec<Id>,
}

/// What stands under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A file.
    File(Contents),
    /// A directory.
    Dir,
    /// A symbolic link to this.
    Link(PathBuf),
}

impl History {
    pub(super) fn new(events: &[Event], promises: &dyn Fn(&Path, &Path) -> Option<PathBuf>) -> Self {
        let mut builder = Builder::new(promises);
        for (at, event) in events.iter().enumerate() {
            builder.add(at, event);
        }
        builder.history
    }

    /// Returns the moments at which something was about to be synced, with the very last one: between two of
    /// them disks only lose more.
    pub fn moments(&self) -> &[usize] {
        &self.syncs
    }

    /// Returns the disk after a power loss at a moment.
    pub fn disk(&self, moment: usize, loss: Loss) -> Disk {
        let mut names: BTreeMap<Name, Id> = BTreeMap::new();
        let mut counts: HashMap<Id, u64> = HashMap::new();
        for change in self.changes.iter().take_while(|change| change.at < moment) {
            let is_durable = change.durable.is_some_and(|at| at < moment);
            let dir =
                change.made.as_ref().map(|(name, _)| name.0).or(change.gone.as_ref().map(|name| name.0));
            let nth = counts.entry(dir.unwrap_or(ROOT)).or_default();
            *nth += u64::from(!is_durable);
            let survives = is_durable
                || match loss.names {
                    Names::Synced => false,
                    Names::All => true,
                    Names::Some(seed) => *nth <= random(seed, dir.unwrap_or(ROOT)) % 8,
                };
            if survives {
                if let Some(name) = &change.gone {
                    names.remove(name);
                }
                names.extend(change.made.clone());
            }
        }
        let mut disk = Disk::default();
        self.fill(&mut disk, &names, (ROOT, Path::new("")), (moment, loss.bytes));
        disk
    }

    fn fill(
        &self,
        disk: &mut Disk,
        names: &BTreeMap<Name, Id>,
        (dir, path): (Id, &Path),
        (moment, bytes): (usize, Bytes),
    ) {
        let below = names.range((dir, OsString::new())..).take_while(|((of, _), _)| *of == dir);
        for (name, &id) in below {
            let path = path.join(&name.1);
            let found = match &self.nodes[id].kind {
                Kind::Dir => Found::Dir,
                Kind::Link(target) => Found::Link(target.clone()),
                Kind::File => {
                    let (contents, is_lost) = self.nodes[id].after(moment, bytes);
                    disk.lost.extend(is_lost.then_some(id));
                    Found::File(contents)
                }
            };
            let is_dir = found == Found::Dir;
            disk.names.insert(name.clone(), id);
            disk.nodes.insert(path.clone(), id);
            disk.entries.insert(path.clone(), found);
            if is_dir {
                self.fill(disk, names, (id, &path), (moment, bytes));
            }
        }
    }

    /// Returns the names of a disk that do not keep what they promise, with what is missing: never names or
    /// bytes that were changed since.
    pub fn broken(&self, moment: usize, disk: &Disk) -> Vec<(PathBuf, String)> {
        let mut broken = Vec::new();
        for promise in &self.promises {
            let change = &self.changes[promise.change];
            let Some((name, id)) = change.made.as_ref().filter(|_| change.at < moment) else { continue };
            let stands = disk.names.get(name) == Some(id) && disk.entries.contains_key(&promise.path);
            // A name without bytes promises nothing but its own.
            if !stands || (!promise.is_itself && disk.lost.contains(id)) {
                continue;
            }
            if let Some(lack) = self.lack(promise, (change.at, moment), disk) {
                broken.push((promise.path.clone(), lack));
            }
        }
        broken
    }

    fn lack(&self, promise: &Promise, (since, until): (usize, usize), disk: &Disk) -> Option<String> {
        let moved = |name: &Name| {
            let later = self.changes.iter().filter(|change| change.at > since && change.at < until);
            later.into_iter().any(|change| {
                change.gone.as_ref() == Some(name)
                    || change.made.as_ref().is_some_and(|(made, _)| made == name)
            })
        };
        promise.tree.iter().find_map(|(name, id)| {
            let shown = name.1.display();
            if disk.names.get(name) != Some(id) && !moved(name) {
                return Some(format!("the name `{shown}`"));
            }
            let is_new = self.nodes[*id].writes.iter().any(|(at, _)| *at > since && *at < until);
            let is_lost = disk.names.get(name) == Some(id) && disk.lost.contains(id);
            (is_lost && !is_new).then(|| format!("the bytes of `{shown}`"))
        })
    }
}

impl Node {
    /// Returns what a file holds after a power loss, and whether that is less than it held before.
    fn after(&self, moment: usize, bytes: Bytes) -> (Contents, bool) {
        let write = self.writes.iter().rev().find(|(at, _)| *at < moment);
        let sync = self.syncs.iter().rev().find(|(at, _)| *at < moment);
        let old = sync.map(|(_, contents)| contents.clone());
        let empty = |len: u64| {
            let bytes = vec![0; usize::try_from(len).unwrap_or(0)];
            Contents { bytes: bytes.into(), mode: old.as_ref().map_or(0o100_644, |old| old.mode) }
        };
        match (write, sync) {
            (None, _) => (old.clone().unwrap_or_else(|| empty(0)), false),
            (Some((written, _)), Some((synced, _))) if synced > written => {
                (old.clone().unwrap_or_else(|| empty(0)), false)
            }
            // An empty file has nothing to lose.
            (Some((_, 0)), None) => (empty(0), false),
            (Some((_, size)), _) if bytes == Bytes::Zeros => (empty(*size), true),
            (Some(_), _) => (old.clone().unwrap_or_else(|| empty(0)), true),
        }
    }
}

impl Disk {
    /// Returns a file's bytes, past symbolic links.
    pub fn read(&self, path: impl AsRef<Path>) -> Option<&[u8]> {
        match self.entries.get(&self.real(path.as_ref())?) {
            Some(Found::File(contents)) => Some(&contents.bytes),
            _ => None,
        }
    }

    /// Returns a path past the symbolic links in it that stay on this disk; none where it leads nowhere.
    pub fn real(&self, path: &Path) -> Option<PathBuf> {
        let (mut real, mut links) = (PathBuf::new(), 0);
        let mut left: Vec<OsString> = path.iter().rev().map(OsStr::to_owned).collect();
        while let Some(step) = left.pop() {
            match Path::new(&step).components().next()? {
                Component::ParentDir => drop(real.pop()),
                Component::Normal(name) => real.push(name),
                Component::CurDir => {}
                _ => return None,
            }
            if let Some(Found::Link(target)) = self.entries.get(&real) {
                links += 1;
                if target.is_absolute() || links > 40 {
                    return None;
                }
                left.extend(target.iter().rev().map(OsStr::to_owned));
                real.pop();
            }
        }
        (real.as_os_str().is_empty() || self.entries.contains_key(&real)).then_some(real)
    }

    /// Makes `root` this disk: what else is there is removed.
    ///
    /// # Panics
    /// When the real disk refuses.
    pub fn write_to(&self, root: &Path) {
        for entry in fs::read_dir(root).unwrap() {
            let path = entry.unwrap().path();
            fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path)).unwrap();
        }
        let mut made: HashMap<Id, PathBuf> = HashMap::new();
        for (path, found) in &self.entries {
            let (at, id) = (root.join(path), self.nodes[path]);
            match (found, made.get(&id)) {
                (Found::Dir, _) => fs::create_dir(&at).unwrap(),
                (Found::Link(target), _) => symlink(target, &at).unwrap(),
                (Found::File(_), Some(other)) => fs::hard_link(other, &at).unwrap(),
                (Found::File(contents), None) => {
                    fs::write(&at, &contents.bytes).unwrap();
                    fs::set_permissions(&at, Permissions::from_mode(contents.mode)).unwrap();
                    made.insert(id, at);
                }
            }
        }
    }
}

/// Reads a recording, knowing at each step what the running system sees.
struct Builder<'a> {
    promises: &'a dyn Fn(&Path, &Path) -> Option<PathBuf>,
    history: History,
    live: BTreeMap<Name, Id>,
    inodes: HashMap<Ino, Id>,
}

impl<'a> Builder<'a> {
    fn new(promises: &'a dyn Fn(&Path, &Path) -> Option<PathBuf>) -> Self {
        let root = Node { kind: Kind::Dir, writes: Vec::new(), syncs: Vec::new() };
        let history = History { nodes: vec![root], changes: vec![], promises: vec![], syncs: vec![] };
        Self { promises, history, live: BTreeMap::new(), inodes: HashMap::new() }
    }

    fn add(&mut self, at: usize, event: &Event) {
        match event {
            Event::Named { path, ino, kind } => self.named(at, path, *ino, kind),
            Event::Renamed { from, to } => self.renamed(at, from, to),
            Event::Removed { path } => {
                let Some(name) = self.name(path) else { return };
                self.live.remove(&name);
                self.change(Change { at, gone: Some(name), made: None, durable: None });
            }
            Event::Written { ino, size } => {
                if let Some(id) = self.inodes.get(ino) {
                    self.history.nodes[*id].writes.push((at, *size));
                }
            }
            Event::Synced { ino, contents } => {
                self.history.syncs.push(at);
                let Some(&id) = self.inodes.get(ino) else { return };
                match contents {
                    Some(contents) => self.history.nodes[id].syncs.push((at, contents.clone())),
                    None => self.settle(at, |change| change.is_in(id)),
                }
            }
            Event::SyncedAll(files) => {
                self.history.syncs.push(at);
                for (ino, contents) in files {
                    if let Some(id) = self.inodes.get(ino) {
                        self.history.nodes[*id].syncs.push((at, contents.clone()));
                    }
                }
                self.settle(at, |_| true);
            }
        }
    }

    fn named(&mut self, at: usize, path: &Path, ino: Ino, kind: &Kind) {
        if path.as_os_str().is_empty() {
            self.inodes.insert(ino, ROOT);
        }
        let Some(name) = self.name(path) else { return };
        let known = self.inodes.get(&ino).copied();
        if known.is_some() && self.live.get(&name).copied() == known {
            return;
        }
        let stands = known.filter(|id| {
            // Another name of a file that stands; else the number is used again.
            self.history.nodes[*id].kind == *kind && self.live.values().any(|live| live == id)
        });
        let id = stands.unwrap_or_else(|| {
            let node = Node { kind: kind.clone(), writes: Vec::new(), syncs: Vec::new() };
            self.history.nodes.push(node);
            self.history.nodes.len() - 1
        });
        self.inodes.insert(ino, id);
        self.live.insert(name.clone(), id);
        self.change(Change { at, gone: None, made: Some((name, id)), durable: None });
    }

    fn renamed(&mut self, at: usize, from: &Path, to: &Path) {
        let (Some(gone), Some(made)) = (self.name(from), self.name(to)) else { return };
        let Some(id) = self.live.get(&gone).copied() else { return };
        // Two names of one file: POSIX leaves both.
        if self.live.get(&made) == Some(&id) {
            return;
        }
        self.live.remove(&gone);
        self.live.insert(made.clone(), id);
        if let Some(root) = (self.promises)(from, to) {
            let (mut tree, is_itself) = (Vec::new(), root == to);
            if let Some(id) = self.name(&root).and_then(|name| self.live.get(&name)) {
                self.tree(*id, &mut tree);
            }
            tree.extend(is_itself.then(|| (made.clone(), id)));
            let change = self.history.changes.len();
            self.history.promises.push(Promise { change, path: to.to_owned(), is_itself, tree });
        }
        self.change(Change { at, gone: Some(gone), made: Some((made, id)), durable: None });
    }

    fn tree(&self, dir: Id, tree: &mut Vec<(Name, Id)>) {
        let below = self.live.range((dir, OsString::new())..).take_while(|((of, _), _)| *of == dir);
        for (name, &id) in below {
            tree.push((name.clone(), id));
            self.tree(id, tree);
        }
    }

    fn change(&mut self, change: Change) {
        self.history.changes.push(change);
    }

    fn settle(&mut self, at: usize, which: impl Fn(&Change) -> bool) {
        let open = self.history.changes.iter_mut().filter(|change| change.durable.is_none());
        open.filter(|change| which(change)).for_each(|change| change.durable = Some(at));
    }

    /// Returns the directory and the last step of a path; none where the directory is not known.
    fn name(&self, path: &Path) -> Option<Name> {
        let mut dir = ROOT;
        for step in path.parent()? {
            dir = *self.live.get(&(dir, step.to_owned()))?;
        }
        Some((dir, path.file_name()?.to_owned()))
    }
}

fn random(seed: u64, dir: Id) -> u64 {
    let mut hasher = DefaultHasher::new();
    (seed, dir).hash(&mut hasher);
    hasher.finish()
}
