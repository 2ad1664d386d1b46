//! What a file holds. Big ones repeat one block, so that gigabytes cost megabytes and are sent without a
//! copy; the block's length is prime, so that a part which lies at a wrong place shows.

use axum::body::Bytes;
use sha2::{Digest as _, Sha256};
use std::collections::hash_map::DefaultHasher;
use std::fs::File;
use std::hash::Hasher as _;
use std::io::{self, Read as _};
use std::ops::Range;
use std::path::Path;

/// Bytes that repeat: the largest prime below 8 MiB.
const BLOCK: usize = 8_388_593;

/// The safetensors header of a synthetic file, its eight bytes of length included.
const HEAD: usize = 136;

/// A file's content. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Content {
    head: Bytes,
    /// Repeats behind the head; empty when the head is all.
    block: Bytes,
    len: u64,
}

impl Content {
    /// Returns a valid safetensors file of this length in bytes, the same for the same seed.
    ///
    /// # Panics
    /// When the length is less than its header needs.
    pub fn synthetic(seed: u64, len: u64) -> Self {
        let tensor = len.checked_sub(HEAD as u64).expect("a synthetic file has at least its header");
        let json = format!(r#"{{"w":{{"dtype":"U8","shape":[{tensor}],"data_offsets":[0,{tensor}]}}}}"#);
        let json = format!("{json:<width$}", width = HEAD - 8);
        let head = [&(json.len() as u64).to_le_bytes(), json.as_bytes()].concat();
        let size = usize::try_from(tensor).map_or(BLOCK, |tensor| tensor.min(BLOCK));
        Self { head: head.into(), block: noise(seed, size), len }
    }

    /// Returns its length in bytes.
    #[allow(clippy::len_without_is_empty, reason = "nobody asks")]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Returns the bytes at the start of `part`, as many as lie together and `most` at most.
    pub(super) fn piece(&self, part: &Range<u64>, most: u64) -> Bytes {
        let length = part.end.min(self.len).saturating_sub(part.start).min(most);
        let head = self.head.len() as u64;
        let (bytes, start) = match part.start.checked_sub(head) {
            None => (&self.head, part.start),
            Some(_) if self.block.is_empty() => return Bytes::new(),
            Some(behind) => (&self.block, behind % self.block.len() as u64),
        };
        let start = usize::try_from(start).expect("an offset in memory");
        let end = usize::try_from(length).map_or(bytes.len(), |length| bytes.len().min(start + length));
        bytes.slice(start..end)
    }

    /// Returns all of it, copied.
    pub fn to_vec(&self) -> Vec<u8> {
        self.pieces().flatten().collect()
    }

    /// Returns its SHA-256 in lower-case hex.
    pub fn sha256(&self) -> String {
        let digest = self.pieces().fold(Sha256::new(), |sum, piece| sum.chain_update(&piece)).finalize();
        digest.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
    }

    /// Returns whether a file holds exactly this. Blocks.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn equals_file(&self, path: &Path) -> io::Result<bool> {
        let mut file = File::open(path)?;
        if file.metadata()?.len() != self.len {
            return Ok(false);
        }
        let mut buffer = vec![0; 1 << 20];
        for piece in self.pieces() {
            for part in piece.chunks(1 << 20) {
                file.read_exact(&mut buffer[..part.len()])?;
                if buffer[..part.len()] != *part {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Returns an ETag that follows the content.
    pub(super) fn etag(&self) -> String {
        let mut sum = DefaultHasher::new();
        sum.write(&self.head);
        sum.write(&self.block);
        format!("\"{:x}-{}\"", sum.finish(), self.len)
    }

    fn pieces(&self) -> impl Iterator<Item = Bytes> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let piece = self.piece(&(at..self.len), u64::MAX);
            at += piece.len() as u64;
            Some(piece).filter(|piece| !piece.is_empty())
        })
    }
}

impl From<Bytes> for Content {
    fn from(head: Bytes) -> Self {
        let len = head.len() as u64;
        Self { head, block: Bytes::new(), len }
    }
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl From<&'static str> for Content {
    fn from(text: &'static str) -> Self {
        Bytes::from(text).into()
    }
}

/// The generator `SplitMix64`: public domain, by Sebastiano Vigna.
fn noise(seed: u64, size: usize) -> Bytes {
    let mut state = seed;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes());
    }
    bytes.truncate(size);
    bytes.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_make_the_whole_and_parts_lie_where_they_belong() {
        let content = Content::synthetic(7, 20_000_000);
        let all = content.to_vec();
        assert_eq!(all.len() as u64, content.len());
        assert_eq!(u64::from_le_bytes(all[..8].try_into().unwrap()) + 8, HEAD as u64);
        for start in [0, 100, HEAD, HEAD + BLOCK - 1, HEAD + BLOCK, 19_999_999] {
            let piece = content.piece(&(start as u64..content.len()), 1000);
            assert!(!piece.is_empty() && all[start..].starts_with(&piece), "{start}");
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &all).unwrap();
        assert!(content.equals_file(file.path()).unwrap());
        assert!(!Content::synthetic(8, 20_000_000).equals_file(file.path()).unwrap());
    }
}
