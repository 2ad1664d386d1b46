//! How much the clients together may take of this process.
//!
//! Each connection owns a little: a line of [`LITTLE`] bytes, one call under way, an answer of that length.
//! What is more comes from pools that all share. So the memory that clients can take is bounded whoever they
//! are, and a client that asks for little is served while others exhaust the pools.

use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of a line or an answer that a connection has without asking.
pub(super) const LITTLE: usize = 8 << 10;

/// Connections at the same time, where the system lets this process have as many files.
const MAX_CONNECTIONS: u64 = 4096;

/// Files that are not for connections: hosts, models, logs, pipes of children.
const OTHER_FILES: u64 = 512;

/// Lines longer than [`LITTLE`] that are being read at the same time.
const LONG_LINES: usize = 32;

/// Calls under way beyond the first of each connection. A call is over when its answer was read.
const SHARED_CALLS: usize = 4096;

/// KiB of long parameters of calls under way, and of long answers that wait to be read.
const HELD_KIB: u32 = 128 << 10;

/// How long clients may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// From the first byte of a line to its end, and from the connection to the end of the first line. A
    /// client that has written a line may be silent for ever: it may hold claims.
    pub(super) line: Duration,
    /// Until a client reads more of an answer.
    pub(super) answer: Duration,
    /// Until others give back what they took of a pool.
    pub(super) others: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let secs = Duration::from_secs;
        Self { line: secs(10), answer: secs(60), others: secs(30) }
    }
}

/// What all connections share.
#[derive(Debug)]
pub(super) struct Bounds {
    connections: Arc<Semaphore>,
    long_lines: Arc<Semaphore>,
    calls: Arc<Semaphore>,
    held: Arc<Semaphore>,
    max_connections: usize,
    pub(super) patience: Patience,
}

impl Bounds {
    /// Makes the pools of a process that may have so many files open.
    pub(super) fn new(open_files: u64, patience: Patience) -> Self {
        // A share even where the limit is very low: it says "too many" before the system does.
        let connections = MAX_CONNECTIONS.min(open_files.saturating_sub(OTHER_FILES).max(open_files / 4));
        let max_connections = usize::try_from(connections.max(1)).unwrap_or(usize::MAX);
        Self {
            connections: Arc::new(Semaphore::new(max_connections)),
            long_lines: Arc::new(Semaphore::new(LONG_LINES)),
            calls: Arc::new(Semaphore::new(SHARED_CALLS)),
            held: Arc::new(Semaphore::new(HELD_KIB as usize)),
            max_connections,
            patience,
        }
    }

    /// Returns how many connections there may be at the same time.
    pub(super) fn max_connections(&self) -> usize {
        self.max_connections
    }

    /// Takes one connection in; none when there are too many.
    pub(super) fn connection(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.connections).try_acquire_owned().ok()
    }

    /// Takes a call in that is not its connection's only one; none when there are too many.
    pub(super) fn call(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.calls).try_acquire_owned().ok()
    }

    /// Waits until another long line may be read; none when that takes too long. Cancel-safe.
    pub(super) async fn long_line(&self) -> Option<OwnedSemaphorePermit> {
        let permit = Arc::clone(&self.long_lines).acquire_owned();
        tokio::time::timeout(self.patience.others, permit).await.ok()?.ok()
    }

    /// Returns what keeping so many bytes takes; none when others keep too much.
    pub(super) fn hold(&self, bytes: usize) -> Result<Held, Full> {
        match kib(bytes) {
            None => Ok(Held(None)),
            Some(kib) => {
                let permit = Arc::clone(&self.held).try_acquire_many_owned(kib);
                permit.map(|permit| Held(Some(permit))).map_err(|_| Full)
            }
        }
    }

    /// Like [`Bounds::hold`], and waits for others to read their answers. Cancel-safe.
    pub(super) async fn hold_soon(&self, bytes: usize) -> Result<Held, Full> {
        let Some(kib) = kib(bytes) else { return Ok(Held(None)) };
        let permit = Arc::clone(&self.held).acquire_many_owned(kib);
        match tokio::time::timeout(self.patience.others, permit).await {
            Ok(Ok(permit)) => Ok(Held(Some(permit))),
            _ => Err(Full),
        }
    }
}

/// A share of the bytes that may be kept; given back when dropped.
#[derive(Debug)]
#[must_use = "the share is given back when this is dropped"]
pub(super) struct Held(#[allow(dead_code, reason = "kept for its end")] Option<OwnedSemaphorePermit>);

/// Others keep too much.
#[derive(Debug)]
pub(super) struct Full;

/// Returns what bytes take of the pool, in KiB: nothing when there are few. What is larger than a quarter of
/// the pool takes a quarter, so that it can be had at all.
fn kib(bytes: usize) -> Option<u32> {
    let is_much = bytes > LITTLE;
    is_much.then(|| u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(u32::MAX).min(HELD_KIB / 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_for_the_rest() {
        let of = |files| Bounds::new(files, Patience::default()).max_connections();
        assert_eq!(
            (of(u64::MAX), of(20_000), of(4096), of(1024), of(256), of(0)),
            (4096, 4096, 3584, 512, 64, 1)
        );
    }

    #[test]
    fn little_is_free_and_much_is_bounded() {
        let bounds = Bounds::new(1024, Patience::default());
        let mut held = Vec::new();
        while let Ok(share) = bounds.hold(1 << 20) {
            held.push(share);
        }
        assert_eq!(held.len(), HELD_KIB as usize >> 10);
        assert!(bounds.hold(LITTLE).is_ok(), "a short line is taken when the pool is empty");
        held.clear();
        assert!(bounds.hold(usize::MAX).is_ok(), "what is larger than the pool can be had alone");
    }
}
