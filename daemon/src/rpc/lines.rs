//! Lines of a client, read within bounds: in length, in time, and in memory that all clients share.
//!
//! A connection that is silent has a buffer of [`IDLE`] bytes; one that has begun a line grows it as the line
//! comes. Beyond [`LITTLE`] bytes a line needs one of the places for long lines, and gives it back at its end;
//! whoever does not end his line in time loses the connection, so no place is kept for ever.

use super::bounds::{Bounds, LITTLE};
use bytes::{BufMut as _, BytesMut};
use proto::MAX_FRAME_BYTES;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

/// Bytes that wait for the next line of a silent client.
const IDLE: usize = 512;

/// What a client writes, line by line.
pub(super) struct Lines<R> {
    from: R,
    bounds: Arc<Bounds>,
    unread: BytesMut,
    /// Bytes of `unread` that hold no end of a line.
    searched: usize,
    place: Option<OwnedSemaphorePermit>,
    /// When the line that is being read must have ended.
    deadline: Option<Instant>,
}

/// Why no further line can be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum LineError {
    #[error("a line is longer than {MAX_FRAME_BYTES} bytes")]
    TooLong,
    #[error("a line was not ended within {} s", .0.as_secs())]
    Late(Duration),
    #[error("too many clients write long lines at the same time")]
    Crowded,
    #[error("the connection broke")]
    Io(#[from] std::io::Error),
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn new(from: R, bounds: Arc<Bounds>) -> Self {
        let deadline = Some(Instant::now() + bounds.patience.line);
        Self { from, bounds, unread: BytesMut::new(), searched: 0, place: None, deadline }
    }

    /// Returns the next line without its end; none when the client has hung up. Not cancel-safe, and not to be
    /// called again after an error: where the next line begins is not known then.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<u8>>, LineError> {
        loop {
            if let Some(line) = self.take() {
                return Ok(Some(line));
            }
            if self.unread.len() > MAX_FRAME_BYTES {
                return Err(LineError::TooLong);
            }
            self.make_room().await?;
            let limit = self.bounds.patience.line;
            if !self.unread.is_empty() && self.deadline.is_none() {
                self.deadline = Some(Instant::now() + limit);
            }
            // No more than `LITTLE` bytes of what follows a line are ever taken before it is asked for.
            let room = (self.unread.capacity() - self.unread.len()).min(LITTLE);
            let mut space = (&mut self.unread).limit(room);
            let reading = self.from.read_buf(&mut space);
            let read = match self.deadline {
                Some(deadline) => {
                    tokio::time::timeout_at(deadline, reading).await.map_err(|_| LineError::Late(limit))?
                }
                None => reading.await,
            };
            if read? == 0 {
                return Ok(None);
            }
        }
    }

    /// Takes a whole line out of what was read.
    fn take(&mut self) -> Option<Vec<u8>> {
        let end = self.unread[self.searched..].iter().position(|byte| *byte == b'\n');
        let Some(end) = end.map(|end| self.searched + end) else {
            self.searched = self.unread.len();
            return None;
        };
        let line = self.unread[..end].to_vec();
        let rest = self.unread.split_off(end + 1);
        // The memory of a long line goes with it.
        self.unread = if self.place.take().is_some() { BytesMut::from(&rest[..]) } else { rest };
        self.searched = 0;
        self.deadline = None;
        Some(line)
    }

    /// Grows the buffer where it is full: a line that is no longer short needs a place.
    async fn make_room(&mut self) -> Result<(), LineError> {
        let length = self.unread.len();
        if length < self.unread.capacity() {
            return Ok(());
        }
        if length >= LITTLE && self.place.is_none() {
            self.place = Some(self.bounds.long_line().await.ok_or(LineError::Crowded)?);
            // The wait was not the client's.
            self.deadline = Some(Instant::now() + self.bounds.patience.line);
        }
        self.unread.reserve(length.clamp(IDLE, MAX_FRAME_BYTES / 4));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::bounds::Patience;
    use super::*;
    use tokio::io::AsyncWriteExt as _;

    fn bounds() -> Arc<Bounds> {
        let short = Duration::from_millis(50);
        Arc::new(Bounds::new(1024, Patience { line: short, others: short, ..Patience::default() }))
    }

    fn lines<R: AsyncRead + Unpin>(from: R) -> Lines<R> {
        Lines::new(from, bounds())
    }

    #[tokio::test]
    async fn lines_come_whole_however_they_were_cut() {
        let long = "y".repeat(MAX_FRAME_BYTES);
        let text = format!("a\n\n{long}\nb\nunfinished");
        for piece in [1000, 1 << 13, 1 << 20] {
            let (mut client, server) = tokio::io::duplex(piece);
            let text = text.clone();
            let writer = async move { client.write_all(text.as_bytes()).await };
            let reader = async {
                // However slow the machine is: this is not about time.
                let bounds = Arc::new(Bounds::new(1024, Patience::default()));
                let (mut lines, mut seen) = (Lines::new(server, bounds), Vec::new());
                while let Some(line) = lines.next().await.unwrap() {
                    seen.push(String::from_utf8(line).unwrap());
                }
                assert!(lines.place.is_none() && lines.unread.capacity() <= 4 * LITTLE);
                seen
            };
            let (_, seen) = tokio::join!(writer, reader);
            assert!(seen == ["a", "", &long, "b"], "in pieces of {piece}");
        }
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_is_not_read_to_its_end() {
        let text = vec![b'x'; MAX_FRAME_BYTES + 100_000];
        let mut rest = &text[..];
        assert!(matches!(lines(&mut rest).next().await, Err(LineError::TooLong)));
        assert!(!rest.is_empty());
    }

    #[tokio::test]
    async fn who_does_not_end_a_line_loses_the_connection() {
        let (mut client, server) = tokio::io::duplex(100);
        let mut silent = lines(server);
        assert!(matches!(silent.next().await, Err(LineError::Late(_))), "nothing was ever written");
        client.shutdown().await.unwrap();

        let (mut client, server) = tokio::io::duplex(100);
        let mut lines = lines(server);
        client.write_all(b"hello\n").await.unwrap();
        assert!(lines.next().await.unwrap().is_some());
        let long = lines.bounds.patience.line * 4;
        let later = tokio::time::timeout(long, lines.next()).await;
        assert!(later.is_err(), "who has written a line may be silent");
        client.write_all(b"half").await.unwrap();
        assert!(matches!(lines.next().await, Err(LineError::Late(_))));
    }

    #[tokio::test]
    async fn long_lines_wait_for_a_place_and_short_ones_do_not() {
        let bounds = bounds();
        let mut places = Vec::new();
        while let Ok(place) = tokio::time::timeout(Duration::from_millis(1), bounds.long_line()).await {
            places.push(place);
        }
        let long = format!("{}\n", "x".repeat(LITTLE * 2));
        let mut crowded = Lines::new(long.as_bytes(), Arc::clone(&bounds));
        assert!(matches!(crowded.next().await, Err(LineError::Crowded)));
        assert!(Lines::new(&b"short\n"[..], Arc::clone(&bounds)).next().await.unwrap().is_some());
        places.pop();
        assert!(Lines::new(long.as_bytes(), bounds).next().await.unwrap().is_some());
    }
}
