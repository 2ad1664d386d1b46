//! Links that were signed by whoever wrote them into the spec. Pure.
//!
//! Such a link cannot be renewed here, so the only remedy is a fresh one. Signatures differ in where they
//! say how long they are good for: S3 and Google Cloud Storage in a date and a number of seconds, CloudFront,
//! Alibaba's store and the old forms of the former two in `Expires` (seconds since 1970), Azure in `se`.

use super::refusal::{Said, Verdict};
use crate::source::http::{date, text};
use jiff::Timestamp;
use proto::ErrorKind;
use url::Url;

const FRESH: &str = "put a fresh link into the spec; what has arrived is kept";

/// Says what a refusal means for a link with a signature; `None` for one without.
pub(super) fn refusal(said: &Said<'_>, link: &Url) -> Option<Verdict> {
    let is_signed = proto::source::strip_secrets(link) != *link;
    // S3 answers 400 to a signature whose session has ended.
    if !is_signed || !matches!(said.status.as_u16(), 400 | 401 | 403 | 410) {
        return None;
    }
    let now = text(said.headers, "date").and_then(date);
    let expired = now.zip(expiry(link)).is_some_and(|(now, expiry)| expiry <= now) || says_expired(said);
    let says = if expired {
        "the signed link has expired"
    } else {
        "the host refuses the signed link; it may have expired"
    };
    Some(Verdict::new(ErrorKind::Access, says, FRESH))
}

fn says_expired(said: &Said<'_>) -> bool {
    let code = said.element("Code").unwrap_or_default();
    let body = String::from_utf8_lossy(said.body).to_ascii_lowercase();
    matches!(code, "ExpiredToken" | "ExpiredRequest") || body.contains("expired")
}

/// Returns when the link's signature ends, where it says so.
fn expiry(link: &Url) -> Option<Timestamp> {
    let value = |name: &str| {
        let mut pairs = link.query_pairs();
        pairs.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.into_owned())
    };
    let from = value("X-Amz-Date").or_else(|| value("X-Goog-Date"));
    let seconds = value("X-Amz-Expires").or_else(|| value("X-Goog-Expires"));
    if let (Some(from), Some(seconds)) = (from, seconds) {
        let from = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", from).ok()?;
        let from = from.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
        return from.checked_add(jiff::SignedDuration::from_secs(seconds.parse().ok()?)).ok();
    }
    let unix = |text: String| Timestamp::from_second(text.parse().ok()?).ok();
    value("Expires").and_then(unix).or_else(|| value("se")?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::StatusCode;
    use reqwest::header::HeaderMap;

    #[test]
    fn an_expired_link_is_told_from_a_refused_one() {
        let says = |link: &str, status: u16, body: &str| {
            let headers = [("date".parse().unwrap(), "Sun, 01 Mar 2026 12:00:00 GMT".parse().unwrap())];
            let headers = HeaderMap::from_iter(headers);
            let said = Said::new(StatusCode::from_u16(status).unwrap(), &headers, body.as_bytes());
            let link = Url::parse(&format!("https://h/x?{link}")).unwrap();
            refusal(&said, &link).map(|verdict| verdict.says.contains("has expired"))
        };
        let s3 = "X-Amz-Signature=s&X-Amz-Expires=3600&X-Amz-Date=";
        let denied = "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>";
        let table = [
            (format!("{s3}20260301T100000Z"), 403, "", Some(true)),
            (format!("{s3}20260301T113000Z"), 403, "", Some(false)),
            (format!("{s3}20260301T113000Z"), 403, denied, Some(true)),
            (format!("{s3}20260301T113000Z"), 400, "<Error><Code>ExpiredToken</Code>", Some(true)),
            (format!("{s3}20260301T113000Z"), 403, "<Error><Code>AccessDenied</Code>", Some(false)),
            (format!("{s3}nonsense"), 403, "", Some(false)),
            ("X-Goog-Signature=s&X-Goog-Expires=60&X-Goog-Date=20260301T115900Z".into(), 403, "", Some(true)),
            ("Signature=s&Key-Pair-Id=K&Expires=1000".into(), 403, "", Some(true)),
            ("Signature=s&Key-Pair-Id=K&Expires=9999999999".into(), 403, "", Some(false)),
            ("sig=s&se=2026-03-01T11:00:00Z".into(), 403, "", Some(true)),
            ("Authorization=s".into(), 401, r#"{"code":"expired_auth_token"}"#, Some(true)),
            ("token=s".into(), 404, "", None),
            ("v=1".into(), 403, denied, None),
        ];
        for (link, status, body, expected) in table {
            assert_eq!(says(&link, status, body), expected, "{link} {status} {body}");
        }
    }
}
