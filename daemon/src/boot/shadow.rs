//! Shadows: copies on the local disk of what starts read, with links to the volume for the rest.
//!
//! ```text
//! <cache root>/shadows/<digest>/     of the generation's place, the image and the boot
//!   ComfyUI/ .venv/                  as in the generation
//!   shadow.json                      whose it is; its time is that of the last use
//! ```
//!
//! A shadow is never synced, so it counts only until the machine boots anew. It appears whole, by a rename; the
//! daemons of a host share it. What a process runs from is seen (`running`). Who is about to start one says so first
//! and looks for the shadow after that; who removes one takes its name away first and looks for uses after that, as
//! with generations (`store::uses`).

use super::fresh;
use super::image::{Image, ImageError, PackedFile};
use super::{parallel, running};
use crate::store::commit::{StagingDir, StoreError, claim_dir, create_dir_all};
use crate::store::inspect::space;
use crate::store::places::Home;
use crate::store::uses::{Use, uses};
use crate::store::{digest, owner, read_json, tree};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::Write as _;
use std::num::NonZero;
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Frames that are read at once. They wait for the volume more than for a core.
const FRAMES: NonZero<usize> = NonZero::new(16).expect("it is not 0");

/// A disk is filled so far, in percent: RunPod fails a worker whose disk is over 90 % full.
const FULLEST: u64 = 80;

/// What a file takes beyond its bytes, on the average: half a block of it, and its name.
const PER_FILE: u64 = 2560;

const NOTE: &str = "shadow.json";

/// Whose a shadow is.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    generation_dir: PathBuf,
    image: String,
    boot: String,
    bytes: u64,
}

/// The shadows of a local disk.
#[derive(Debug)]
pub(super) struct Shadows {
    /// Where they lie: the place of `uses`, too.
    home: Home,
    /// Bytes that all of them may take.
    budget: u64,
}

/// Why there is no shadow.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoShadow {
    /// The disk refuses.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The image cannot be read.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The volume holds something else by now.
    #[error("`{0}` is not what was packed")]
    Stale(PathBuf),
    /// There is no room.
    #[error("{0}")]
    Full(String),
}

impl Shadows {
    pub(super) fn new(dir: PathBuf, budget: u64) -> Self {
        Self { home: Home { root: dir, models: PathBuf::new() }, budget }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.home.root
    }

    /// Returns the shadow of a generation by its image, made now if there is none, and what keeps it from being
    /// removed. Blocks, for seconds.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn of(
        &self,
        image: &Image,
        generation_dir: &Path,
    ) -> Result<(PathBuf, Option<Use>), NoShadow> {
        create_dir_all(self.dir())?;
        let name = digest(&(generation_dir, &image.digest, owner::boot()));
        let place = self.dir().join(&name);
        let own_use = Use::take(&self.home, &name, std::process::id());
        if fresh::check_files(&image.index.files, &place).is_err() {
            self.remove(&name)?;
            self.tidy_but(Some((generation_dir, &image.digest)));
            let bytes = image.index.unpacked() + PER_FILE * image.index.files.len() as u64;
            self.make_room(bytes)?;
            let note = Note {
                generation_dir: generation_dir.to_owned(),
                image: image.digest.clone(),
                boot: owner::boot().to_owned(),
                bytes,
            };
            make(image, &note, &place)?;
        }
        // The time of its last use.
        File::options()
            .write(true)
            .open(place.join(NOTE))
            .and_then(|note| note.set_modified(SystemTime::now()))
            .ok();
        Ok((place, own_use))
    }

    /// Removes the shadows that nobody uses and nobody will: of generations that are gone, and of earlier boots.
    /// Best effort. Blocks.
    pub(super) fn tidy(&self) {
        self.tidy_but(None);
    }

    /// The same, and those of other images of this generation.
    fn tidy_but(&self, current: Option<(&Path, &str)>) {
        for (name, note) in self.list() {
            let is_needed = note.is_some_and(|note| {
                let is_current =
                    current.is_none_or(|(dir, image)| note.generation_dir != dir || note.image == image);
                note.boot == owner::boot() && note.generation_dir.is_dir() && is_current
            });
            if !is_needed && let Err(error) = self.remove_unused(&name) {
                tracing::warn!(%error, source = %error.source, "a shadow of no use stays");
            }
        }
    }

    fn list(&self) -> Vec<(String, Option<Note>)> {
        let names = tree::published(self.dir()).unwrap_or_default();
        let names = names.into_iter().filter(|name| self.dir().join(name) != self.home.uses());
        names.map(|name| (self.note(&name), name)).map(|(note, name)| (name, note)).collect()
    }

    fn note(&self, name: &str) -> Option<Note> {
        read_json(&self.dir().join(name).join(NOTE)).ok().flatten()
    }

    /// Removes the shadows that were not used for longest, until there is room for so many bytes.
    fn make_room(&self, bytes: u64) -> Result<(), NoShadow> {
        let mut shadows: Vec<_> = self
            .list()
            .into_iter()
            .filter_map(|(name, note)| {
                let used =
                    fs::metadata(self.dir().join(&name).join(NOTE)).and_then(|note| note.modified()).ok()?;
                Some((used, name, note?.bytes))
            })
            .collect();
        shadows.sort_unstable();
        let mut taken: u64 = shadows.iter().map(|(_, _, bytes)| bytes).sum();
        let mut oldest = shadows.into_iter();
        while taken + bytes > self.budget || fills(self.dir(), bytes)? {
            let Some((_, name, freed)) = oldest.next() else {
                let text =
                    format!("{bytes} bytes for a shadow are more than `{}` may take", self.dir().display());
                return Err(NoShadow::Full(text));
            };
            if self.remove_unused(&name)? {
                taken -= freed;
            }
        }
        Ok(())
    }

    /// Removes a shadow unless it is used; returns whether it is gone.
    fn remove_unused(&self, name: &str) -> Result<bool, StoreError> {
        let place = self.dir().join(name);
        if self.is_used(name)? {
            return Ok(false);
        }
        let staging = StagingDir::beside(&place);
        claim_dir(&place, staging.path())?;
        // Who runs from it does so under its new name now.
        if self.is_used(name)? || running::is_run(staging.path()) {
            // Who came in between has looked before its name was gone; this is the moment that he has to wait for.
            claim_dir(staging.path(), &place)?;
            return Ok(false);
        }
        Ok(true)
    }

    fn is_used(&self, name: &str) -> Result<bool, StoreError> {
        let is_named = uses(&self.home)?.iter().any(|(used, _)| used == name);
        Ok(is_named || running::is_run(&self.dir().join(name)))
    }

    /// Takes away what is not whole. Who runs from it keeps what it has open.
    fn remove(&self, name: &str) -> Result<(), StoreError> {
        let place = self.dir().join(name);
        if place.symlink_metadata().is_err() {
            return Ok(());
        }
        tracing::warn!(shadow = %place.display(), "making a shadow anew: files in it were changed");
        crate::store::commit::remove_dir(&place)
    }
}

/// Tells whether so many bytes more would fill a disk too far, counting as `df` does.
fn fills(dir: &Path, bytes: u64) -> Result<bool, StoreError> {
    let found = space(dir)?;
    Ok((found.used_bytes + bytes) * 100 > (found.used_bytes + found.available_bytes) * FULLEST)
}

/// Unpacks an image beside `place` and gives it its name, unless another daemon was first.
fn make(image: &Image, note: &Note, place: &Path) -> Result<(), NoShadow> {
    let staging = StagingDir::beside(place);
    let root = staging.path();
    fs::create_dir(root).map_err(StoreError::at("create", root))?;
    for dir in &image.index.dirs {
        let dir = root.join(&dir.path);
        fs::create_dir(&dir).map_err(StoreError::at("create", dir))?;
    }
    for link in &image.index.links {
        let target = link.target.as_ref().map_or_else(|| note.generation_dir.join(&link.path), PathBuf::from);
        let place = root.join(&link.path);
        symlink(target, &place).map_err(StoreError::at("link", place))?;
    }
    let frames: Vec<_> = image.index.frames.iter().zip(image.index.by_frame()).collect();
    parallel::for_each(FRAMES, &frames, |(frame, files)| {
        let bytes = image.frame(frame)?;
        let mut rest = &bytes[..];
        for file in *files {
            // They are as long together as the frame: that was looked at when the image was opened.
            let (content, next) =
                rest.split_at(usize::try_from(file.size).unwrap_or(usize::MAX).min(rest.len()));
            write(&root.join(&file.path), file, content)?;
            rest = next;
        }
        Ok::<_, NoShadow>(())
    })?;
    let text = serde_json::to_vec(note).map_err(|error| StoreError::at("encode", root)(error.into()))?;
    let path = root.join(NOTE);
    fs::write(&path, text).map_err(StoreError::at("write", path))?;
    // Not synced: see above.
    claim_dir(root, place)?;
    Ok(())
}

fn write(path: &Path, packed: &PackedFile, content: &[u8]) -> Result<(), StoreError> {
    let create = || {
        let mut file = File::options().write(true).create_new(true).mode(packed.mode).open(path)?;
        file.write_all(content)?;
        // Python trusts what it compiled if the source's time is the one that it noted.
        let modified = u64::try_from(packed.modified).unwrap_or(0);
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(modified))
    };
    create().map_err(StoreError::at("write", path))
}
