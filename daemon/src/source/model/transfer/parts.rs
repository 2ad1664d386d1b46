//! Which part of the file each connection fetches. Pure: time is a parameter.
//!
//! Parts are cut from the lowest gap, big at first and smaller towards the end (guided scheduling), so
//! that all connections end at about the same time. Where nothing is left to cut, a free connection
//! takes the second half of the part that would take longest.

use super::ranges::Ranges;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// No part is cut smaller than this, in bytes: a request costs a round trip.
const SMALLEST: u64 = 1 << 20;

/// No part is cut bigger than this, in bytes.
const BIGGEST: u64 = 128 << 20;

/// Size of parts while the throughput is not known.
const UNKNOWN: u64 = 16 << 20;

/// A part should keep its connection about so long.
const PART_TIME: f64 = 3.0;

/// A part is halved only if it would go on for longer than this, in seconds, and than several round
/// trips: what is on its way on the first connection when that one reaches the middle is lost.
const WORTH_HALVING: f64 = 2.0;

/// A connection that delivers nothing for so long is dropped.
const STALL: Duration = Duration::from_secs(30);

/// A connection that is much slower than others for so long is dropped.
const SLOW_FOR: Duration = Duration::from_secs(5);

/// How much slower.
const SLOW: f64 = 5.0;

/// Number of a part within one transfer.
pub(super) type PartId = u64;

/// The parts that are under way.
#[derive(Debug, Default)]
pub(super) struct Parts {
    active: BTreeMap<PartId, Part>,
    next: PartId,
    received: u64,
    /// Bytes a second of those connections that ended their parts lately.
    usual: Option<f64>,
}

#[derive(Debug)]
struct Part {
    start: u64,
    /// Written up to here.
    kept: u64,
    /// Received up to here.
    at: u64,
    /// To be received up to here. Moves down when another connection takes the rest.
    end: u64,
    began: Instant,
    /// When the first bytes came.
    first: Option<Instant>,
    /// When the last bytes came.
    last: Instant,
    /// The connection waits for the disk, or for its turn: not for the host.
    is_held: bool,
    /// What had been received when, for the last few seconds.
    samples: VecDeque<(Instant, u64)>,
    dropped: Arc<Notify>,
}

/// How fast the transfer is as a whole.
#[derive(Debug, Clone, Copy)]
pub(super) struct Speed {
    /// Bytes a second; zero while that is not known.
    pub(super) rate: f64,
    /// Connections that there should be.
    pub(super) connections: usize,
}

#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a throughput needs no 53 bits, is not negative, and casts to the nearest size"
)]
impl Speed {
    /// Returns what one connection brings, where that is known.
    fn of_one(self) -> Option<f64> {
        (self.rate > 0.0).then(|| self.rate / self.connections.max(1) as f64)
    }

    /// Returns how big a part should be of which `free` bytes remain to be given out.
    fn part(self, free: u64) -> u64 {
        let by_time = self.of_one().map_or(UNKNOWN, |rate| (rate * PART_TIME) as u64);
        let share = free / (2 * self.connections.max(1) as u64);
        share.min(by_time).clamp(SMALLEST, BIGGEST)
    }
}

impl Part {
    /// Bytes a second since the first ones.
    #[allow(clippy::cast_precision_loss, reason = "a throughput needs no 53 bits")]
    fn rate(&self, now: Instant) -> Option<f64> {
        let elapsed = now.duration_since(self.first?).as_secs_f64();
        (elapsed > 0.05).then(|| (self.at - self.start) as f64 / elapsed)
    }

    /// Seconds until it ends; none as long as nobody can tell, so that no answer is cut before it has
    /// shown what it brings.
    #[allow(clippy::cast_precision_loss, reason = "a throughput needs no 53 bits")]
    fn time_left(&self, now: Instant, speed: Speed) -> f64 {
        let rate = self.rate(now).or(speed.of_one());
        rate.map_or(0.0, |rate| (self.end - self.at) as f64 / rate.max(1.0))
    }

    /// Seconds that the host took to answer.
    fn latency(&self, now: Instant) -> f64 {
        self.first.unwrap_or(now).duration_since(self.began).as_secs_f64()
    }

    /// Bytes a second over the last seconds; `None` while it is too young to be judged.
    #[allow(clippy::cast_precision_loss, reason = "a throughput needs no 53 bits")]
    fn recent(&self, now: Instant) -> Option<f64> {
        let (since, at) = self.samples.front().copied()?;
        let elapsed = now.duration_since(since);
        (elapsed >= SLOW_FOR).then(|| (self.at - at) as f64 / elapsed.as_secs_f64())
    }
}

impl Parts {
    /// Gives out a part below `size`; `None` when there is nothing that is worth a connection.
    pub(super) fn take(&mut self, written: &Ranges, size: u64, speed: Speed, now: Instant) -> Option<PartId> {
        let mut taken = written.clone();
        self.active.values().for_each(|part| taken.insert(part.kept..part.end));
        let mut gaps = taken.gaps(size).peekable();
        if let Some(gap) = gaps.peek().cloned() {
            let free = gaps.map(|gap| gap.end - gap.start).sum();
            let len = speed.part(free).min(gap.end - gap.start);
            // What would remain too small for a part of its own belongs to this one.
            let len = if gap.end - gap.start - len < SMALLEST { gap.end - gap.start } else { len };
            return Some(self.add(gap.start..gap.start + len, now));
        }
        let (_, longest) = self
            .active
            .iter_mut()
            .max_by(|(_, a), (_, b)| a.time_left(now, speed).total_cmp(&b.time_left(now, speed)))?;
        let (left, latency) = (longest.end - longest.at, longest.latency(now));
        let is_worth = longest.time_left(now, speed) > WORTH_HALVING.max(8.0 * latency);
        if left < 2 * SMALLEST || !is_worth {
            return None;
        }
        let middle = longest.at + left / 2;
        let end = std::mem::replace(&mut longest.end, middle);
        Some(self.add(middle..end, now))
    }

    /// Gives out this very part.
    pub(super) fn add(&mut self, range: Range<u64>, now: Instant) -> PartId {
        let id = self.next;
        self.next += 1;
        let Range { start, end } = range;
        let part = Part {
            start,
            kept: start,
            at: start,
            end,
            began: now,
            first: None,
            last: now,
            is_held: true,
            samples: VecDeque::new(),
            dropped: Arc::default(),
        };
        self.active.insert(id, part);
        id
    }

    /// Returns what of a part is still to be received.
    pub(super) fn range(&self, id: PartId) -> Range<u64> {
        self.active.get(&id).map_or(0..0, |part| part.at..part.end)
    }

    /// Returns what is told once the part's connection is to be dropped.
    pub(super) fn dropped(&self, id: PartId) -> Arc<Notify> {
        self.active.get(&id).map(|part| part.dropped.clone()).unwrap_or_default()
    }

    /// Notes bytes that came for a part.
    pub(super) fn receive(&mut self, id: PartId, bytes: u64, now: Instant) {
        self.received += bytes;
        if let Some(part) = self.active.get_mut(&id) {
            part.at += bytes;
            part.first.get_or_insert(now);
            part.last = now;
        }
    }

    /// Notes that a part's connection asks the host now.
    pub(super) fn ask(&mut self, id: PartId, now: Instant) {
        self.hold(id, false, now);
        if let Some(part) = self.active.get_mut(&id) {
            part.began = now;
        }
    }

    /// Notes that a part's connection waits for something else than the host from now on, or no more.
    pub(super) fn hold(&mut self, id: PartId, is_held: bool, now: Instant) {
        if let Some(part) = self.active.get_mut(&id) {
            part.is_held = is_held;
            part.last = now;
        }
    }

    /// Notes that a part is written up to here.
    pub(super) fn keep(&mut self, id: PartId, kept: u64) {
        if let Some(part) = self.active.get_mut(&id) {
            part.kept = kept;
        }
    }

    /// Ends a part: what of it is not written can be given out again.
    pub(super) fn release(&mut self, id: PartId, now: Instant) {
        let Some(part) = self.active.remove(&id) else { return };
        if let Some(rate) = part.rate(now).filter(|_| part.at - part.start >= SMALLEST) {
            self.usual = Some(self.usual.map_or(rate, |usual| 0.7 * usual + 0.3 * rate));
        }
    }

    /// Returns all bytes that ever came.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Returns the bytes that came and are not written yet.
    pub(super) fn unwritten(&self) -> u64 {
        self.active.values().map(|part| part.at - part.kept).sum()
    }

    /// Returns how many connections have delivered something of their part.
    pub(super) fn delivering(&self) -> usize {
        self.active.values().filter(|part| part.first.is_some()).count()
    }

    /// Tells connections that stalled, or that are much slower than the others, to give up their part.
    /// `can_replace`: a fresh connection could go on with it.
    pub(super) fn watch(&mut self, speed: Speed, can_replace: bool, now: Instant) {
        for part in self.active.values_mut() {
            part.samples.push_back((now, part.at));
            let old = |sample: &(Instant, u64)| now.duration_since(sample.0) >= SLOW_FOR;
            while part.samples.get(1).is_some_and(old) {
                part.samples.pop_front();
            }
        }
        let mut rates: Vec<_> = self.active.values().filter_map(|part| part.recent(now)).collect();
        rates.sort_by(f64::total_cmp);
        let usual =
            if rates.len() > 2 { rates.get(rates.len() / 2).copied() } else { self.usual.or(speed.of_one()) };
        for part in self.active.values().filter(|part| !part.is_held) {
            let slow = usual.zip(part.recent(now)).is_some_and(|(usual, rate)| rate * SLOW < usual);
            if now.duration_since(part.last) >= STALL || (slow && can_replace) {
                part.dropped.notify_one();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    fn at(start: Instant, seconds: f64) -> Instant {
        start + Duration::from_secs_f64(seconds)
    }

    #[test]
    fn parts_shrink_towards_the_end_and_are_halved_after_it() {
        let (mut parts, start, mut written) = (Parts::default(), Instant::now(), Ranges::default());
        let speed = Speed { rate: 4e6, connections: 4 };
        let size = 100 * MIB;
        let first = parts.take(&written, size, speed, start).unwrap();
        assert_eq!(parts.range(first), 0..3_000_000, "three seconds' worth of one connection");
        let mut ids = vec![first];
        while parts.range(ids[ids.len() - 1]).end < size {
            ids.push(parts.take(&written, size, speed, start).unwrap());
        }
        let long = ids[0];
        for id in &ids[1..] {
            let range = parts.range(*id);
            written.insert(range);
            parts.release(*id, start);
        }
        parts.receive(long, 400_000, at(start, 0.1));
        // At four megabytes a second, what is left goes on for less than a second.
        assert_eq!(parts.take(&written, size, speed, at(start, 0.2)), None);
        let taken = parts.take(&written, size, speed, at(start, 2.1)).unwrap();
        assert_eq!((parts.range(long), parts.range(taken)), (400_000..1_700_000, 1_700_000..3_000_000));
    }

    #[test]
    fn a_part_whose_rate_nobody_knows_is_not_halved() {
        let (mut parts, start) = (Parts::default(), Instant::now());
        let speed = Speed { rate: 0.0, connections: 4 };
        parts.add(0..20 * MIB, start);
        assert_eq!(parts.take(&Ranges::default(), 20 * MIB, speed, at(start, 0.04)), None);
    }

    #[test]
    fn stalled_and_slow_connections_are_dropped() {
        use futures_util::FutureExt as _;
        let (mut parts, start) = (Parts::default(), Instant::now());
        let speed = Speed { rate: 4e6, connections: 4 };
        let ids: Vec<_> = (0..4).map(|n| parts.add(n * 100 * MIB..(n + 1) * 100 * MIB, start)).collect();
        for id in &ids {
            parts.ask(*id, start);
        }
        let told = |parts: &Parts| -> Vec<bool> {
            ids.iter().map(|id| parts.dropped(*id).notified().now_or_never().is_some()).collect()
        };
        for second in 0..=5_u32 {
            let now = at(start, f64::from(second));
            assert_eq!(told(&parts), [false; 4]);
            for (id, bytes) in ids.iter().zip([1_000_000, 1_000_000, 900_000, 100_000]) {
                parts.receive(*id, bytes, now);
            }
            parts.watch(speed, true, now);
        }
        assert_eq!(told(&parts), [false, false, false, true]);
        parts.watch(speed, false, at(start, 34.0));
        assert_eq!(told(&parts), [false; 4], "nobody can take its place");
        parts.hold(ids[0], true, at(start, 6.0));
        parts.watch(speed, false, at(start, 36.0));
        assert_eq!(told(&parts), [false, true, true, true], "one that waits for the disk is not stalled");
    }

    proptest! {
        // Whatever order connections come, break and end in, every byte is fetched and none is given
        // to two of them at a time.
        #[test]
        fn all_bytes_are_given_out_once(
            size in 0..64 * MIB,
            connections in 1..20_usize,
            rate in 0.0..1e9_f64,
            steps in proptest::collection::vec((0..20_usize, 0..8 * MIB, any::<bool>()), 0..60),
        ) {
            let (mut parts, mut written) = (Parts::default(), Ranges::default());
            let (start, speed) = (Instant::now(), Speed { rate, connections });
            let mut ids: Vec<PartId> = vec![];
            let ends = std::iter::repeat_n((0, u64::MAX, false), 10_000);
            let mut now = start;
            for (pick, bytes, breaks) in steps.into_iter().chain(ends) {
                now += Duration::from_millis(200);
                while ids.len() < connections {
                    let Some(id) = parts.take(&written, size, speed, now) else { break };
                    ids.push(id);
                }
                let mut ranges: Vec<_> = ids.iter().map(|id| parts.range(*id)).collect();
                ranges.sort_by_key(|range| range.start);
                prop_assert!(ranges.windows(2).all(|pair| pair[0].end <= pair[1].start), "{ranges:?}");
                let Some(id) = ids.get(pick % ids.len().max(1)).copied() else { break };
                let range = parts.range(id);
                let bytes = bytes.min(range.end - range.start);
                parts.receive(id, bytes, now);
                written.insert(range.start..range.start + bytes);
                parts.keep(id, range.start + bytes);
                if breaks || parts.range(id).is_empty() {
                    parts.release(id, now);
                    ids.retain(|other| *other != id);
                }
            }
            prop_assert_eq!(written.len(), size);
        }
    }
}
