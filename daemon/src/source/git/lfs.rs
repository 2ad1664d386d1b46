//! Git LFS: pointers in a checkout become the files that they stand for. All of it blocks.
//!
//! Objects lie in the git cache by their SHA-256, published whole, and are copied into checkouts: a custom
//! node that writes into its own file must not change another's. What cannot be had leaves its pointer in
//! place and is told, since most nodes work without. Where to ask is derived from the repository's own
//! link; an `.lfsconfig` is not followed, for it could send credentials anywhere.

use super::blocking::Control;
use super::cache::Cache;
use super::error::GitError;
use super::lfs_host::{Host, Wanted};
use super::url::RepoUrl;
use crate::store::commit::{StoreError, create_dir_all, publish, staging_path, step};
use crate::store::sweep::sweep;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// Bytes that the files of one checkout may have in all.
const BUDGET: u64 = 5 << 30;

/// A pointer file is smaller than this: git-lfs, docs/spec.md, "The Pointer".
pub(super) const POINTER_LIMIT: usize = 1024;
const POINTER_START: &str = "version https://git-lfs.github.com/spec/v1\n";

/// What a pointer says: the SHA-256 and the size of the file that it stands for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Object {
    pub(super) oid: String,
    pub(super) size: u64,
}

/// A pointer that does not say what it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// A pointer in a checkout.
#[derive(Debug, Clone)]
pub(super) struct Pointer {
    /// Its path in the whole checkout.
    pub(super) path: String,
    /// The repository it belongs to.
    pub(super) url: RepoUrl,
    /// What it stands for.
    pub(super) object: Result<Object, Malformed>,
}

/// A file that stays a pointer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfetched {
    /// Its path in the checkout.
    pub path: String,
    /// Why, in a few words without secrets.
    pub reason: String,
}

/// Reads a file's content as a pointer; none when it is none.
pub(super) fn parse(data: &[u8]) -> Option<Result<Object, Malformed>> {
    if data.len() >= POINTER_LIMIT {
        return None;
    }
    let text = std::str::from_utf8(data).ok()?.strip_prefix(POINTER_START)?;
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    let oid = field("oid sha256:").filter(|oid| oid.len() == 64 && oid.bytes().all(is_lower_hex));
    let size = field("size ").and_then(|size| size.parse().ok());
    Some(oid.zip(size).map(|(oid, size)| Object { oid: oid.to_owned(), size }).ok_or(Malformed))
}

fn is_lower_hex(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)
}

/// Returns whether a file is what a pointer stands for.
pub(super) fn is_whole(path: &Path, object: &Object) -> bool {
    let found = path.symlink_metadata();
    found.is_ok_and(|found| found.is_file() && found.len() == object.size)
        && File::open(path)
            .and_then(|file| copy_hashed(file, std::io::sink()))
            .is_ok_and(|oid| oid == object.oid)
}

/// Replaces pointers in `dest`, a directory that nobody reads yet, by their files. `network` says whether
/// what is not in the cache may be fetched.
///
/// # Errors
/// When the disk refuses, or the work was cancelled. What a host refuses is returned.
pub(super) fn fill(
    cache: &Cache,
    dest: &Path,
    pointers: &[Pointer],
    network: bool,
    control: &Control,
) -> Result<Vec<Unfetched>, GitError> {
    let store = Store { dir: cache.lfs_dir() };
    let mut reasons: HashMap<&str, String> = HashMap::new();
    let mut absent: BTreeMap<&str, Vec<&Pointer>> = BTreeMap::new();
    let mut left = BUDGET;
    for pointer in pointers {
        let Ok(object) = &pointer.object else {
            reasons.insert(&pointer.path, "the pointer is malformed".to_owned());
            continue;
        };
        if store.place(object, &dest.join(&pointer.path))? {
            continue;
        }
        match left.checked_sub(object.size) {
            Some(rest) if network => {
                left = rest;
                absent.entry(pointer.url.as_str()).or_default().push(pointer);
            }
            Some(_) => drop(reasons.insert(&pointer.path, "not cached, and offline".to_owned())),
            None => drop(reasons.insert(&pointer.path, too_much())),
        }
    }
    for pointers in absent.values() {
        let url = &pointers[0].url;
        let objects = pointers.iter().filter_map(|pointer| pointer.object.clone().ok()).collect();
        let failed = fetch(cache, &store, url, objects, control)?;
        for pointer in pointers {
            let Ok(object) = &pointer.object else { continue };
            if let Some(reason) = failed.get(object) {
                reasons.insert(&pointer.path, reason.clone());
            } else if !store.place(object, &dest.join(&pointer.path))? {
                reasons.insert(&pointer.path, "it vanished from the cache".to_owned());
            }
        }
    }
    let unfetched = pointers.iter().filter_map(|pointer| {
        let reason = reasons.get(pointer.path.as_str())?.clone();
        Some(Unfetched { path: pointer.path.clone(), reason })
    });
    Ok(unfetched.collect())
}

fn too_much() -> String {
    format!("it is more than {} GiB in all", BUDGET >> 30)
}

/// Fetches objects of one repository into the store. Returns why some of them were not.
fn fetch(
    cache: &Cache,
    store: &Store,
    url: &RepoUrl,
    mut objects: Vec<Object>,
    control: &Control,
) -> Result<HashMap<Object, String>, GitError> {
    objects.sort();
    objects.dedup();
    create_dir_all(&store.dir)?;
    sweep(&store.dir);
    let repo = cache.open_or_create(url)?;
    let all = |reason: String| objects.iter().map(|object| (object.clone(), reason.clone())).collect();
    let host = match Host::of(&repo, url, control) {
        Ok(host) => host,
        Err(reason) => return Ok(all(reason)),
    };
    let wanted = match host.batch(&objects) {
        Ok(wanted) => wanted,
        Err(reason) => return Ok(all(reason)),
    };
    let mut failed = HashMap::new();
    for Wanted { object, action } in wanted {
        if control.interrupted() {
            return Err(GitError::Cancelled(url.shown().to_owned()));
        }
        let got = action.and_then(|action| host.download(&object, &action, |body| store.keep(&object, body)));
        if let Err(reason) = got {
            failed.insert(object, reason);
        }
    }
    if control.interrupted() {
        return Err(GitError::Cancelled(url.shown().to_owned()));
    }
    // A host that leaves an object out of its answer has not sent it.
    for object in objects {
        if !failed.contains_key(&object) && !store.path(&object).is_file() {
            failed.insert(object, "the host did not answer for it".to_owned());
        }
    }
    Ok(failed)
}

/// The objects in the git cache.
struct Store {
    dir: PathBuf,
}

impl Store {
    fn path(&self, object: &Object) -> PathBuf {
        self.dir.join(&object.oid)
    }

    /// Copies an object over its pointer; returns whether it is here. One that is no longer what its name
    /// says is thrown away.
    fn place(&self, object: &Object, to: &Path) -> Result<bool, StoreError> {
        let from = self.path(object);
        let Ok(file) = File::open(&from) else { return Ok(false) };
        let permissions = to.metadata().map_err(StoreError::at("look at", to))?.permissions();
        let staging = staging_path(to);
        let write = || {
            let copy = File::create_new(&staging)?;
            let oid = copy_hashed(file, &copy)?;
            copy.set_permissions(permissions)?;
            Ok(oid)
        };
        let oid = write().map_err(StoreError::at("copy a Git LFS file to", to))?;
        if oid != object.oid {
            std::fs::remove_file(&staging).ok();
            std::fs::remove_file(&from).map_err(StoreError::at("remove", &from))?;
            return Ok(false);
        }
        step("lfs.place", "publish", to)?;
        publish(&staging, to)?;
        Ok(true)
    }

    /// Publishes what `body` yields as an object, if that is what it is.
    fn keep(&self, object: &Object, body: &mut dyn Read) -> Result<(), String> {
        let (to, said) = (self.path(object), |error: std::io::Error| error.to_string());
        let staging = staging_path(&to);
        let file = File::create_new(&staging).map_err(said)?;
        // One byte more than it should have is enough to refuse it.
        let kept = copy_hashed(body.take(object.size + 1), &file).and_then(|oid| {
            file.sync_all()?;
            Ok((oid, file.metadata()?.len()))
        });
        let kept = match kept {
            Ok((oid, size)) if oid == object.oid && size == object.size => {
                let published = step("lfs.keep", "publish", &to).and_then(|()| publish(&staging, &to));
                published.map_err(|error| error.source.to_string())
            }
            Ok(_) => Err("the host sent other bytes than the pointer names".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        if kept.is_err() {
            std::fs::remove_file(&staging).ok();
        }
        kept
    }
}

/// Copies and returns the SHA-256 of what was copied, in hex.
fn copy_hashed(mut from: impl Read, mut to: impl Write) -> std::io::Result<String> {
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 18]);
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hash.update(&buffer[..count]);
        to.write_all(&buffer[..count])?;
    }
    Ok(crate::store::hex(&hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_are_told_from_files() {
        let oid = "0123456789abcdef".repeat(4);
        let pointer = format!("{POINTER_START}oid sha256:{oid}\nsize 12\n");
        assert_eq!(parse(pointer.as_bytes()), Some(Ok(Object { oid: oid.clone(), size: 12 })));
        for (text, is_pointer) in [
            (String::new(), false),
            (format!("{POINTER_START}{}", "x".repeat(1024)), false),
            (POINTER_START.to_owned(), true),
            // As part of a path, such an oid would lead out of the cache.
            (format!("{POINTER_START}oid sha256:{}\nsize 12\n", "../".repeat(22)), true),
            (format!("{POINTER_START}oid sha256:{oid}\nsize -1\n"), true),
        ] {
            assert_eq!(parse(text.as_bytes()), is_pointer.then_some(Err(Malformed)), "{text}");
        }
    }
}
