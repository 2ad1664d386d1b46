//! Which file an answer carries, and which part of it. Pure, but for handing the body on.

use super::listing::Listing;
use crate::source::http::{Part, number, text};
use crate::source::model::error::ModelError;
use crate::source::model::remote::{BodyError, Identity, Opened, WHOLE};
use futures_util::TryStreamExt as _;
use proto::source::ModelSource;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use std::ops::Range;

/// Returns what to ask for, to get a part: nothing special, to get the whole.
pub(super) fn asked<'a>(part: &Range<u64>, if_range: Option<&'a str>) -> Option<Part<'a>> {
    let to = (part.end != u64::MAX).then(|| part.end.saturating_sub(1));
    (*part != WHOLE).then_some(Part { from: part.start, to, if_range })
}

/// Accepts a 200, which is the whole file, and a 206 of exactly the part that was asked for.
///
/// `listing` is what the host told about the file before it sent it.
pub(super) fn accept(
    source: &ModelSource,
    listing: &Listing,
    part: &Range<u64>,
    response: reqwest::Response,
) -> Result<Opened, ModelError> {
    let headers = response.headers();
    refuse_other_content(source, headers)?;
    let is_part = response.status() == StatusCode::PARTIAL_CONTENT;
    let (start, total) = if is_part {
        let sent = text(headers, "content-range").unwrap_or_default();
        match content_range(sent) {
            Some(range) if range.answers(part, listing.size) => (range.first, range.total),
            _ => return Err(wrong_part(source, part, sent)),
        }
    } else {
        (0, number(headers, "content-length"))
    };
    if let (Some(total), Some(listed)) = (total, listing.size)
        && total != listed
    {
        return Err(not_a_model(source, format!("it has {total} bytes, the repository lists {listed}")));
    }
    let identity = Identity {
        size: total.or(listing.size),
        validator: validator(headers),
        sha256: listing.sha256.clone(),
        commit: listing.commit.clone(),
    };
    let body = response.bytes_stream().map_err(|error| BodyError::from(error.without_url()));
    Ok(Opened { start, is_part, identity, body: Box::pin(body) })
}

/// Returns what `If-Range` takes: a strong ETag, else the date of the last change.
fn validator(headers: &HeaderMap) -> Option<String> {
    let etag = text(headers, "etag").filter(|etag| !etag.starts_with("W/"));
    etag.or(text(headers, "last-modified")).map(str::to_owned)
}

/// `Content-Range: bytes <first>-<last>/<total>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ContentRange {
    first: u64,
    last: u64,
    total: Option<u64>,
}

fn content_range(text: &str) -> Option<ContentRange> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let total = (total != "*").then(|| total.parse().ok());
    Some(ContentRange { first: first.parse().ok()?, last: last.parse().ok()?, total: total.flatten() })
}

impl ContentRange {
    /// Returns whether this is the part that was asked for: all of it, or up to the file's end.
    fn answers(self, part: &Range<u64>, size: Option<u64>) -> bool {
        let end = self.total.or(size).map_or(part.end, |size| size.min(part.end));
        self.first == part.start && self.last.checked_add(1) == Some(end)
    }
}

/// A host that has no file often says so on a page with status 200. A compressed body is not the file:
/// neither its length nor its parts are those of the file.
fn refuse_other_content(source: &ModelSource, headers: &HeaderMap) -> Result<(), ModelError> {
    let encoding =
        text(headers, "content-encoding").filter(|encoding| !encoding.eq_ignore_ascii_case("identity"));
    if let Some(encoding) = encoding {
        return Err(not_a_model(source, format!("the host sent it compressed (`{encoding}`), unasked")));
    }
    let content_type = text(headers, "content-type").unwrap_or_default();
    let content_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let extension = match content_type.as_str() {
        "text/html" => ".html",
        "application/json" => ".json",
        _ => return Ok(()),
    };
    if source.file_name().is_some_and(|name| name.to_ascii_lowercase().ends_with(extension)) {
        return Ok(());
    }
    Err(not_a_model(source, format!("the host sent `{content_type}`")))
}

fn wrong_part(source: &ModelSource, part: &Range<u64>, sent: &str) -> ModelError {
    let last = part.end.checked_sub(1).filter(|_| part.end != u64::MAX);
    let asked = format!("{}-{}", part.start, last.map(|last| last.to_string()).unwrap_or_default());
    ModelError::WrongPart { link: link(source), asked, sent: sent.chars().take(80).collect() }
}

pub(in super::super) fn not_a_model(source: &ModelSource, reason: String) -> ModelError {
    ModelError::NotAModel { link: link(source), reason }
}

/// Returns the link as errors show it: without any query.
pub(in super::super) fn link(source: &ModelSource) -> String {
    let link = source.to_string();
    link.split('?').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges() {
        let range = |first, last, total| Some(ContentRange { first, last, total });
        let table = [
            ("bytes 5-9/10", range(5, 9, Some(10))),
            ("bytes 0-0/*", range(0, 0, None)),
            ("bytes */10", None),
            ("5-9/10", None),
            ("bytes x-9/10", None),
            ("bytes 5-/10", None),
            ("", None),
        ];
        for (text, expected) in table {
            assert_eq!(content_range(text), expected, "{text}");
        }
    }

    #[test]
    fn only_the_very_part_that_was_asked_for_counts() {
        let table = [
            ("bytes 0-15/100", 0..16, None, true),
            ("bytes 0-15/100", 0..15, None, false),
            ("bytes 0-15/100", 0..17, None, false),
            ("bytes 1-15/100", 0..16, None, false),
            ("bytes 90-99/100", 90..200, None, true),
            ("bytes 90-98/100", 90..200, None, false),
            ("bytes 90-99/100", 90..u64::MAX, None, true),
            ("bytes 0-15/*", 0..16, None, true),
            ("bytes 0-9/*", 0..16, None, false),
            ("bytes 0-9/*", 0..16, Some(10), true),
            ("bytes 0-18446744073709551615/*", 0..u64::MAX, None, false),
        ];
        for (text, part, size, accepted) in table {
            let range = content_range(text).unwrap();
            assert_eq!(range.answers(&part, size), accepted, "{text} for {part:?}");
        }
    }

    #[test]
    fn the_whole_is_asked_for_without_a_range() {
        let range = |part: Range<u64>| asked(&part, None).map(|part| (part.from, part.to));
        assert_eq!(range(WHOLE), None);
        assert_eq!(range(0..1), Some((0, Some(0))));
        assert_eq!(range(5..u64::MAX), Some((5, None)));
    }

    #[test]
    fn a_weak_etag_tells_no_bytes_apart() {
        let of = |pairs: &[(&'static str, &'static str)]| {
            validator(&pairs.iter().map(|(k, v)| (k.parse().unwrap(), v.parse().unwrap())).collect())
        };
        let date = ("last-modified", "Wed, 21 Oct 2015 07:28:00 GMT");
        assert_eq!(of(&[("etag", "\"x\""), date]).as_deref(), Some("\"x\""));
        assert_eq!(of(&[("etag", "W/\"x\""), date]).as_deref(), Some(date.1));
        assert_eq!(of(&[("etag", "W/\"x\"")]), None);
    }
}
