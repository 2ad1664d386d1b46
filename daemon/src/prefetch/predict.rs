//! Which versions are likely to be asked for next: pure, without clock and disk.

use super::history::Request;
use proto::VersionId;

/// How likely a version is to be the next one asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Likely {
    /// The version.
    pub version: VersionId,
    /// From 0 to 1; those of all versions add up to 1 at most.
    pub probability: f64,
    /// Why, in a few words for people: "asked for 12 times today", "often follows `a`".
    pub why: String,
}

/// Ranks the versions that were ever asked for, the likeliest first, as of `now` (seconds since 1970).
/// `history` is in the order of time.
pub fn likely(history: &[Request], now: i64) -> Vec<Likely> {
    let _ = (history, now);
    Vec::new()
}
