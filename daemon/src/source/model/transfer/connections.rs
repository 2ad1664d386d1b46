//! The connections of one transfer, side by side.
//!
//! All of them run in one future, so that dropping it ends them; what blocks goes to the pool for it.
//! A connection that fails gives its part back and asks for another one after a pause, a bounded number
//! of times without progress between.

use super::data::DataFile;
use super::digest::InOrder;
use super::limits::{Line, Permit};
use super::pace::Pace;
use super::parts::{PartId, Parts, Speed};
use super::{FIRST_PART, PROGRESS, Stop, Transfer, is_about_parts};
use crate::source::http::Retries;
use crate::source::model::error::ModelError;
use crate::source::model::hosts;
use crate::source::model::place::blocking;
use crate::source::model::remote::{BodyError, Identity, Opened, Remote};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{BoxStream, FuturesUnordered};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// How often progress is shown and the pace is looked at.
const TICK: Duration = Duration::from_millis(50);

/// Bytes that are reserved at once.
const RESERVED: usize = 64 << 20;

/// How often bytes are made durable, and after how many at the latest.
pub(super) const SYNC: (Duration, u64) = (Duration::from_secs(1), 512 << 20);

/// Whether the host serves parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Parts,
    /// One connection, from the first byte to the last.
    Stream,
}

/// A transfer whose size and mode are known.
pub(super) struct Download<'a, R> {
    pub(super) transfer: &'a Transfer<'a, R>,
    pub(super) line: Line,
    pub(super) mode: Mode,
    pub(super) identity: Identity,
    pub(super) file: Arc<DataFile>,
    /// Where the host told a SHA-256 and one connection brings all of the file.
    pub(super) in_order: Option<Arc<Mutex<InOrder>>>,
    state: Mutex<State>,
    /// Told when much was written since the last sync.
    pub(super) unsynced: Notify,
}

pub(super) struct State {
    pub(super) parts: Parts,
    pub(super) pace: Pace,
    pub(super) running: usize,
    /// Those of them that wait before they ask again.
    pausing: usize,
    /// The host asked all to wait until then.
    not_before: Option<Instant>,
    /// Bytes written when the journal and when a sync was last asked for.
    pub(super) journalled: u64,
    pub(super) synced: u64,
    watched: Instant,
    /// When people were last told of a failure; many connections break at once.
    told: Option<Instant>,
}

pub(super) type Body = BoxStream<'static, Result<Bytes, BodyError>>;

impl<'a, R: Remote> Download<'a, R> {
    pub(super) fn new(
        transfer: &'a Transfer<'a, R>,
        line: Line,
        mode: Mode,
        identity: Identity,
        file: Arc<DataFile>,
    ) -> Self {
        let now = Instant::now();
        let written = transfer.claim.journal().written.len();
        let state = State {
            parts: Parts::default(),
            pace: Pace::new(now),
            running: 0,
            pausing: 0,
            not_before: None,
            journalled: written,
            synced: written,
            watched: now,
            told: None,
        };
        let is_small = identity.size.is_some_and(|size| size <= FIRST_PART);
        let in_order = (identity.sha256.is_some() && is_small && written == 0).then(Arc::default);
        let (state, unsynced) = (Mutex::new(state), Notify::new());
        Self { transfer, line, mode, identity, file, in_order, state, unsynced }
    }

    /// Fetches all that is missing, beginning with the answer that is there already, which covers
    /// `range`. Cancel-safe.
    pub(super) async fn run(&self, range: Range<u64>, first: Opened, permit: Permit) -> Result<(), Stop> {
        tokio::select! {
            biased;
            result = self.connections(range, first, permit) => result,
            error = self.sync_often() => Err(Stop::Failed(error)),
            error = self.reserve() => Err(Stop::Failed(error)),
        }
    }

    /// Compares what arrived with what the host said of it, where both are known for nothing.
    pub(super) fn check(&self) -> Result<(), ModelError> {
        let Some(in_order) = &self.in_order else { return Ok(()) };
        let in_order = std::mem::take(&mut *in_order.lock().unwrap_or_else(PoisonError::into_inner));
        let arrived = self.identity.size.and_then(|size| in_order.finish(size));
        match (arrived, &self.identity.sha256) {
            (Some(arrived), Some(told)) if !arrived.eq_ignore_ascii_case(told) => {
                let link = hosts::link(self.transfer.link);
                Err(ModelError::Damaged { link, told: told.clone(), arrived })
            }
            _ => Ok(()),
        }
    }

    /// Makes what was written durable, within a bounded time. Best effort.
    pub(super) async fn save(&self, within: Duration) {
        let save = async {
            self.sync().await.ok();
            self.transfer.claim.write(true).await.ok();
        };
        tokio::time::timeout(within, save).await.ok();
    }

    async fn connections(&self, range: Range<u64>, first: Opened, permit: Permit) -> Result<(), Stop> {
        let mut connections = FuturesUnordered::new();
        let id = self.state().parts.add(range, Instant::now());
        self.state().parts.ask(id, Instant::now());
        self.state().running = 1;
        connections.push(self.connection(id, Some((first.body, permit))));
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                Some(ended) = connections.next() => {
                    self.state().running -= 1;
                    ended?;
                }
                _ = tick.tick() => self.tick(),
            }
            if self.is_complete(connections.is_empty()) {
                self.show();
                return Ok(());
            }
            if self.yields() {
                // No other connection begins; each writes what it has, and ends.
                if connections.is_empty() {
                    return Err(Stop::Aside);
                }
                continue;
            }
            while let Some(id) = self.next_part(connections.is_empty()) {
                self.state().running += 1;
                connections.push(self.connection(id, None));
            }
        }
    }

    /// Tells whether the transfer is to stand aside for other work. A stream cannot be gone on with: what came
    /// of it would be lost.
    pub(super) fn yields(&self) -> bool {
        self.mode == Mode::Parts && self.transfer.ctx.standing.yields()
    }

    fn is_complete(&self, ended: bool) -> bool {
        match self.mode {
            Mode::Parts => Some(self.transfer.claim.journal().written.len()) == self.identity.size,
            // Its one connection ends well only with the last byte.
            Mode::Stream => ended,
        }
    }

    /// Takes a part for one more connection, where there should be one. `must`: there is none at all.
    fn next_part(&self, must: bool) -> Option<PartId> {
        let (running, pausing) = {
            let state = self.state();
            let told = state.not_before.is_some_and(|until| Instant::now() < until);
            (state.running, state.pausing + usize::from(told))
        };
        // While one waits before it asks again, nobody new asks in its place.
        (must || (pausing == 0 && running < self.target())).then(|| self.take()).flatten()
    }

    fn target(&self) -> usize {
        match self.mode {
            Mode::Parts => self.state().pace.target(self.line.share()),
            Mode::Stream => 1,
        }
    }

    fn speed(&self) -> Speed {
        let connections = self.target();
        Speed { rate: self.state().pace.rate(), connections }
    }

    fn take(&self) -> Option<PartId> {
        let (size, speed) = (self.identity.size.filter(|_| self.mode == Mode::Parts)?, self.speed());
        let journal = self.transfer.claim.journal();
        self.state().parts.take(&journal.written, size, speed, Instant::now())
    }

    /// Looks at the pace and shows progress.
    fn tick(&self) {
        let (now, share, speed) = (Instant::now(), self.line.share(), self.speed());
        {
            let mut state = self.state();
            let (received, delivering) = (state.parts.received(), state.parts.delivering());
            state.pace.tick(now, received, delivering, share);
            if now.duration_since(state.watched) >= Duration::from_millis(500) {
                state.watched = now;
                state.parts.watch(speed, self.mode == Mode::Parts, now);
            }
        }
        self.show();
    }

    fn show(&self) {
        let mut journal = self.transfer.claim.journal();
        journal.arrived = journal.written.len() + self.state().parts.unwritten();
        self.transfer.task.set(journal.arrived, self.identity.size);
    }

    /// Fetches one part after the other until there is none.
    async fn connection(&self, first: PartId, mut opened: Option<(Body, Permit)>) -> Result<(), Stop> {
        let (mut id, mut retries, mut refusals) = (first, Retries::default(), 0);
        loop {
            let start = self.state().parts.range(id).start;
            let result = self.part(id, opened.take()).await;
            let received = self.state().parts.range(id).start - start;
            self.state().parts.release(id, Instant::now());
            if received >= PROGRESS || result.is_ok() {
                (retries, refusals) = (Retries::default(), 0);
            }
            if self.yields() {
                return Ok(());
            }
            if let Err(stop) = result {
                self.recover(stop, &mut retries, &mut refusals).await?;
            }
            let running = self.state().running;
            if running > self.target() {
                return Ok(());
            }
            self.wait_as_told().await;
            let Some(next) = self.take() else { return Ok(()) };
            id = next;
        }
    }

    /// Waits before another request, or gives up.
    async fn recover(&self, stop: Stop, retries: &mut Retries, refusals: &mut usize) -> Result<(), Stop> {
        let error = match stop {
            stop if self.mode == Mode::Stream => return Err(stop),
            Stop::Failed(error) | Stop::Again(error) if is_about_parts(&error, 1) => {
                *refusals += 1;
                error
            }
            Stop::Again(error) => error,
            stop => return Err(stop),
        };
        // A part that is refused twice is refused: perhaps the whole is not.
        if *refusals > 1 {
            return Err(Stop::Again(error));
        }
        let asked = error.again().asked();
        let Some(pause) = retries.next(asked) else { return Err(Stop::Failed(error)) };
        let now = Instant::now();
        let tell = {
            let mut state = self.state();
            if let Some(asked) = asked {
                let received = state.parts.received();
                state.pace.back_off(now, received);
                state.not_before = Some(now + asked.min(pause));
            }
            state.pausing += 1;
            let tell = state.told.is_none_or(|told| now.duration_since(told) > Duration::from_secs(1));
            if tell {
                state.told = Some(now);
            }
            tell
        };
        if tell {
            self.transfer.ctx.progress.note(retries.sentence(pause, &error.in_one_line()));
        }
        tokio::time::sleep(pause).await;
        self.state().pausing -= 1;
        Ok(())
    }

    /// Waits as long as the host asked all to wait.
    async fn wait_as_told(&self) {
        let until = self.state().not_before;
        if let Some(until) = until {
            tokio::time::sleep_until(until.into()).await;
        }
    }

    /// Reserves the whole file, so that a full disk shows soon, and returns only if it is full. Step by
    /// step: there are filesystems that take a second for gigabytes, and let nobody write meanwhile.
    async fn reserve(&self) -> ModelError {
        let size = self.identity.size.unwrap_or(0);
        for start in (0..size).step_by(RESERVED) {
            let (file, part) = (self.file.clone(), start..(start + RESERVED as u64).min(size));
            if let Err(error) = blocking(move || file.reserve(part)).await {
                return error;
            }
        }
        std::future::pending().await
    }

    async fn sync_often(&self) -> ModelError {
        loop {
            tokio::select! {
                () = tokio::time::sleep(SYNC.0) => (),
                () = self.unsynced.notified() => (),
            }
            if let Err(error) = self.sync().await {
                return error;
            }
        }
    }

    async fn sync(&self) -> Result<(), ModelError> {
        let written = self.transfer.claim.journal().written.clone();
        if written == self.transfer.claim.journal().synced {
            return Ok(());
        }
        let file = self.file.clone();
        blocking(move || file.sync()).await?;
        self.transfer.claim.journal().synced = written;
        self.transfer.claim.write_soon(true);
        Ok(())
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // Only counters, which no panic can leave half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
