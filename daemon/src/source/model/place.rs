//! Where a model belongs, and where it lies until it is proved.

use super::error::ModelError;
use super::hosts::not_a_model;
use super::verify;
use crate::store::commit::{self, StoreError};
use crate::store::places::HIDDEN;
use proto::RelPath;
use proto::source::ModelSource;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Where a model belongs.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The models directory.
    pub models_dir: &'a Path,
    /// The model's path in it.
    pub target: &'a RelPath,
}

impl Place<'_> {
    /// Returns the file's path.
    pub fn path(&self) -> PathBuf {
        self.models_dir.join(self.target.as_str())
    }

    /// Returns the directory for unfinished files: out of ComfyUI's sight, on the disk where the file
    /// will stay.
    pub(super) async fn hidden(&self) -> Result<PathBuf, ModelError> {
        let (models_dir, dest) = (self.models_dir.to_owned(), self.path());
        blocking(move || {
            commit::create_dir_all(&models_dir)?;
            let parent = dest.parent().unwrap_or(&models_dir);
            commit::create_dir_all(parent)?;
            // A model folder may be a link to another disk, where a file cannot be renamed to. There
            // the hidden directory stands in the model folder itself.
            let same_disk = device(&models_dir)? == device(parent)?;
            let hidden = if same_disk { models_dir.join(HIDDEN) } else { parent.join(HIDDEN) };
            commit::create_dir_all(&hidden)?;
            Ok(hidden)
        })
        .await
    }

    /// Proves an unfinished file and makes it durable. Returns its size.
    pub(super) async fn prove(&self, source: &ModelSource, unfinished: PathBuf) -> Result<u64, ModelError> {
        let (source, name) = (source.clone(), self.target.file_name().to_owned());
        blocking(move || {
            let checked = verify::check(&unfinished, &name).map_err(StoreError::at("read", &unfinished))?;
            let size = checked.map_err(|reason| not_a_model(&source, reason))?;
            commit::sync_file(&unfinished)?;
            Ok(size)
        })
        .await
    }
}

fn device(path: &Path) -> Result<u64, StoreError> {
    Ok(std::fs::metadata(path).map_err(StoreError::at("read", path))?.dev())
}

/// Runs blocking work on the thread pool for it.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ModelError> + Send + 'static,
) -> Result<T, ModelError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(ModelError::Panicked))
}
