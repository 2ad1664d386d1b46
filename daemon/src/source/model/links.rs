//! Which file of a models directory came from which link.
//!
//! The link is the key of a model, and a file does not tell its link: the index `<models>/.comfyd/links.json`
//! does. It is a cache. Lost, damaged or of another format, it is rebuilt from the locks on this disk: a
//! file that stands where a lock wants one is that lock's file; one that no lock speaks of belongs to the
//! version that wants it. An entry counts only while its file stands with the size it had, and it is
//! written before its file appears, so a crash leaves at worst an entry without a file.

use crate::config::Config;
use crate::ctx::Ctx;
use crate::source::model::Place;
use crate::store::file_lock::{FileLock, LockError};
use crate::store::inspect::file_size;
use crate::store::places::{self, Home, generation};
use crate::store::{StoreError, commit, read_json, write_json};
use proto::lock::{LOCK_SCHEMA_VERSION, LockedModel};
use proto::{Lock, RelPath};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Version of the index's format. An index of another one is rebuilt.
const SCHEMA: u32 = 1;

/// How long a change of the index waits for another one, which takes milliseconds. The lock only saves
/// work: an entry that gets lost is found again.
const LOCK_DEADLINE: Duration = Duration::from_secs(10);

/// The files of a models directory, by their path in it.
pub type Files = BTreeMap<RelPath, Entry>;

/// Where a file came from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The canonical link, without secrets.
    pub source: String,
    /// The file's size in bytes.
    pub size: u64,
    /// SHA-256 in lower-case hex, where the host told it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The commit that the link stood for, where the host has commits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The host's validator: its ETag, else `Last-Modified`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
}

/// What is known of the files that stand in a models directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// The files.
    pub files: Files,
    /// Those of them that the index does not hold yet: see [`adopt`].
    pub unwritten: Files,
    /// What is wrong with the index, for people.
    pub warning: Option<String>,
}

/// The index as it stands on disk.
#[derive(Serialize, Deserialize)]
struct Index {
    schema_version: u32,
    files: Files,
}

/// The part of the index that says how to read it.
#[derive(Deserialize)]
struct Version {
    schema_version: u32,
}

/// Tells which files stand in the home's models directory. Where the index has all models of `lock` at
/// their places, that is one small file and a stat for each; else every entry is looked after, and all
/// locks on this disk are read. Blocks.
pub fn known(config: &Config, home: &Home, lock: &Lock) -> Known {
    let (index, warning) = read(&home.models);
    let stands = |target: &RelPath, entry: &Entry| file_size(&home.model(target)) == Some(entry.size);
    let is_settled = |model: &LockedModel| {
        index
            .get(&model.target)
            .is_some_and(|entry| entry.source == model.source.as_str() && stands(&model.target, entry))
    };
    if warning.is_none() && lock.models.iter().all(is_settled) {
        return Known { files: index, ..Known::default() };
    }
    let files: Files = index.into_iter().filter(|(target, entry)| stands(target, entry)).collect();
    let mut unwritten = Files::new();
    let own = lock.models.iter().map(|model| (model.target.clone(), model.source.to_string()));
    // What the locks of realized and pinned versions say comes before what this one wishes.
    for (target, source) in claims(config, home).into_iter().chain(own) {
        if files.contains_key(&target) || unwritten.contains_key(&target) {
            continue;
        }
        if let Some(size) = file_size(&home.model(&target)) {
            unwritten.insert(target, Entry { source, size, ..Entry::default() });
        }
    }
    let files = files.into_iter().chain(unwritten.clone()).collect();
    Known { files, unwritten, warning }
}

/// Returns the index of a models directory as it was written; entries of files that are gone, too. Blocks.
pub fn index(models_dir: &Path) -> Files {
    read(models_dir).0
}

/// Finds a file that came from `source` and stands, sought by index and locks. Blocks.
pub fn find(config: &Config, home: &Home, source: &str) -> Option<(RelPath, Entry)> {
    let (index, _) = read(&home.models);
    let stands = |target: &RelPath, entry: &Entry| file_size(&home.model(target)) == Some(entry.size);
    let in_index = index.iter().find(|(target, entry)| entry.source == source && stands(target, entry));
    if let Some((target, entry)) = in_index {
        return Some((target.clone(), entry.clone()));
    }
    let is_free = |target: &RelPath| index.get(target).is_none_or(|entry| !stands(target, entry));
    claims(config, home).into_iter().filter(|(target, of)| of == source && is_free(target)).find_map(
        |(target, source)| {
            let size = file_size(&home.model(&target))?;
            Some((target, Entry { source, size, ..Entry::default() }))
        },
    )
}

/// Publishes a file at its place, together with its entry. What another link left there is removed first:
/// at no moment does an entry stand beside a file of another link. An index that cannot be written is a
/// line in the log, not an error. Waits shortly for others who change the index.
///
/// # Errors
/// When `publish` fails, or what stands at the place cannot be removed.
pub async fn publish<E: From<StoreError> + Send + 'static>(
    ctx: &Ctx,
    place: Place<'_>,
    entry: Entry,
    publish: impl FnOnce() -> Result<(), E> + Send + 'static,
) -> Result<(), E> {
    let (path, target) = (place.path(), place.target.clone());
    let source = entry.source.clone();
    let removed = blocking(place.models_dir, move |models_dir| {
        let (index, _) = read(models_dir);
        if index.get(&target).is_some_and(|present| present.source == source) {
            return Ok(());
        }
        commit::step("links.remove", "remove", &path)?;
        commit::remove_file(&path)
    });
    removed.await??;
    let target = place.target.clone();
    change(ctx, place.models_dir, move |_, files| drop(files.insert(target, entry))).await;
    blocking(place.models_dir, |_| publish()).await?
}

/// Writes what [`known`] found beyond the index, or writes a damaged index anew. An entry that stands by
/// now stays. As [`publish`], it waits shortly and fails silently.
pub async fn adopt(ctx: &Ctx, models_dir: &Path, known: &Known) {
    if known.unwritten.is_empty() && known.warning.is_none() {
        return;
    }
    let found = known.unwritten.clone();
    let merge = |models_dir: &Path, files: &mut Files| {
        for (target, entry) in found {
            let size = file_size(&models_dir.join(target.as_str()));
            let stands = files.get(&target).is_some_and(|present| Some(present.size) == size);
            if !stands && size == Some(entry.size) {
                files.insert(target, entry);
            }
        }
    };
    change(ctx, models_dir, merge).await;
}

/// Reads, changes and rewrites the index, one process at a time where `flock` works.
async fn change(ctx: &Ctx, models_dir: &Path, change: impl FnOnce(&Path, &mut Files) + Send + 'static) {
    let lock = places::links_lock(models_dir);
    let _lock = match FileLock::take(ctx, lock, "the index of models", LOCK_DEADLINE).await {
        Ok(lock) => Some(lock),
        // Whoever is cancelled has a file to publish or none: its entry is found again.
        Err(LockError::Timeout { .. } | LockError::Cancelled(_)) => None,
        Err(LockError::Store(error)) => return tracing::warn!(%error, "the index of models cannot be locked"),
    };
    let written = blocking(models_dir, move |models_dir| {
        let (mut files, _) = read(models_dir);
        change(models_dir, &mut files);
        let path = places::links_file(models_dir);
        commit::step("links.entry", "write", &path)?;
        write_json(&path, &Index { schema_version: SCHEMA, files })
    });
    if let Ok(Err(error)) | Err(error) = written.await {
        tracing::warn!(%error, "the index of models cannot be written");
    }
}

/// Reads the index; what cannot be trusted reads as empty, with a sentence for people.
fn read(models_dir: &Path) -> (Files, Option<String>) {
    let path = places::links_file(models_dir);
    let damaged = |why: String| {
        (Files::new(), Some(format!("the index of models `{}` is rebuilt: {why}", path.display())))
    };
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return (Files::new(), None),
        Err(error) => return damaged(error.to_string()),
    };
    match serde_json::from_slice::<Version>(&bytes) {
        Ok(Version { schema_version: SCHEMA }) => {}
        Ok(Version { schema_version }) => return damaged(format!("it has format {schema_version}")),
        Err(error) => return damaged(error.to_string()),
    }
    match serde_json::from_slice::<Index>(&bytes) {
        Ok(index) => (index.files, None),
        Err(error) => damaged(error.to_string()),
    }
}

/// A lock, as far as it speaks of models.
#[derive(Deserialize)]
struct Claims {
    schema_version: u32,
    models: Vec<LockedModel>,
}

/// Returns which link each target came from, by the locks on this disk. What a home was made of counts
/// for more than what was only pinned. Where two locks disagree, neither counts.
fn claims(config: &Config, home: &Home) -> BTreeMap<RelPath, String> {
    let mut agreed = agreed(realized(config, home));
    for (target, source) in self::agreed(pinned(config)) {
        agreed.entry(target).or_insert(source);
    }
    agreed.into_iter().filter_map(|(target, source)| Some((target, source?))).collect()
}

fn agreed(locks: impl Iterator<Item = PathBuf>) -> BTreeMap<RelPath, Option<String>> {
    // A lock that cannot be read says nothing.
    let locks = locks.filter_map(|path| read_json::<Claims>(&path).ok().flatten());
    let mut agreed = BTreeMap::new();
    for model in locks.filter(|lock| lock.schema_version == LOCK_SCHEMA_VERSION).flat_map(|lock| lock.models)
    {
        let source = Some(model.source.to_string());
        let known = agreed.entry(model.target).or_insert_with(|| source.clone());
        if *known != source {
            *known = None;
        }
    }
    agreed
}

/// Lists the locks of the homes that use the same models directory.
fn realized(config: &Config, home: &Home) -> impl Iterator<Item = PathBuf> {
    let models = home.models.canonicalize().ok();
    let beside = std::fs::read_dir(&config.homes).into_iter().flatten().flatten();
    let beside = beside.filter(|entry| places::is_home_name(&entry.file_name().to_string_lossy()));
    let mut roots: Vec<PathBuf> = beside.map(|entry| entry.path()).collect();
    if !roots.contains(&home.root) {
        roots.push(home.root.clone());
    }
    let currents = roots.into_iter().map(|root| Home { root, models: PathBuf::new() }.current());
    let shares = move |current: &PathBuf| {
        let its = current.join(generation::COMFY).join("models").canonicalize().ok();
        its.is_some() && its == models
    };
    currents.filter(shares).map(|current| current.join(generation::LOCK))
}

fn pinned(config: &Config) -> impl Iterator<Item = PathBuf> {
    let locks = std::fs::read_dir(places::lock_files(config)).into_iter().flatten().flatten();
    locks
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
}

/// Runs disk work where it may block.
async fn blocking<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce(&Path) -> T + Send + 'static,
) -> Result<T, StoreError> {
    let path = path.to_owned();
    let joined = tokio::task::spawn_blocking({
        let path = path.clone();
        move || work(&path)
    });
    joined.await.map_err(|error| StoreError::at("work on", path)(std::io::Error::other(error)))
}

#[cfg(test)]
mod tests;
