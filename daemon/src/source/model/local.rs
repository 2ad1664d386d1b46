//! Models that are files of this machine.

use super::error::ModelError;
use super::place::{Place, blocking};
use crate::store::commit::{StoreError, staging_path, sweep_abandoned};
use proto::source::ModelSource;
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

/// Gives a file of this machine its place as a model: a hard link where the disk is the same, else a
/// copy. Returns its size.
pub(super) async fn take(source: &ModelSource, path: &str, place: Place<'_>) -> Result<u64, ModelError> {
    let hidden = place.hidden().await?;
    let unfinished = Unfinished(staging_path(&hidden.join(place.target.file_name())));
    let (from, to) = (PathBuf::from(path), unfinished.0.clone());
    blocking(move || {
        sweep_abandoned(&hidden);
        // A symbolic link is followed: what is linked must be the file, not the link.
        let from = resolve_file(&from)?;
        if std::fs::hard_link(&from, &to).is_err() {
            std::fs::copy(&from, &to).map_err(StoreError::at("copy to", &to))?;
        }
        Ok(())
    })
    .await?;
    place.publish(source, unfinished.0.clone()).await
}

/// A file that is removed unless it was published.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
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
