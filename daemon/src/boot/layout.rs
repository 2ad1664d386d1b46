//! How a shadow lies: which directories are real in it, which files are copied, and what stays a link.
//!
//! A directory is real where a start read code in it; its other names are links to the volume, and a directory
//! without is one link. Only code makes a directory real: ComfyUI's server refuses to send a file whose real path is
//! not below the directory that it serves, so directories of web pages stay whole. What a start looks at without
//! reading (the sources of modules that it lists, the names of packages) is copied too, where it is small.

use super::image::{Dir, LARGEST, Large, Link, PackedFile};
use super::parallel;
use super::record::StartRecord;
use crate::store::commit::{STAGING, StoreError};
use crate::store::places::generation::{COMFY, VENV};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{DirEntry, Metadata};
use std::num::NonZero;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Requests to a volume at once: at five milliseconds each, ten thousand files are looked at in two seconds.
pub(super) const LOOKS: NonZero<usize> = NonZero::new(32).expect("it is not 0");

/// What a version writes into, or others do for it: never copied.
const KEPT: &[&str] = &["custom_nodes", "models", "input", "output", "user", "temp"];

/// Python's own places for compiled modules. They grow whenever a module is imported for the first time, which takes
/// nothing away from what was packed.
pub(super) const COMPILED: &str = "__pycache__";

/// What becomes of a generation's tree.
#[derive(Debug, Default)]
pub(super) struct Layout {
    pub(super) dirs: Vec<Dir>,
    pub(super) links: Vec<Link>,
    /// In the order of use; no frame is chosen yet.
    pub(super) files: Vec<PackedFile>,
    pub(super) large: Vec<Large>,
}

impl Layout {
    /// Decides by what a start read. Blocks: it lists each directory that becomes real.
    ///
    /// # Errors
    /// When the generation cannot be read, or has names that are no text.
    pub(super) fn of(record: &StartRecord, generation_dir: &Path) -> Result<Self, StoreError> {
        let used = used(record, generation_dir);
        let mut walk = Walk::new(generation_dir, &used);
        for root in [COMFY, VENV] {
            walk.dir(root)?;
        }
        let Walk { mut dirs, links, wanted, .. } = walk;
        let sizes = looks(generation_dir, &wanted)?;
        let order: BTreeMap<&str, usize> =
            used.iter().enumerate().map(|(at, used)| (used.path.as_str(), at)).collect();
        let mut layout = Self { links, ..Self::default() };
        for (path, found) in sizes {
            if found.len() > LARGEST {
                layout.links.push(Link { path, target: None });
            } else {
                let mode = found.permissions().mode() & 0o777;
                layout.files.push(PackedFile {
                    path,
                    size: found.len(),
                    modified: found.mtime(),
                    mode,
                    frame: 0,
                });
            }
        }
        layout.files.sort_by_key(|file| order.get(file.path.as_str()).copied().unwrap_or(usize::MAX));
        let packed: BTreeSet<&str> = layout.files.iter().map(|file| file.path.as_str()).collect();
        let large = used.iter().filter(|used| used.mapped && !packed.contains(used.path.as_str()));
        layout.large = large
            .map(|used| Large { path: used.path.clone(), parts: record.parts(&used.recorded, used.mapped) })
            .collect();
        stamp(generation_dir, &mut dirs)?;
        layout.dirs = dirs;
        Ok(layout)
    }
}

/// A file of the generation that a start used.
struct Used {
    path: String,
    /// As the record has it.
    recorded: String,
    mapped: bool,
}

/// Returns what the start used of the generation itself, in the order of use.
fn used(record: &StartRecord, generation_dir: &Path) -> Vec<Used> {
    let inside = record.files.iter().filter_map(|file| {
        let path = Path::new(&file.path);
        let path = path.strip_prefix(generation_dir).ok().or_else(|| path.is_relative().then_some(path))?;
        let is_plain = path.components().all(|part| matches!(part, Component::Normal(_)));
        let path = path.to_str().filter(|path| is_plain && !is_kept(path))?;
        Some(Used { path: path.to_owned(), recorded: file.path.clone(), mapped: file.mapped })
    });
    let mut seen = BTreeSet::new();
    inside.filter(|used| seen.insert(used.path.clone())).collect()
}

fn is_kept(path: &str) -> bool {
    let inside = path.strip_prefix(COMFY).and_then(|path| path.strip_prefix('/'));
    inside.is_some_and(|path| KEPT.contains(&path.split('/').next().unwrap_or(path)))
}

/// Tells whether a file is what an interpreter loads.
fn is_code(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    [".py", ".pyc", ".so", ".pth"].iter().any(|end| name.ends_with(end)) || name.contains(".so.")
}

/// A walk through the directories that become real.
struct Walk<'a> {
    generation_dir: &'a Path,
    used: BTreeSet<&'a str>,
    real: BTreeSet<&'a str>,
    dirs: Vec<Dir>,
    links: Vec<Link>,
    /// Files that are to be packed if they are small.
    wanted: Vec<String>,
}

impl<'a> Walk<'a> {
    fn new(generation_dir: &'a Path, used: &'a [Used]) -> Self {
        let mut real = BTreeSet::new();
        for used in used.iter().filter(|used| is_code(&used.path)) {
            let mut path = used.path.as_str();
            while let Some((parent, _)) = path.rsplit_once('/') {
                real.insert(parent);
                path = parent;
            }
        }
        let used = used.iter().map(|used| used.path.as_str()).collect();
        Self { generation_dir, used, real, dirs: Vec::new(), links: Vec::new(), wanted: Vec::new() }
    }

    fn dir(&mut self, path: &str) -> Result<(), StoreError> {
        let dir = self.generation_dir.join(path);
        let entries = std::fs::read_dir(&dir).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        self.dirs.push(Dir { path: path.to_owned(), modified: None });
        for entry in entries.map_err(StoreError::at("read the directory", &dir))? {
            let name = entry.file_name().into_string();
            let name = name
                .map_err(|_| StoreError::at("copy", entry.path())(std::io::ErrorKind::InvalidData.into()))?;
            if !name.starts_with(STAGING) {
                self.entry(format!("{path}/{name}"), &name, &entry)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: String, name: &str, entry: &DirEntry) -> Result<(), StoreError> {
        let kind = entry.file_type().map_err(StoreError::at("look at", entry.path()))?;
        if kind.is_dir() && !is_kept(&path) && self.is_real(&path, name) {
            return self.dir(&path);
        }
        if kind.is_file() && self.is_wanted(&path, name) {
            self.wanted.push(path);
            return Ok(());
        }
        let target = if kind.is_symlink() { target(&path, &entry.path())? } else { None };
        self.links.push(Link { path, target });
        Ok(())
    }

    fn is_real(&self, path: &str, name: &str) -> bool {
        // The programs of the environment, since Python finds its environment by where its own link lies; what is
        // compiled beside what was read; what names packages, which is listed all the time.
        self.real.contains(path)
            || name == COMPILED
            || name.ends_with(".dist-info")
            || path.strip_prefix(VENV).is_some_and(|path| path == "/bin")
    }

    fn is_wanted(&self, path: &str, name: &str) -> bool {
        if let Some((dir, compiled)) = path.rsplit_once(&format!("/{COMPILED}/")) {
            // `module.cpython-312.pyc`, PEP 3147: of a source that was read, whichever of the two was.
            let source = format!("{dir}/{}.py", compiled.split('.').next().unwrap_or(compiled));
            return Path::new(name).extension().is_some_and(|end| end == "pyc")
                && (self.used.contains(&*source) || self.used.contains(path));
        }
        self.used.contains(path)
            || [".py", ".pth"].iter().any(|end| name.ends_with(end))
            || ["pyvenv.cfg", "METADATA", "entry_points.txt", "top_level.txt"].contains(&name)
    }
}

/// Returns what a link may hold in a shadow: none where it leads out of the generation by a relative path.
fn target(path: &str, place: &Path) -> Result<Option<String>, StoreError> {
    let target = std::fs::read_link(place).map_err(StoreError::at("read the link", place))?;
    let mut depth = path.split('/').count() - 1;
    for part in target.components() {
        match part {
            Component::ParentDir if depth == 0 => return Ok(None),
            Component::ParentDir => depth -= 1,
            Component::Normal(_) => depth += 1,
            _ => (),
        }
    }
    let text = target.into_os_string().into_string();
    Ok(text.ok().filter(|text| !text.is_empty()))
}

/// Looks at files, many at once, and keeps their order.
fn looks(generation_dir: &Path, paths: &[String]) -> Result<Vec<(String, Metadata)>, StoreError> {
    let found = Mutex::new(BTreeMap::new());
    parallel::for_each(LOOKS, paths, |path| {
        let place: PathBuf = generation_dir.join(path);
        let metadata = place.symlink_metadata().map_err(StoreError::at("look at", &place))?;
        found.lock().unwrap_or_else(PoisonError::into_inner).insert(path.clone(), metadata);
        Ok::<_, StoreError>(())
    })?;
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(paths.iter().filter_map(|path| found.remove_entry(path)).collect())
}

/// Notes when directories changed last, those apart that grow by themselves.
fn stamp(generation_dir: &Path, dirs: &mut [Dir]) -> Result<(), StoreError> {
    let names: Vec<String> = dirs.iter().map(|dir| dir.path.clone()).collect();
    for (dir, (path, found)) in dirs.iter_mut().zip(looks(generation_dir, &names)?) {
        let grows = path.ends_with(COMPILED);
        dir.modified = (!grows).then(|| found.mtime());
    }
    Ok(())
}
