//! Lines that are not endless: bytes a second, for each connection and for all, and latency.

use std::sync::Mutex;
use std::time::Duration;
use tokio::time::Instant;

/// How fast a host is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pace {
    /// Bytes a second that one TCP connection gets at most, whatever is asked on it.
    pub per_connection: Option<u64>,
    /// Bytes a second that all get together at most.
    pub total: Option<u64>,
    /// What passes before the first answer on a new connection, beside `request_delay`.
    pub connect_delay: Duration,
    /// What passes before each answer.
    pub request_delay: Duration,
}

/// What a line may lag behind and catch up with: timers are good to a millisecond.
const SLACK: Duration = Duration::from_millis(20);

/// One line: those who use it wait in turn.
#[derive(Debug, Default)]
pub(crate) struct Line(Mutex<Option<Instant>>);

impl Line {
    /// Waits until `bytes` have passed at `rate` bytes a second.
    pub(super) async fn pass(&self, bytes: usize, rate: Option<u64>) {
        let Some(rate) = rate else { return };
        let until = {
            let mut free = self.0.lock().expect("no panic with the lock held");
            let now = Instant::now();
            let earliest = now.checked_sub(SLACK).unwrap_or(now);
            #[allow(clippy::cast_precision_loss, reason = "a pace need not be exact to the byte")]
            let takes = Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64);
            let until = free.map_or(earliest, |free| free.max(earliest)) + takes;
            *free = Some(until);
            until
        };
        tokio::time::sleep_until(until).await;
    }
}

impl Pace {
    /// Returns how many bytes to send at once: few enough that the pace is even.
    pub(super) fn piece(&self, trickle: Option<u64>) -> u64 {
        let slowest = [self.per_connection, self.total, trickle].into_iter().flatten().min();
        slowest.map_or(512 << 10, |rate| (rate / 50).clamp(1, 256 << 10))
    }
}
