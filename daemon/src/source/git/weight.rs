//! How much a tree of git would be on disk, without writing or even listing it.
//!
//! A few small objects can name each other so that they stand for billions of files, or of one file's bytes. So
//! each object is weighed once, and what is heavier than any checkout should be is refused before it is listed.

use gix::objs::tree::EntryKind;
use gix::{ObjectId, Repository};
use std::collections::HashMap;

/// Files and directories that a checkout may have, submodules included: ComfyUI has 2 thousand.
const MAX_ENTRIES: u64 = 500_000;

/// Bytes of files that a checkout may have, submodules included. Git LFS files have a limit of their own.
const MAX_BYTES: u64 = 64 << 30;

/// Directories within each other: a path may have 4096 bytes (`PATH_MAX`), most of them real names.
const MAX_DEPTH: usize = 256;

/// What a tree comes to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Weight {
    pub(super) entries: u64,
    pub(super) bytes: u64,
}

/// Why a tree has no weight.
#[derive(Debug)]
pub(super) enum Unweighed {
    /// One of its objects is not there, or cannot be read.
    Absent,
    /// Its directories nest too deeply.
    Deep,
}

impl Weight {
    /// Adds another one; what is too large to count stays the largest number.
    pub(super) fn add(&mut self, other: Self) {
        self.entries = self.entries.saturating_add(other.entries);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }

    /// Says why a checkout of this weight is refused; none when it is not.
    pub(super) fn refusal(self) -> Option<String> {
        let Self { entries, bytes } = self;
        if entries > MAX_ENTRIES {
            return Some(format!("it has {entries} files and directories, more than {MAX_ENTRIES}"));
        }
        let gib = |bytes: u64| bytes >> 30;
        (bytes > MAX_BYTES).then(|| format!("it has {} GiB, more than {}", gib(bytes), gib(MAX_BYTES)))
    }
}

impl Unweighed {
    /// Says what is wrong with the tree.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Absent => "some of its objects are missing".to_owned(),
            Self::Deep => format!("its directories nest more than {MAX_DEPTH} deep"),
        }
    }
}

/// Weighs a tree. Blocks; reads directories and the sizes of files, each once.
pub(super) fn of(repo: &Repository, tree: ObjectId) -> Result<Weight, Unweighed> {
    weigh(repo, tree, 0, &mut HashMap::new())
}

fn weigh(
    repo: &Repository,
    tree: ObjectId,
    depth: usize,
    known: &mut HashMap<ObjectId, Weight>,
) -> Result<Weight, Unweighed> {
    if let Some(weight) = known.get(&tree) {
        return Ok(*weight);
    }
    if depth > MAX_DEPTH {
        return Err(Unweighed::Deep);
    }
    let object = repo.find_tree(tree).map_err(|_| Unweighed::Absent)?;
    let mut weight = Weight::default();
    for entry in object.iter() {
        let entry = entry.map_err(|_| Unweighed::Absent)?;
        let id = entry.object_id();
        weight.add(Weight { entries: 1, bytes: 0 });
        weight.add(match entry.mode().kind() {
            EntryKind::Tree => weigh(repo, id, depth + 1, known)?,
            // A submodule: a repository of its own.
            EntryKind::Commit => Weight::default(),
            _ => {
                let header = repo.find_header(id).map_err(|_| Unweighed::Absent)?;
                Weight { entries: 0, bytes: header.size() }
            }
        });
    }
    known.insert(tree, weight);
    Ok(weight)
}
