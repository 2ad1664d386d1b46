//! The record of a generation: written last, so that its presence means the rest is complete.

use crate::store::places::{Home, generation};
use crate::store::{self, StoreError};
use proto::VersionId;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What is known about a published generation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The version it belongs to.
    pub version_id: VersionId,
    /// Its name.
    pub generation: String,
    /// Digest of its Python environment: another generation with the same one can take its files.
    pub venv: String,
    /// Packages in the environment, and their files, as proved before publication.
    pub packages: usize,
    /// Files of those packages.
    pub files: usize,
    /// When it was published.
    pub realized_at: jiff::Timestamp,
}

impl Record {
    /// Reads the record of a generation's directory; none where there is no complete generation. Blocks.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn read(generation_dir: &Path) -> Result<Option<Self>, StoreError> {
        store::read_json(&generation_dir.join(generation::RECORD))
    }

    /// Reads the record of a generation whose parts stand beside it; none where something of it is missing or
    /// the record is another one's. Blocks, shortly.
    ///
    /// # Errors
    /// When the record is there and cannot be read.
    pub fn complete(generation_dir: &Path) -> Result<Option<Self>, StoreError> {
        let stands = generation_dir.join(generation::COMFY).join("main.py").is_file()
            && generation_dir.join(generation::VENV).is_dir();
        if !stands {
            return Ok(None);
        }
        let is_its =
            |record: &Self| generation_dir.file_name().is_some_and(|name| *name == *record.generation);
        Ok(Self::read(generation_dir)?.filter(is_its))
    }

    /// Reads the record of the generation that is current. Blocks.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn current(home: &Home) -> Result<Option<Self>, StoreError> {
        Self::read(&home.current())
    }
}
