//! The disk: where everything lies and whether it is there, locks between processes, publication.

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use std::path::Path;

pub mod commit;
pub mod file_lock;
pub mod flock;
pub mod inspect;
pub mod lease;
pub mod owner;
pub mod places;
pub mod specs;
pub mod sweep;
pub mod tree;
pub mod uses;

pub use commit::StoreError;

/// Reads a JSON file. A file that is absent, or that is not what it should be, reads as none: records
/// are rebuilt, never trusted half. Blocks.
///
/// # Errors
/// When the file is there and cannot be read.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StoreError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes)
            .inspect_err(|error| tracing::warn!(path = %path.display(), %error, "ignoring a damaged file"))
            .ok()),
        Err(error)
            if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) =>
        {
            Ok(None)
        }
        Err(error) if error.kind() == std::io::ErrorKind::IsADirectory => {
            tracing::warn!(path = %path.display(), "ignoring a directory in a file's place");
            Ok(None)
        }
        Err(error) => Err(StoreError::at("read", path)(error)),
    }
}

/// Writes a value as indented JSON, replacing the file as a whole. Blocks.
///
/// # Errors
/// When the file cannot be written.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<(), StoreError> {
    let mut text =
        serde_json::to_vec_pretty(value).map_err(|error| StoreError::at("encode", path)(error.into()))?;
    text.push(b'\n');
    commit::write_file(path, &text)
}

/// Returns a short digest (80 bits, hex) of a value: equal values have equal digests on every machine.
pub fn digest(value: &impl Serialize) -> String {
    // The values are our own structs and sequences of text: they always have a JSON form, and serde
    // writes fields in their declared order.
    let text = serde_json::to_vec(value).unwrap_or_default();
    hex(&Sha256::digest(text)[..10])
}

/// Returns bytes in lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}
