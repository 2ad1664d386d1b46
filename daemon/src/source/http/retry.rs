//! When to try again.

use crate::ctx::Ctx;
use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use std::time::Duration;

/// Attempts that may fail in a row, without getting further, before giving up.
const ATTEMPTS: usize = 5;

/// The longest pause that a host may ask for. Hugging Face counts in windows of five minutes, and asks
/// for a second more.
const LONGEST_PAUSE: Duration = Duration::from_secs(301);

/// Whether the same attempt may succeed later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// It will not.
    Never,
    /// After some pause.
    Later,
    /// After the pause that the host asks for.
    After(Duration),
}

impl Again {
    /// Returns the pause that the host asks for.
    pub fn asked(self) -> Option<Duration> {
        if let Self::After(pause) = self { Some(pause) } else { None }
    }
}

/// What waiting for the next attempt came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    /// The attempt may be made.
    Again,
    /// There is to be none.
    Over,
    /// Nobody wants it any more.
    Cancelled,
}

/// Counts attempts and says how long to pause before the next.
#[derive(Debug)]
pub struct Retries {
    failed: usize,
    pauses: ExponentialBackoff,
}

impl Default for Retries {
    fn default() -> Self {
        Self { failed: 0, pauses: pauses() }
    }
}

/// 0.3 s, 0.9 s, 2.7 s, 8 s, each with up to as much again.
fn pauses() -> ExponentialBackoff {
    let pauses = ExponentialBuilder::default().with_min_delay(Duration::from_millis(300)).with_factor(3.0);
    pauses.with_max_delay(Duration::from_secs(8)).with_max_times(ATTEMPTS - 1).with_jitter().build()
}

impl Retries {
    /// Notes a failure. Returns the pause before the next attempt, `None` when it was the last one.
    /// `asked` is the pause that the host asks for.
    pub fn next(&mut self, asked: Option<Duration>) -> Option<Duration> {
        self.failed += 1;
        let own = self.pauses.next()?;
        Some(asked.map_or(own, |asked| asked.min(LONGEST_PAUSE)))
    }

    /// Notes a failure, tells people `why` there is another attempt, and waits until it is due. Cancel-safe.
    pub async fn wait(&mut self, ctx: &Ctx, again: Again, why: &str) -> Waited {
        if again == Again::Never {
            return Waited::Over;
        }
        let Some(pause) = self.next(again.asked()) else { return Waited::Over };
        ctx.progress.note(self.sentence(pause, why));
        tokio::select! {
            () = ctx.cancel.cancelled() => Waited::Cancelled,
            () = tokio::time::sleep(pause) => Waited::Again,
        }
    }

    /// Forgets the failures: there was progress since.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Returns the sentence for people that announces the next attempt.
    pub fn sentence(&self, pause: Duration, why: &str) -> String {
        let (attempt, seconds) = (self.failed + 1, pause.as_secs_f32());
        format!("attempt {attempt} of {ATTEMPTS} in {seconds:.1} s: {why}")
    }
}

/// Returns the pause that a refusal asks for: `Retry-After` in seconds or as a date, which the host's own
/// clock is held against; at 429 also Hugging Face's `RateLimit: "resolvers";r=0;t=<seconds to reset>`,
/// which stands in its other answers too and means nothing there.
pub fn retry_after(status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
    if let Some(after) = super::text(headers, "retry-after") {
        let until = || Some(date(after)?.duration_since(date(super::text(headers, "date")?)?));
        let seconds = after.parse().ok().map(Duration::from_secs);
        return seconds.or_else(|| Some(until()?.try_into().unwrap_or_default()));
    }
    let limit = super::text(headers, "ratelimit").filter(|_| status == StatusCode::TOO_MANY_REQUESTS)?;
    let seconds: u64 = limit.split(';').find_map(|part| part.trim().strip_prefix("t="))?.parse().ok()?;
    Some(Duration::from_secs(seconds.saturating_add(1)))
}

/// Reads a date of HTTP's preferred form, `Wed, 21 Oct 2015 07:28:00 GMT`.
pub fn date(text: &str) -> Option<jiff::Timestamp> {
    Some(jiff::fmt::rfc2822::parse(text).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end_and_progress_begins_anew() {
        let mut retries = Retries::default();
        let pauses: Vec<_> = std::iter::from_fn(|| retries.next(None)).collect();
        assert_eq!(pauses.len(), ATTEMPTS - 1);
        assert!(pauses.windows(2).all(|pair| pair[0] < pair[1]), "{pauses:?}");
        retries.reset();
        assert!(retries.next(None).is_some());
    }

    #[test]
    fn a_host_may_ask_for_a_pause_within_bounds() {
        let mut retries = Retries::default();
        assert_eq!(retries.next(Some(Duration::ZERO)), Some(Duration::ZERO));
        assert_eq!(retries.next(Some(Duration::from_secs(9999))), Some(LONGEST_PAUSE));
    }

    #[test]
    fn pauses_are_read_from_answers() {
        let of = |status: u16, pairs: &[(&'static str, &'static str)]| {
            let pairs = pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            retry_after(StatusCode::from_u16(status).unwrap(), &pairs.collect()).map(|pause| pause.as_secs())
        };
        let (date, later) = ("Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 2015 07:28:09 GMT");
        assert_eq!(of(503, &[("retry-after", "7")]), Some(7));
        assert_eq!(of(503, &[("retry-after", later), ("date", date)]), Some(9));
        assert_eq!(of(503, &[("retry-after", date), ("date", later)]), Some(0), "the date has passed");
        assert_eq!(of(503, &[("retry-after", later)]), None, "whose clock?");
        assert_eq!(of(503, &[("retry-after", "soon")]), None);
        assert_eq!(of(429, &[("ratelimit", "\"resolvers\";r=0;t=12")]), Some(13));
        assert_eq!(
            of(503, &[("ratelimit", "\"resolvers\";r=2900;t=280")]),
            None,
            "its quota is not the matter"
        );
    }
}
