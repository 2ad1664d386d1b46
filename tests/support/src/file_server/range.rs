//! Which bytes a `Range` header asks for: RFC 9110, 14.1.2.

use std::ops::Range;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    /// The file.
    Whole,
    /// A part of it, at least one byte.
    Part(Range<u64>),
    /// Bytes that it does not have.
    Outside,
}

/// Reads a header for a file of `len` bytes. One that makes no sense, or asks for several parts, is passed
/// over.
pub(crate) fn asked(range: Option<&str>, len: u64) -> Asked {
    let bounds = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let Some((first, last)) = bounds else { return Asked::Whole };
    let part = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) => first..last.saturating_add(1).min(len),
        (Ok(first), Err(_)) if last.is_empty() => first..len,
        (Err(_), Ok(count)) if first.is_empty() => len.saturating_sub(count)..len,
        _ => return Asked::Whole,
    };
    if part.is_empty() { Asked::Outside } else { Asked::Part(part) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let table = [
            (None, Asked::Whole),
            (Some("bytes=0-"), Asked::Part(0..10)),
            (Some("bytes=2-4"), Asked::Part(2..5)),
            (Some("bytes=2-99"), Asked::Part(2..10)),
            (Some("bytes=-3"), Asked::Part(7..10)),
            (Some("bytes=10-"), Asked::Outside),
            (Some("bytes=1-2,4-5"), Asked::Whole),
            (Some("lines=1-2"), Asked::Whole),
        ];
        for (range, expected) in table {
            assert_eq!(asked(range, 10), expected, "{range:?}");
        }
    }
}
