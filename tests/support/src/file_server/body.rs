//! Sends a body: at a pace, counted, and to an end that is not always the right one.

use super::Shared;
use super::content::Content;
use super::pace::Line;
use crate::serve::Connection;
use axum::body::{Body, Bytes};
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How a body ends.
#[derive(Debug, Clone, Copy)]
pub(super) enum End {
    /// With its last byte.
    Whole,
    /// The connection breaks after so many bytes.
    Cut(u64),
    /// Nothing more comes after so many bytes.
    Stall(u64),
}

/// A body that is on its way.
pub(super) struct Sending {
    pub(super) content: Content,
    pub(super) part: Range<u64>,
    pub(super) end: End,
    /// The next byte is to be wrong.
    pub(super) damaged: bool,
    /// Bytes a second of this answer alone.
    pub(super) trickle: Option<u64>,
    pub(super) connection: Connection,
    pub(super) shared: Arc<Shared>,
    pub(super) path: String,
    pub(super) query: Option<String>,
    /// Counts the path's bytes.
    pub(super) sent: Arc<AtomicU64>,
}

impl Sending {
    /// Returns it as the body of an answer.
    pub(super) fn body(mut self) -> Body {
        let own = Line::default();
        let end = self.part.end;
        if let End::Cut(after) | End::Stall(after) = self.end {
            self.part.end = end.min(self.part.start + after);
        }
        Body::from_stream(futures_util::stream::unfold((self, own), |(mut sending, own)| async move {
            let piece = sending.next(&own).await?;
            Some((piece, (sending, own)))
        }))
    }

    async fn next(&mut self, own: &Line) -> Option<io::Result<Bytes>> {
        let pace = self.shared.pace();
        let piece = self.content.piece(&self.part, pace.piece(self.trickle));
        if piece.is_empty() {
            return self.at_end().await;
        }
        own.pass(piece.len(), self.trickle).await;
        self.connection.line().pass(piece.len(), pace.per_connection).await;
        self.shared.line.pass(piece.len(), pace.total).await;
        let piece = if std::mem::take(&mut self.damaged) {
            let mut wrong = piece.to_vec();
            wrong[0] ^= 1;
            wrong.into()
        } else {
            piece
        };
        let length = piece.len() as u64;
        self.part.start += length;
        self.sent.fetch_add(length, Ordering::Relaxed);
        self.shared.count(&self.path, self.query.as_deref(), length);
        Some(Ok(piece))
    }

    async fn at_end(&mut self) -> Option<io::Result<Bytes>> {
        match self.end {
            End::Whole => None,
            End::Stall(_) => std::future::pending().await,
            End::Cut(_) => {
                self.end = End::Whole;
                // hyper drops what it has not sent yet when a body fails.
                tokio::time::sleep(Duration::from_millis(20)).await;
                Some(Err(io::Error::other("cut by the test")))
            }
        }
    }
}
