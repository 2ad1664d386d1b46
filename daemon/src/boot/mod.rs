//! What a start of ComfyUI opens and imports, kept with its generation so that the next start is quick.
//!
//! The first start of a generation is recorded (`record`). All of it is a cache: whatever is absent, torn or
//! of another start means a plain start, never an error.

mod record;
mod recorder;

pub use record::{Distrust, OpenedFile, StartRecord};
pub use recorder::Recording;

use crate::config::Config;
use crate::ctx::Ctx;
use crate::store::commit::StoreError;
use std::path::{Path, PathBuf};

/// Knows from where starts are quick. Cheap to clone. The default one knows of no local disk: all starts are
/// from where generations lie.
#[derive(Debug, Clone, Default)]
pub struct Boot {}

/// What packing the files of a start came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packed {
    /// They are packed now.
    Written {
        /// Bytes of the image.
        bytes: u64,
    },
    /// They were already.
    Current,
    /// Nothing would be gained, for this reason.
    NotNeeded(&'static str),
    /// Not yet possible, for this reason.
    NotYet(&'static str),
}

impl Boot {
    /// Returns what starts from the configured places.
    pub fn new(_config: &Config) -> Self {
        Self {}
    }

    /// Returns the tree that a generation is to be started from: its real path, or a local shadow of it where
    /// the volume is slow. Makes the shadow if there is none yet. Never fails: without a shadow it is the
    /// real path. Cancel-safe.
    #[allow(clippy::unused_async, reason = "a shadow takes seconds to make")]
    pub async fn tree(&self, generation_dir: &Path) -> PathBuf {
        generation_dir.to_owned()
    }

    /// Packs what a recorded start of the generation read, for machines to which its volume is far away; nothing
    /// where the volume is quick or the pack is current. Stands aside for foreground work between two pieces.
    /// Cancel-safe.
    ///
    /// # Errors
    /// When the volume refuses.
    #[allow(clippy::unused_async, reason = "packing takes seconds")]
    pub async fn pack(&self, _ctx: &Ctx, _generation_dir: &Path) -> Result<Packed, StoreError> {
        Ok(Packed::NotYet("no start of it was recorded yet"))
    }

    /// Reads files into the page cache, in this order and many pieces at once, within half of the memory that is
    /// available. Returns the bytes read. What cannot be read is passed over. Stands aside for foreground work.
    /// Cancel-safe.
    #[allow(clippy::unused_async, reason = "reading takes seconds")]
    pub async fn read_ahead(&self, _ctx: &Ctx, _files: Vec<PathBuf>) -> u64 {
        0
    }

    /// Reads what a recorded start of the generation reads, as [`Self::read_ahead`] does.
    #[allow(clippy::unused_async, reason = "reading takes seconds")]
    pub async fn read_start_ahead(&self, _ctx: &Ctx, _generation_dir: &Path) -> u64 {
        0
    }

    /// Ends what goes on in the background, and returns when it has ended.
    #[allow(clippy::unused_async, reason = "reading takes seconds")]
    pub async fn shutdown(&self) {}
}
