//! Files are read into the page cache before they are asked for: many pieces at once, in the order of use.
//!
//! A process that maps a library asks a volume for one piece after the other, and waits for each.

use super::record::Part;
use crate::ctx::Ctx;
use crate::process::Memory;
use futures_util::{StreamExt as _, stream};
use std::cell::RefCell;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use tokio::task::spawn_blocking;

/// Bytes of one piece.
const PIECE: usize = 1 << 20;

/// Pieces that are read at once: with 128 KiB a request, enough for 600 MB/s at five milliseconds.
const AT_ONCE: usize = 24;

/// A file to be read, and which parts of it; all of it when there are none.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) path: PathBuf,
    pub(super) parts: Vec<Part>,
}

impl Wanted {
    pub(super) fn whole(path: PathBuf) -> Self {
        Self { path, parts: Vec::new() }
    }
}

/// Reads files until `most` bytes are read, or `ctx` is cancelled. Returns the bytes. What cannot be read is passed
/// over. Stands aside for foreground work between two pieces. Cancel-safe.
pub(super) async fn read(ctx: &Ctx, wanted: Vec<Wanted>, most: u64) -> u64 {
    let mut done = 0;
    let pieces = stream::iter(wanted)
        .then(|wanted| async { spawn_blocking(|| pieces(wanted)).await.unwrap_or_default() })
        .flat_map(stream::iter);
    let reads = pieces.map(|piece| async {
        ctx.turn().await;
        if ctx.cancel.is_cancelled() { 0 } else { spawn_blocking(move || piece.read()).await.unwrap_or(0) }
    });
    let mut reads = std::pin::pin!(reads.buffered(AT_ONCE));
    while let Some(bytes) = reads.next().await {
        done += bytes;
        if done >= most || ctx.cancel.is_cancelled() {
            break;
        }
    }
    done
}

/// Returns half of the memory that may be had without taking it from programs, in bytes: more would drive out what
/// was read first. Blocks shortly.
pub(super) fn half_of_memory() -> u64 {
    Memory::look().map_or(0, |memory| memory.available / 2)
}

/// A piece of a file that is opened by whoever reads of it first.
#[derive(Debug)]
struct Piece {
    path: Arc<Path>,
    file: Arc<OnceLock<Option<File>>>,
    part: Part,
}

fn pieces(wanted: Wanted) -> Vec<Piece> {
    let parts = if wanted.parts.is_empty() {
        let length =
            std::fs::metadata(&wanted.path).map_or(0, |found| if found.is_file() { found.len() } else { 0 });
        vec![Part { offset: 0, length }]
    } else {
        wanted.parts
    };
    let (path, file) = (Arc::from(wanted.path), Arc::new(OnceLock::new()));
    let cut = |part: Part| {
        let end = part.offset.saturating_add(part.length);
        let starts = (part.offset..end).step_by(PIECE);
        starts.map(move |offset| Part { offset, length: (PIECE as u64).min(end - offset) })
    };
    let piece = |part| Piece { path: Arc::clone(&path), file: Arc::clone(&file), part };
    parts.into_iter().flat_map(cut).map(piece).collect()
}

impl Piece {
    fn read(self) -> u64 {
        thread_local! {
            static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; PIECE]);
        }
        let Some(file) = self.file.get_or_init(|| File::open(&self.path).ok()) else { return 0 };
        BUFFER.with_borrow_mut(|buffer| {
            let length = usize::try_from(self.part.length).unwrap_or(usize::MAX).min(buffer.len());
            let mut done = 0;
            while done < length {
                match file.read_at(&mut buffer[done..length], self.part.offset + done as u64) {
                    Ok(0) | Err(_) => break,
                    Ok(more) => done += more,
                }
            }
            done as u64
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whole_files_and_parts_are_read_and_what_is_not_there_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, vec![1; 2 * PIECE + 5]).unwrap();
        let piece = PIECE as u64;
        let part = Part { offset: 2 * piece, length: piece };
        let wanted = || {
            vec![
                Wanted::whole(dir.path().join("none")),
                Wanted::whole(dir.path().to_owned()),
                Wanted::whole(path.clone()),
                Wanted { path: path.clone(), parts: vec![part] },
            ]
        };
        assert_eq!(read(&Ctx::new(), wanted(), u64::MAX).await, 2 * piece + 10);
        let some = read(&Ctx::new(), wanted(), 1).await;
        assert_eq!(some, piece, "no more is asked for than may be");
        let ctx = Ctx::new();
        ctx.cancel.cancel();
        assert_eq!(read(&ctx, wanted(), u64::MAX).await, 0);
        assert!(half_of_memory() > 0);
    }
}
