//! The image of a start: the small files that a start reads, and where the others lie, in one file.
//!
//! ```text
//! start.image = frame* index footer
//! frame       = zstd of several whole files
//! index       = zstd of JSON: `Index`
//! footer      = offset and length of the index (u64 each, little-endian), its SHA-256, MAGIC
//! ```
//!
//! A frame is read, proved and unpacked on its own, so that many are at the same time. Nothing of it is trusted: each
//! frame and the index have their SHA-256, paths are looked at, and the files below are compared with what they were
//! when they were packed (`fresh`).

use super::record::Part;
use crate::store::commit::{StoreError, publish, staging_path};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Component, Path, PathBuf};

const MAGIC: &[u8; 16] = b"comfyd-start-1\r\n";
const FOOTER: usize = 64;

/// Files whose frame has so many bytes begin a new one.
pub(super) const FRAME: usize = 1 << 20;

/// The largest file that is packed. Larger ones are libraries, of which a start touches a part.
pub(super) const LARGEST: u64 = 8 << 20;

/// The largest index that is read: one of the real ComfyUI has 0.3 MB here, 2 MB in memory.
const LARGEST_INDEX: usize = 64 << 20;

/// Fast enough to be of no matter, and a third better than the fastest.
const LEVEL: i32 = 3;

/// What an image holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Index {
    /// The generation that it is of.
    pub(super) generation: String,
    /// Digest of the record that it was made for.
    pub(super) record: String,
    /// Directories that are to be real, parents first.
    pub(super) dirs: Vec<Dir>,
    /// What else lies in them.
    pub(super) links: Vec<Link>,
    /// Files that are in the frames, in this order.
    pub(super) files: Vec<PackedFile>,
    pub(super) frames: Vec<Frame>,
    /// Files that are too large, in the order of use.
    pub(super) large: Vec<Large>,
}

/// A directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Dir {
    /// Relative to the generation, as all paths here.
    pub(super) path: String,
    /// When its names last changed, in seconds, where that matters.
    pub(super) modified: Option<i64>,
}

/// A name that leads to the volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Link {
    pub(super) path: String,
    /// What the symbolic link holds; the generation's own path of that name when absent.
    pub(super) target: Option<String>,
}

/// A file that is packed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PackedFile {
    pub(super) path: String,
    pub(super) size: u64,
    /// In seconds: finer times do not survive on all volumes, and Python's caches hold no finer ones.
    pub(super) modified: i64,
    pub(super) mode: u32,
    pub(super) frame: usize,
}

/// A frame's place in the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Frame {
    pub(super) offset: u64,
    pub(super) length: usize,
    /// Bytes of its files.
    pub(super) unpacked: usize,
    pub(super) sha256: String,
}

/// A large file and the parts of it that a start touches; all of it when there are none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Large {
    pub(super) path: String,
    pub(super) parts: Vec<Part>,
}

/// Why an image is of no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum ImageError {
    /// It cannot be read.
    #[error("failed to read the image `{0}`")]
    Io(PathBuf, #[source] io::Error),
    /// It is not what it should be.
    #[error("the image `{path}` is damaged: {what}")]
    Damaged {
        /// The image.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
}

/// An image that can be read.
#[derive(Debug)]
pub(super) struct Image {
    path: PathBuf,
    file: File,
    pub(super) index: Index,
    /// Names its content.
    pub(super) digest: String,
}

impl Image {
    /// Opens an image; none when there is none. Blocks.
    ///
    /// # Errors
    /// When it cannot be read, or is damaged.
    pub(super) fn open(path: &Path) -> Result<Option<Self>, ImageError> {
        let io = |error| ImageError::Io(path.to_owned(), error);
        let damaged = |what| ImageError::Damaged { path: path.to_owned(), what };
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(io)?,
        };
        let size = file.metadata().map_err(io)?.len();
        let at = size.checked_sub(FOOTER as u64).ok_or_else(|| damaged("it is too short"))?;
        let mut footer = [0; FOOTER];
        file.read_exact_at(&mut footer, at).map_err(io)?;
        let (place, rest) = footer.split_at(16);
        let (sha256, magic) = rest.split_at(32);
        if magic != MAGIC {
            return Err(damaged("it has no end"));
        }
        let number = |bytes: &[u8]| bytes.try_into().map_or(u64::MAX, u64::from_le_bytes);
        let (offset, length) = (number(&place[..8]), number(&place[8..]));
        if offset.checked_add(length) != Some(at) {
            return Err(damaged("its index is not where it should be"));
        }
        let length = usize::try_from(length).ok().filter(|length| *length <= LARGEST_INDEX);
        let mut packed = vec![0; length.ok_or_else(|| damaged("its index is too large"))?];
        file.read_exact_at(&mut packed, offset).map_err(io)?;
        if Sha256::digest(&packed)[..] != *sha256 {
            return Err(damaged("its index is not what was written"));
        }
        let text = zstd::bulk::decompress(&packed, LARGEST_INDEX).map_err(io)?;
        let index: Index = serde_json::from_slice(&text).map_err(|_| damaged("its index cannot be read"))?;
        index.check().map_err(damaged)?;
        Ok(Some(Self { path: path.to_owned(), file, index, digest: crate::store::hex(sha256) }))
    }

    /// Reads, proves and unpacks a frame. Blocks.
    ///
    /// # Errors
    /// When it cannot be read, or is damaged.
    pub(super) fn frame(&self, frame: &Frame) -> Result<Vec<u8>, ImageError> {
        let io = |error| ImageError::Io(self.path.clone(), error);
        let mut packed = vec![0; frame.length];
        self.file.read_exact_at(&mut packed, frame.offset).map_err(io)?;
        let what = "a frame is not what was written";
        let damaged = || ImageError::Damaged { path: self.path.clone(), what };
        if crate::store::hex(&Sha256::digest(&packed)) != frame.sha256 {
            return Err(damaged());
        }
        let files = zstd::bulk::decompress(&packed, frame.unpacked).map_err(io)?;
        if files.len() == frame.unpacked { Ok(files) } else { Err(damaged()) }
    }
}

impl Index {
    /// Returns the bytes of all packed files.
    pub(super) fn unpacked(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    /// Returns the files of each frame.
    pub(super) fn by_frame(&self) -> Vec<&[PackedFile]> {
        self.files.chunk_by(|one, next| one.frame == next.frame).collect()
    }

    /// Looks for what would lead out of a shadow or ask for memory that no image needs.
    fn check(&self) -> Result<(), &'static str> {
        let paths = self.dirs.iter().map(|dir| &dir.path);
        let paths = paths.chain(self.links.iter().map(|link| &link.path));
        let mut paths = paths.chain(self.files.iter().map(|file| &file.path));
        if !paths.all(|path| is_inside(path)) || self.large.iter().any(|large| large.path.is_empty()) {
            return Err("a path leads out of it");
        }
        let frames = self.by_frame();
        if frames.len() != self.frames.len() {
            return Err("its frames are not those of its files");
        }
        for (number, (frame, files)) in self.frames.iter().zip(frames).enumerate() {
            let bytes: u64 = files.iter().map(|file| file.size).sum();
            let is_bounded =
                bytes <= LARGEST + FRAME as u64 && frame.length as u64 <= 2 * (LARGEST + FRAME as u64);
            if !is_bounded || bytes != frame.unpacked as u64 || files[0].frame != number {
                return Err("a frame is not that of its files");
            }
        }
        Ok(())
    }
}

fn is_inside(path: &str) -> bool {
    Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
}

/// An image that is being written. Dropping it gives it up.
#[derive(Debug)]
pub(super) struct Writer {
    staging: PathBuf,
    path: PathBuf,
    file: File,
    at: u64,
    frames: Vec<Frame>,
}

impl Writer {
    /// Begins the image that is to lie at `path`. Blocks.
    ///
    /// # Errors
    /// When the volume refuses.
    pub(super) fn begin(path: &Path) -> Result<Self, StoreError> {
        let staging = staging_path(path);
        let file = File::create_new(&staging).map_err(StoreError::at("create", &staging))?;
        Ok(Self { staging, path: path.to_owned(), file, at: 0, frames: Vec::new() })
    }

    /// Adds a frame of these files' bytes. Blocks.
    ///
    /// # Errors
    /// When the volume refuses.
    pub(super) fn add(&mut self, files: &[u8]) -> Result<(), StoreError> {
        let packed = zstd::bulk::compress(files, LEVEL).map_err(StoreError::at("pack", &self.staging))?;
        let sha256 = crate::store::hex(&Sha256::digest(&packed));
        self.frames.push(Frame { offset: self.at, length: packed.len(), unpacked: files.len(), sha256 });
        self.write(&packed)
    }

    /// Writes the index and publishes the image, whoever published one meanwhile. Returns its bytes. Blocks.
    ///
    /// # Errors
    /// When the volume refuses.
    pub(super) fn finish(mut self, mut index: Index) -> Result<u64, StoreError> {
        index.frames = std::mem::take(&mut self.frames);
        let encoded = serde_json::to_vec(&index).map_err(io::Error::from);
        let packed = encoded.and_then(|text| zstd::bulk::compress(&text, LEVEL));
        let packed = packed.map_err(StoreError::at("pack", &self.staging))?;
        let offset = self.at;
        self.write(&packed)?;
        let mut footer = Vec::from(offset.to_le_bytes());
        footer.extend((packed.len() as u64).to_le_bytes());
        footer.extend(Sha256::digest(&packed));
        footer.extend(MAGIC);
        self.write(&footer)?;
        self.file.sync_all().map_err(StoreError::at("sync", &self.staging))?;
        publish(&self.staging, &self.path)?;
        Ok(self.at)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file.write_all(bytes).map_err(StoreError::at("write", &self.staging))?;
        self.at += bytes.len() as u64;
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Gone after a publication.
        std::fs::remove_file(&self.staging).ok();
    }
}
