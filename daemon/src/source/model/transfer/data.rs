//! The file that the bytes go into. All of it blocks but [`Batch`].

use crate::failpoint;
use crate::source::model::error::{ModelError, is_full};
use crate::store::commit::{StoreError, step};
use bytes::Bytes;
use std::fs::File;
use std::io::IoSlice;
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Pieces that are written by one call at most; the kernel takes 1024 (`IOV_MAX`).
const PIECES: usize = 512;

/// An open file of parts.
#[derive(Debug)]
pub(super) struct DataFile {
    file: File,
    path: PathBuf,
}

impl DataFile {
    /// Opens the file, made if it is not there, with this size where that is known. A file that cannot
    /// fit shows here, before gigabytes have travelled.
    pub(super) fn open(path: PathBuf, size: Option<u64>) -> Result<Self, ModelError> {
        step("transfer.open", "open", &path)?;
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(StoreError::at("open", &path))?;
        let file = Self { file, path };
        let metadata = file.file.metadata().map_err(StoreError::at("read", &file.path))?;
        let needed = size.unwrap_or(0).saturating_sub(metadata.blocks() * 512);
        if needed > file.available() {
            return Err(file.no_space(needed));
        }
        if let Some(size) = size.filter(|size| *size != metadata.len()) {
            file.file.set_len(size).map_err(StoreError::at("write", &file.path))?;
        }
        Ok(file)
    }

    /// Reserves space for a part of the file. Blocks writers meanwhile, on some filesystems.
    pub(super) fn reserve(&self, part: Range<u64>) -> Result<(), ModelError> {
        // Offsets of files have 63 bits, and this file has its size already.
        let offset = |at: u64| i64::try_from(at).unwrap_or(i64::MAX);
        let (from, len) = (offset(part.start), offset(part.end - part.start));
        match nix::fcntl::fallocate(&self.file, nix::fcntl::FallocateFlags::empty(), from, len) {
            Err(errno) if is_full(&errno.into()) => Err(self.no_space(part.end - part.start)),
            // Not every filesystem can; writing says the rest.
            _ => Ok(()),
        }
    }

    /// Writes a batch to its place.
    pub(super) fn write(&self, batch: &Batch) -> Result<(), ModelError> {
        match failpoint::hit("transfer.write").and_then(|()| self.write_all(batch)) {
            Err(error) if is_full(&error) => Err(self.no_space(batch.len())),
            written => Ok(written.map_err(StoreError::at("write", &self.path))?),
        }
    }

    fn write_all(&self, batch: &Batch) -> std::io::Result<()> {
        let mut slices: Vec<_> = batch.pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        let (mut left, mut at) = (slices.as_mut_slice(), batch.start);
        while !left.is_empty() {
            // A file's offset has 63 bits; a size beyond that was refused when space was reserved.
            let offset = i64::try_from(at).map_err(|_| std::io::ErrorKind::FileTooLarge)?;
            match nix::sys::uio::pwritev(&self.file, left, offset) {
                Ok(0) => return Err(std::io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    at += written as u64;
                    IoSlice::advance_slices(&mut left, written);
                }
                Err(nix::errno::Errno::EINTR) => (),
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Makes what was written outlive the machine.
    pub(super) fn sync(&self) -> Result<(), ModelError> {
        step("transfer.sync", "sync", &self.path)?;
        Ok(self.file.sync_data().map_err(StoreError::at("sync", &self.path))?)
    }

    fn available(&self) -> u64 {
        fs4::available_space(self.path.parent().unwrap_or(Path::new("."))).unwrap_or(u64::MAX)
    }

    fn no_space(&self, needed: u64) -> ModelError {
        ModelError::NoSpace { path: self.path.clone(), needed, available: self.available() }
    }
}

/// Bytes that follow one another, as they came: they are written without being copied first.
#[derive(Debug)]
pub(super) struct Batch {
    start: u64,
    len: u64,
    pieces: Vec<Bytes>,
    /// When the first piece came.
    since: Instant,
}

impl Batch {
    /// Begins an empty batch at an offset.
    pub(super) fn at(start: u64) -> Self {
        Self { start, len: 0, pieces: Vec::new(), since: Instant::now() }
    }

    pub(super) fn push(&mut self, piece: Bytes) {
        if self.pieces.is_empty() {
            self.since = Instant::now();
        }
        self.len += piece.len() as u64;
        self.pieces.push(piece);
    }

    /// Returns whether it should be written: big enough, or its first bytes have waited for too long.
    pub(super) fn is_due(&self, unit: u64, patience: std::time::Duration) -> bool {
        self.len >= unit || self.pieces.len() >= PIECES || (self.len > 0 && self.since.elapsed() >= patience)
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Returns the bytes, in their order.
    pub(super) fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.pieces.iter().map(AsRef::as_ref)
    }

    /// Returns the bytes' place in the file.
    pub(super) fn range(&self) -> Range<u64> {
        self.start..self.start + self.len
    }
}
