//! Where a model lies until it is proved: out of ComfyUI's sight, on the disk it will stay on.

use super::error::ModelError;
use super::hosts::not_a_model;
use super::verify;
use crate::store::commit::{StoreError, create_dir_all, publish};
use proto::source::ModelSource;
use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Directory of unfinished models. ComfyUI lists the folders of `<models>` that it knows by name.
const HIDDEN: &str = ".comfyd";

/// An unfinished model that nobody has written to for so long belongs to nobody.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

/// An unfinished model. It is removed when this is dropped before it was published.
#[derive(Debug)]
pub(super) struct Staging {
    path: PathBuf,
    dest: PathBuf,
}

impl Staging {
    /// Chooses a fresh name on the disk where `dest` will be.
    pub(super) async fn create(models_dir: &Path, dest: &Path) -> Result<Self, ModelError> {
        let (models_dir, dest) = (models_dir.to_owned(), dest.to_owned());
        blocking(move || {
            create_dir_all(&models_dir)?;
            let parent = dest.parent().unwrap_or(&models_dir);
            create_dir_all(parent)?;
            // A model folder may be a link to another disk, where a file cannot be renamed to. There
            // the hidden directory stands in the model folder itself.
            let same_disk = device(&models_dir)? == device(parent)?;
            let hidden = if same_disk { models_dir.join(HIDDEN) } else { parent.join(HIDDEN) };
            create_dir_all(&hidden)?;
            remove_abandoned(&hidden);
            let path = hidden.join(format!("{}.part", uuid::Uuid::new_v4().simple()));
            Ok(Self { path, dest })
        })
        .await
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes a file of this machine: a hard link where the disk is the same, else a copy.
    pub(super) async fn take_file(&self, from: &str) -> Result<(), ModelError> {
        let (from, to) = (PathBuf::from(from), self.path.clone());
        blocking(move || {
            // A symbolic link is followed: what is linked must be the file, not the link.
            let from = resolve_file(&from)?;
            if std::fs::hard_link(&from, &to).is_err() {
                std::fs::copy(&from, &to).map_err(StoreError::at("copy to", &to))?;
            }
            Ok(())
        })
        .await
    }

    /// Proves the file and makes it durable. Returns its size.
    pub(super) async fn prove(&self, source: &ModelSource, name: &str) -> Result<u64, ModelError> {
        let (path, source, name) = (self.path.clone(), source.clone(), name.to_owned());
        blocking(move || {
            let checked = verify::check(&path, &name).map_err(StoreError::at("read", &path))?;
            let size = checked.map_err(|reason| not_a_model(&source, reason))?;
            let sync = File::open(&path).and_then(|file| file.sync_all());
            sync.map_err(StoreError::at("sync", &path))?;
            Ok(size)
        })
        .await
    }

    /// Gives the file its name. Blocks.
    pub(super) fn publish(&self) -> Result<(), ModelError> {
        Ok(publish(&self.path, &self.dest)?)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // After publication there is nothing under this name.
        std::fs::remove_file(&self.path).ok();
    }
}

/// Returns the size of a file of this machine.
pub(super) async fn file_size(path: &str) -> Result<u64, ModelError> {
    let path = PathBuf::from(path);
    blocking(move || {
        let path = resolve_file(&path)?;
        Ok(std::fs::metadata(&path).map_err(StoreError::at("read", &path))?.len())
    })
    .await
}

fn resolve_file(path: &Path) -> Result<PathBuf, ModelError> {
    match path.canonicalize() {
        Ok(real) if real.is_file() => Ok(real),
        Ok(_) => Err(ModelError::NoFile(path.to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(ModelError::NoFile(path.to_owned()))
        }
        Err(error) => Err(StoreError::at("read", path)(error).into()),
    }
}

/// Runs blocking work on the thread pool for it.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ModelError> + Send + 'static,
) -> Result<T, ModelError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(ModelError::Panicked))
}

fn device(path: &Path) -> Result<u64, StoreError> {
    Ok(std::fs::metadata(path).map_err(StoreError::at("read", path))?.dev())
}

/// Removes what killed daemons left. Best effort: it costs space only.
fn remove_abandoned(hidden: &Path) {
    for entry in std::fs::read_dir(hidden).into_iter().flatten().flatten() {
        let age = entry.metadata().and_then(|metadata| metadata.modified());
        let age = age.ok().and_then(|modified| modified.elapsed().ok());
        if age.is_some_and(|age| age > ABANDONED) {
            std::fs::remove_file(entry.path()).ok();
        }
    }
}
