//! The record of a start: which modules it imported, which files it opened, what it did to its environment.

use crate::store::commit::StoreError;
use crate::store::places::generation;
use crate::store::{read_json, write_json};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// The form that this daemon writes and reads.
const SCHEMA_VERSION: u32 = 1;

/// What a start of a generation did until ComfyUI listened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StartRecord {
    schema_version: u32,
    /// The generation: a record of another one counts as none.
    pub generation: String,
    /// Digest of the environment and the arguments that were asked for: other ones may import otherwise.
    pub settings: String,
    /// Modules of the environment and of Python itself, in the order in which they were imported; none of
    /// ComfyUI's and of custom nodes.
    pub modules: Vec<String>,
    /// What the process had changed in its environment when it imported torch: a value, or that it was removed.
    pub environ: BTreeMap<String, Option<String>>,
    /// Files that it opened or mapped, in the order of use.
    pub files: Vec<OpenedFile>,
    /// Which parts of large files it touched, by their path in `files`. Nothing is known of a library that is
    /// absent here; all else that is absent is used whole.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub touched: BTreeMap<String, Vec<Part>>,
    /// Milliseconds from its start until it listened.
    pub took_ms: u64,
    /// Why it is not to be forked from a zygote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distrust: Option<Distrust>,
}

/// A file that a start opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenedFile {
    /// Its path: relative to the generation's directory, or absolute where it lies elsewhere (Python's own
    /// library, checkouts of custom nodes).
    pub path: String,
    /// Whether it was mapped, as libraries are.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mapped: bool,
}

/// A part of a file, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Where it begins.
    pub offset: u64,
    /// How long it is; the last one may go beyond the file's end.
    pub length: u64,
}

/// Why a version is started plainly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Distrust {
    /// What happened, for people.
    pub reason: String,
}

impl StartRecord {
    /// Returns a record of nothing yet.
    pub fn new(generation: String, settings: String) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            generation,
            settings,
            modules: Vec::new(),
            environ: BTreeMap::new(),
            files: Vec::new(),
            touched: BTreeMap::new(),
            took_ms: 0,
            distrust: None,
        }
    }

    /// Reads the record of a generation's start; none when there is none for it, or it is damaged. Blocks.
    pub fn read(generation_dir: &Path) -> Option<Self> {
        let path = generation_dir.join(generation::START);
        let record = read_json::<Self>(&path)
            .inspect_err(|error| tracing::warn!(%error, "the record of a start is ignored"));
        let name = generation_dir.file_name()?.to_str()?;
        record.ok()?.filter(|record| record.schema_version == SCHEMA_VERSION && record.generation == name)
    }

    /// Keeps it with its generation. Blocks.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, generation_dir: &Path) -> Result<(), StoreError> {
        write_json(&generation_dir.join(generation::START), self)
    }
}
