//! How many connections there may be: to one host, and in all. Files that are fetched from one host at
//! the same time share its connections. And how many bytes a second may come for nobody who waits.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

/// Connections to one host. aria2 draws the line there too (`--max-connection-per-server`), and hosts
/// have got used to it.
const PER_HOST: usize = 16;

/// Connections in all.
const IN_ALL: usize = 48;

/// The bounds that all transfers of a process share. Cheap to clone.
#[derive(Debug, Clone)]
pub(in crate::source::model) struct Limits {
    all: Arc<Semaphore>,
    hosts: Arc<Mutex<HashMap<String, Arc<Host>>>>,
    /// What all background transfers together may bring, where that is bounded.
    pub(super) background: Option<Arc<Rate>>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(IN_ALL)), hosts: Arc::default(), background: None }
    }
}

/// So many bytes a second, whoever they are for.
#[derive(Debug)]
pub(super) struct Rate {
    bytes: u64,
    /// When the next ones may come.
    next: Mutex<Instant>,
}

impl Rate {
    /// Waits until what came before has had its time. Cancel-safe: these bytes have come in any case.
    pub(super) async fn spend(&self, bytes: u64) {
        let begin = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let begin = Instant::now().max(*next);
            let millis = bytes.saturating_mul(1000) / self.bytes.max(1);
            *next = begin + Duration::from_millis(millis);
            begin
        };
        sleep_until(begin).await;
    }
}

#[derive(Debug)]
struct Host {
    connections: Arc<Semaphore>,
    transfers: AtomicUsize,
}

/// A transfer's place among those from the same host. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Line {
    host: Arc<Host>,
    all: Arc<Semaphore>,
}

/// Leave to have one connection, until it is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    _host: Option<OwnedSemaphorePermit>,
    _all: Option<OwnedSemaphorePermit>,
}

impl Limits {
    /// Bounds what background transfers may bring, in bytes a second.
    pub(in crate::source::model) fn bound_background(&mut self, bytes: u64) {
        self.background = Some(Arc::new(Rate { bytes, next: Mutex::new(Instant::now()) }));
    }

    /// Joins the transfers from a host.
    pub(super) fn line(&self, host: &str) -> Line {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.retain(|_, host| Arc::strong_count(host) > 1);
        let new = || Host { connections: Arc::new(Semaphore::new(PER_HOST)), transfers: AtomicUsize::new(0) };
        let host = hosts.entry(host.to_owned()).or_insert_with(|| Arc::new(new())).clone();
        host.transfers.fetch_add(1, Ordering::Relaxed);
        Line { host, all: self.all.clone() }
    }
}

impl Line {
    /// Returns how many connections are this transfer's share at present; at least one.
    pub(super) fn share(&self) -> usize {
        (PER_HOST / self.host.transfers.load(Ordering::Relaxed).max(1)).max(1)
    }

    /// Returns how many connections there are at present, of all transfers; at least one.
    pub(super) fn connections_in_all(&self) -> usize {
        IN_ALL.saturating_sub(self.all.available_permits()).max(1)
    }

    /// Waits for its turn to have a connection; turns are in the order of asking. Cancel-safe.
    pub(super) async fn connection(&self) -> Permit {
        // The semaphores are never closed, so there is always a permit in the end.
        let host = self.host.connections.clone().acquire_owned().await.ok();
        let all = self.all.clone().acquire_owned().await.ok();
        Permit { _host: host, _all: all }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.host.transfers.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[tokio::test]
    async fn a_rate_is_kept_by_all_together() {
        let mut limits = Limits::default();
        limits.bound_background(10_000_000);
        let (rate, begun) = (limits.background.unwrap(), Instant::now());
        let one = || async {
            for _ in 0..50 {
                rate.spend(20_000).await;
            }
        };
        tokio::join!(one(), one());
        let took = begun.elapsed();
        // The last ones need not wait for their own time.
        assert!(took >= Duration::from_millis(198), "{took:?}");
    }

    #[tokio::test]
    async fn connections_are_bounded_and_shared() {
        let limits = Limits::default();
        let first = limits.line("h");
        assert_eq!(first.share(), 16);
        let mut held: Vec<_> = (0..PER_HOST).filter_map(|_| first.connection().now_or_never()).collect();
        assert_eq!(held.len(), PER_HOST);
        let second = limits.line("h");
        assert_eq!((first.share(), second.share()), (8, 8));
        assert!(second.connection().now_or_never().is_none());
        assert_eq!((first.connections_in_all(), second.connections_in_all()), (PER_HOST, PER_HOST));
        held.pop();
        held.push(second.connection().now_or_never().unwrap());
        let hosts: Vec<_> = ["a", "b", "c"].map(|host| limits.line(host)).into();
        let more =
            hosts.iter().flat_map(|line| (0..PER_HOST).filter_map(|_| line.connection().now_or_never()));
        held.extend(more);
        assert_eq!(held.len(), IN_ALL);
        drop((held, second));
        assert_eq!(first.share(), 16);
        assert!(hosts[2].connection().now_or_never().is_some());
    }
}
