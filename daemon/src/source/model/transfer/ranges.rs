//! A set of byte ranges: which bytes of a file are there. Pure.

use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Byte ranges in ascending order; no two of them touch, none is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<(u64, u64)>", into = "Vec<(u64, u64)>")]
pub(super) struct Ranges(Vec<Range<u64>>);

impl Ranges {
    /// Adds a range; what it touches or overlaps becomes one with it.
    pub(super) fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let first = self.0.partition_point(|have| have.end < range.start);
        let behind = self.0.partition_point(|have| have.start <= range.end);
        let touched = &self.0[first..behind];
        let start = touched.first().map_or(range.start, |have| have.start.min(range.start));
        let end = touched.last().map_or(range.end, |have| have.end.max(range.end));
        self.0.splice(first..behind, std::iter::once(start..end));
    }

    /// Returns how many bytes there are.
    pub(super) fn len(&self) -> u64 {
        self.0.iter().map(|range| range.end - range.start).sum()
    }

    /// Returns what is missing below `size`, lowest first.
    pub(super) fn gaps(&self, size: u64) -> impl Iterator<Item = Range<u64>> {
        let starts = std::iter::once(0).chain(self.0.iter().map(|range| range.end));
        let ends = self.0.iter().map(|range| range.start).chain([size]);
        starts.zip(ends).map(move |(start, end)| start..end.min(size)).filter(|gap| !gap.is_empty())
    }

    /// Returns where the last range ends.
    pub(super) fn end(&self) -> u64 {
        self.0.last().map_or(0, |range| range.end)
    }
}

/// Ranges from a file are taken only if they are a set: anything else was not written by us.
impl TryFrom<Vec<(u64, u64)>> for Ranges {
    type Error = &'static str;

    fn try_from(pairs: Vec<(u64, u64)>) -> Result<Self, Self::Error> {
        let ascending = pairs.windows(2).all(|pair| pair[0].1 < pair[1].0);
        if !ascending || pairs.iter().any(|(start, end)| start >= end) {
            return Err("the ranges are not in order");
        }
        Ok(Self(pairs.into_iter().map(|(start, end)| start..end).collect()))
    }
}

impl From<Ranges> for Vec<(u64, u64)> {
    fn from(ranges: Ranges) -> Self {
        ranges.0.into_iter().map(|range| (range.start, range.end)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SIZE: u64 = 64;

    fn ranges() -> impl Strategy<Value = Vec<Range<u64>>> {
        proptest::collection::vec((0..SIZE, 0..16_u64).prop_map(|(start, len)| start..start + len), 0..20)
    }

    proptest! {
        #[test]
        fn it_is_the_set_of_bytes_that_were_added(added in ranges()) {
            let mut set = Ranges::default();
            let mut model = std::collections::BTreeSet::new();
            for range in added {
                set.insert(range.clone());
                model.extend(range);
            }
            prop_assert_eq!(set.len(), model.len() as u64);
            prop_assert_eq!(set.end(), model.last().map_or(0, |last| last + 1));
            let missing: Vec<u64> = set.gaps(SIZE).flatten().collect();
            let expected: Vec<u64> = (0..SIZE).filter(|byte| !model.contains(byte)).collect();
            prop_assert_eq!(missing, expected);
            let text = serde_json::to_string(&set).unwrap();
            prop_assert_eq!(serde_json::from_str::<Ranges>(&text).unwrap(), set);
        }
    }

    #[test]
    fn what_is_no_set_is_not_read() {
        for text in ["[[3,2]]", "[[1,1]]", "[[0,4],[4,6]]", "[[5,9],[0,2]]", "[[-1,2]]"] {
            assert!(serde_json::from_str::<Ranges>(text).is_err(), "{text}");
        }
    }
}
