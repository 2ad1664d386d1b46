//! Models that are files of this machine.

use super::error::ModelError;
use super::place::{Place, blocking};
use crate::store::commit::{StoreError, publish, staging_path};
use crate::store::sweep::sweep;
use std::path::{Path, PathBuf};

/// Returns the size of a file of this machine.
pub(super) async fn file_size(path: &str) -> Result<u64, ModelError> {
    let path = PathBuf::from(path);
    blocking(move || {
        let path = resolve_file(&path)?;
        Ok(std::fs::metadata(&path).map_err(StoreError::at("read", &path))?.len())
    })
    .await
}

/// Takes a file of this machine for a place: a hard link where the disk is the same, else a copy.
pub(super) async fn take(path: &str, place: Place<'_>) -> Result<Unfinished, ModelError> {
    let hidden = place.hidden().await?;
    let unfinished = Unfinished(staging_path(&hidden.join(place.target.file_name())));
    let from = PathBuf::from(path);
    blocking(move || {
        sweep(&hidden);
        // A symbolic link is followed: what is linked must be the file, not the link.
        let from = resolve_file(&from)?;
        let to = unfinished.path();
        if std::fs::hard_link(&from, to).is_err() {
            std::fs::copy(&from, to).map_err(StoreError::at("copy to", to))?;
        }
        Ok(unfinished)
    })
    .await
}

/// A file that is removed unless it was published.
#[derive(Debug)]
pub(super) struct Unfinished(PathBuf);

impl Unfinished {
    /// Returns its path.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Gives it its name. Blocks.
    pub(super) fn publish(&self, dest: &Path) -> Result<(), ModelError> {
        Ok(publish(&self.0, dest)?)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // After publication there is nothing under this name.
        std::fs::remove_file(&self.0).ok();
    }
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
