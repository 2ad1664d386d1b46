//! One connection's part: from the host into the file.

use super::Stop;
use super::connections::{Body, Download, Mode, SYNC};
use super::data::Batch;
use super::limits::Permit;
use super::parts::PartId;
use crate::source::model::error::ModelError;
use crate::source::model::hosts::not_a_model;
use crate::source::model::remote::Remote;
use bytes::Bytes;
use futures_util::StreamExt as _;
use std::ops::Range;
use std::sync::PoisonError;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// Bytes that the connections of all transfers together may collect before they write.
const COLLECTED: u64 = 4 << 20;

/// More connections than this, of all transfers, do not collect while they write: they are enough to keep the line busy,
/// and each of them holds a megabyte or two.
const WRITE_BEHIND: usize = 8;

/// The least and the most that is written at once, in bytes.
const UNIT: (u64, u64) = (256 << 10, 1 << 20);

/// The longest that bytes wait to be written: a killed process loses them.
const WRITE_AFTER: Duration = Duration::from_millis(50);

/// How many times a new journal is written while a file arrives, at least: what a killed process had
/// not yet put into it is fetched again.
const JOURNALS: u64 = 256;

impl<R: Remote> Download<'_, R> {
    /// Fetches a part, from an answer that is there already or by asking for it.
    pub(super) async fn part(&self, id: PartId, opened: Option<(Body, Permit)>) -> Result<(), Stop> {
        if let Some((body, _permit)) = opened {
            return self.receive(id, body).await;
        }
        let _permit = self.line.connection().await;
        self.state().parts.ask(id, Instant::now());
        let range = self.state().parts.range(id);
        let opened = self.transfer.remote.open(self.transfer.ctx, range.clone(), Some(&self.identity));
        let dropped = self.state().parts.dropped(id);
        let opened = tokio::select! {
            opened = opened => opened?,
            () = dropped.notified() => return Err(Stop::Again(self.transfer.broken(Some("it was too slow".into())))),
        };
        if !opened.is_part || opened.start != range.start {
            let reason = "the host sent another part than it was asked for";
            return Err(Stop::Again(self.transfer.broken(Some(reason.into()))));
        }
        self.receive(id, opened.body).await
    }

    /// Receives a part into the file, as far as the connection brings it.
    async fn receive(&self, id: PartId, mut body: Body) -> Result<(), Stop> {
        let dropped = self.state().parts.dropped(id);
        let dropped = dropped.notified();
        tokio::pin!(dropped);
        let mut writer = Writer {
            download: self,
            id,
            batch: Batch::at(self.state().parts.range(id).start),
            pending: None,
        };
        let aside = self.transfer.ctx.standing.aside();
        tokio::pin!(aside);
        let ended = loop {
            let piece = tokio::select! {
                biased;
                () = &mut aside, if self.mode == Mode::Parts => break Ok(()),
                piece = body.next() => piece,
                () = &mut dropped => Some(Err("it was too slow".into())),
            };
            let left = self.state().parts.range(id);
            let left = left.end - left.start;
            match piece {
                Some(Ok(piece)) if piece.len() as u64 > left && self.mode == Mode::Stream => {
                    let reason = "the host sent more than it announced";
                    return Err(not_a_model(self.transfer.link, reason.to_owned()).into());
                }
                Some(Ok(mut piece)) => {
                    piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                    let (bytes, is_last) = (piece.len() as u64, piece.len() as u64 == left);
                    writer.push(piece).await?;
                    self.slow_down(id, bytes).await;
                    if is_last && self.mode == Mode::Parts {
                        break Ok(());
                    }
                }
                None if left == 0 || self.identity.size.is_none() => break Ok(()),
                None => break Err(None),
                Some(Err(error)) => break Err(Some(error)),
            }
        };
        writer.finish().await?;
        ended.map_err(|source| Stop::Again(self.transfer.broken(source)))
    }

    /// Waits as long as these bytes take by the rate of background transfers; not at all for who waits for them.
    async fn slow_down(&self, id: PartId, bytes: u64) {
        let (standing, rate) = (&self.transfer.ctx.standing, &self.transfer.limits.background);
        let Some(rate) = rate.as_ref().filter(|_| standing.is_background()) else { return };
        let hold = |is| self.state().parts.hold(id, is, Instant::now());
        hold(true);
        tokio::select! {
            () = rate.spend(bytes) => (),
            () = standing.aside() => (),
            () = standing.lifted() => (),
        }
        hold(false);
    }

    /// Notes bytes that were written.
    fn written(&self, id: PartId, range: Range<u64>) {
        let written = {
            let mut journal = self.transfer.claim.journal();
            journal.written.insert(range.clone());
            journal.written.len()
        };
        let mut state = self.state();
        state.parts.keep(id, range.end);
        let step = (self.identity.size.unwrap_or(0) / JOURNALS).clamp(1 << 20, 256 << 20);
        if written >= state.journalled + step {
            state.journalled = written;
            self.transfer.claim.write_soon(false);
        }
        if written >= state.synced + SYNC.1 {
            state.synced = written;
            self.unsynced.notify_one();
        }
    }
}

/// Writes behind the reader's back: one batch is collected while the other is written.
struct Writer<'a, R> {
    download: &'a Download<'a, R>,
    id: PartId,
    batch: Batch,
    pending: Option<JoinHandle<Result<Range<u64>, ModelError>>>,
}

impl<R: Remote> Writer<'_, R> {
    async fn push(&mut self, piece: Bytes) -> Result<(), Stop> {
        self.download.state().parts.receive(self.id, piece.len() as u64, Instant::now());
        self.batch.push(piece);
        let connections = self.download.line.connections_in_all() as u64;
        let unit = (COLLECTED / connections).clamp(UNIT.0, UNIT.1);
        if self.batch.is_due(unit, WRITE_AFTER) { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), Stop> {
        self.settle().await?;
        let next = Batch::at(self.batch.range().end);
        let (batch, file) = (std::mem::replace(&mut self.batch, next), self.download.file.clone());
        let in_order = self.download.in_order.clone();
        self.pending = Some(tokio::task::spawn_blocking(move || {
            file.write(&batch)?;
            if let Some(in_order) = in_order {
                in_order.lock().unwrap_or_else(PoisonError::into_inner).add(&batch);
            }
            Ok(batch.range())
        }));
        let connections = self.download.line.connections_in_all();
        if connections > WRITE_BEHIND { self.settle().await } else { Ok(()) }
    }

    async fn settle(&mut self) -> Result<(), Stop> {
        let Some(pending) = self.pending.take() else { return Ok(()) };
        let hold = |is| self.download.state().parts.hold(self.id, is, Instant::now());
        hold(true);
        let range = pending.await.unwrap_or(Err(ModelError::Panicked)).map_err(Stop::Failed)?;
        hold(false);
        self.download.written(self.id, range);
        Ok(())
    }

    async fn finish(mut self) -> Result<(), Stop> {
        self.flush().await?;
        self.settle().await
    }
}
