//! Packing: what a recorded start read becomes an image beside its generation, while nobody waits for anything.

use super::image::{FRAME, Image, Index, PackedFile, Writer};
use super::layout::{LOOKS, Layout};
use super::record::StartRecord;
use super::{Packed, blocking, fresh, parallel};
use crate::ctx::Ctx;
use crate::store::commit::StoreError;
use crate::store::digest;
use crate::store::places::generation::START_IMAGE;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Packs what `record` names, laid out as `layout` says. Between two frames foreground work goes first. Cancel-safe.
///
/// # Errors
/// When the volume refuses.
pub(super) async fn pack(
    ctx: &Ctx,
    generation_dir: &Path,
    record: &StartRecord,
    mut layout: Layout,
) -> Result<Packed, StoreError> {
    let path = generation_dir.join(START_IMAGE);
    let mut writer = blocking(move || Writer::begin(&path)).await?;
    let mut next = 0;
    for frame in 0.. {
        ctx.turn().await;
        if ctx.cancel.is_cancelled() {
            return Ok(Packed::NotYet("it was cancelled"));
        }
        let end = next + take(&layout.files[next..]);
        if end == next {
            break;
        }
        layout.files[next..end].iter_mut().for_each(|file| file.frame = frame);
        let (files, dir) = (layout.files[next..end].to_vec(), generation_dir.to_owned());
        let added = blocking(move || {
            let bytes = read(&dir, &files)?;
            bytes.map(|bytes| writer.add(&bytes)).transpose().map(|added| added.map(|()| writer))
        });
        match added.await? {
            Some(same) => writer = same,
            None => return Ok(Packed::NotYet("it changed meanwhile")),
        }
        next = end;
    }
    let Layout { dirs, links, files, large } = layout;
    let generation = record.generation.clone();
    let index = Index { generation, record: of(record), dirs, links, files, frames: Vec::new(), large };
    let bytes = blocking(move || writer.finish(index)).await?;
    Ok(Packed::Written { bytes })
}

/// Tells whether the image of a generation is of this record and still what the volume holds. Blocks.
pub(super) fn is_current(generation_dir: &Path, record: &StartRecord) -> bool {
    let image = Image::open(&generation_dir.join(START_IMAGE))
        .inspect_err(|error| tracing::warn!(%error, "an image of a start is made anew"));
    image.ok().flatten().is_some_and(|image| {
        image.index.generation == record.generation
            && image.index.record == of(record)
            && fresh::check_all(&image.index, generation_dir).is_ok()
    })
}

/// Names what matters of a record to an image.
fn of(record: &StartRecord) -> String {
    let files: Vec<_> = record.files.iter().map(|file| (&file.path, file.mapped)).collect();
    digest(&(&record.generation, files, &record.touched))
}

/// Returns how many files the next frame has.
fn take(files: &[PackedFile]) -> usize {
    let mut bytes = 0;
    let fits = |file: &&PackedFile| {
        let begins = bytes < FRAME as u64;
        bytes += file.size;
        begins
    };
    files.iter().take_while(fits).count()
}

/// Reads files one behind the other; none if one of them is not what it was when it was looked at.
fn read(dir: &Path, files: &[PackedFile]) -> Result<Option<Vec<u8>>, StoreError> {
    let contents = Mutex::new(BTreeMap::new());
    let numbered: Vec<(usize, PathBuf)> = files.iter().map(|file| dir.join(&file.path)).enumerate().collect();
    parallel::for_each(LOOKS, &numbered, |(number, path)| {
        let content = std::fs::read(path).map_err(StoreError::at("read", path))?;
        contents.lock().unwrap_or_else(PoisonError::into_inner).insert(*number, content);
        Ok::<_, StoreError>(())
    })?;
    let contents = contents.into_inner().unwrap_or_else(PoisonError::into_inner);
    let is_same = contents.values().zip(files).all(|(content, file)| content.len() as u64 == file.size);
    Ok(is_same.then(|| contents.into_values().flatten().collect()))
}
