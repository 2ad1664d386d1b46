//! Hugging Face: what its answers tell about a file, and what its refusals mean. Pure.

use super::listing::Listing;
use super::refusal::{Said, Verdict};
use crate::config::ModelHosts;
use crate::source::http::{Answer, Owner, number, text};
use proto::ErrorKind;
use reqwest::header::HeaderMap;
use url::Url;

/// Reads what the Hub tells beside its redirect to storage. Storage has an ETag of its own, which is no
/// checksum: only the Hub's answers count (`huggingface_hub`, `get_hf_file_metadata`).
pub(super) fn listing(hosts: &ModelHosts, answer: &Answer) -> Listing {
    let ours = |url: &Url| Owner::HuggingFace.owns(hosts, url);
    let hops = answer.hops.iter().map(|hop| (&hop.url, &hop.headers));
    let last = std::iter::once((&answer.url, answer.response.headers()));
    let told: Vec<&HeaderMap> = hops.chain(last).filter(|(url, _)| ours(url)).map(|(_, told)| told).collect();
    listed(&told)
}

fn listed(told: &[&HeaderMap]) -> Listing {
    let first = |name: &str| told.iter().find_map(|headers| text(headers, name));
    let etag = first("x-linked-etag").or_else(|| first("etag")).unwrap_or_default();
    // 64 hex digits are the SHA-256 of a file in LFS or Xet; 40 are git's checksum of a small file, which
    // is no checksum of the bytes alone.
    let etag = etag.trim_start_matches("W/").trim_matches('"');
    Listing {
        size: told.iter().find_map(|headers| number(headers, "x-linked-size")),
        sha256: Listing::sha256(etag),
        commit: first("x-repo-commit").map(str::to_owned),
    }
}

/// Says what a refusal of the Hub itself means; `None` where its status says it all.
///
/// `X-Error-Code` comes first, then `X-Error-Message` (`huggingface_hub`, `hf_raise_for_status`).
/// `page` is the repository's; `token` tells whether HF_TOKEN is set.
pub(super) fn refusal(said: &Said<'_>, page: &str, token: bool) -> Option<Verdict> {
    let (status, headers) = (said.status.as_u16(), said.headers);
    let message = text(headers, "x-error-message").unwrap_or_default();
    Some(match (text(headers, "x-error-code").unwrap_or_default(), status) {
        ("GatedRepo", _) if token => Verdict::new(
            ErrorKind::Access,
            "the repository is gated",
            format!("ask for access at {page} with the account of HF_TOKEN"),
        ),
        ("GatedRepo", _) => Verdict::new(
            ErrorKind::Access,
            "the repository is gated",
            format!("accept its conditions at {page} and set HF_TOKEN"),
        ),
        ("EntryNotFound", _) => Verdict::new(
            ErrorKind::NotFound,
            "the repository has no such file",
            format!("see the files at {page}"),
        ),
        ("RevisionNotFound", _) => {
            Verdict::new(ErrorKind::NotFound, "the repository has no such revision", format!("see {page}"))
        }
        (_, 401 | 403 | 404) if message.contains("resource is disabled") => Verdict::new(
            ErrorKind::NotFound,
            "the repository was taken down",
            format!("see {page}, and use another source"),
        ),
        (_, 401) if token && message.contains("Invalid credentials") => Verdict::new(
            ErrorKind::Access,
            "HF_TOKEN is not valid",
            "make a new token in the settings of its account",
        ),
        // Without a token the Hub does not tell a private repository from one that does not exist.
        ("RepoNotFound", _) | ("", 401) if token => Verdict::new(
            ErrorKind::NotFound,
            "the repository is missing or private",
            "check the link; if it is private, check that HF_TOKEN may read it",
        ),
        ("RepoNotFound", _) | ("", 401) => Verdict::new(
            ErrorKind::Access,
            "the repository is missing or private",
            "check the link; if it is private, set HF_TOKEN",
        ),
        (_, 401 | 403) => {
            let says = if message.is_empty() { "access is refused".to_owned() } else { said.quote(message) };
            let hint = if token { "check that HF_TOKEN may read it" } else { "set HF_TOKEN" };
            Verdict::new(ErrorKind::Access, says, hint)
        }
        (_, 429) if !token => {
            Verdict::new(ErrorKind::Network, "too many requests", "set HF_TOKEN: it raises the Hub's limit")
                .transient()
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::StatusCode;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        pairs.collect::<Vec<(reqwest::header::HeaderName, _)>>().into_iter().collect()
    }

    #[test]
    fn the_hubs_own_answers_tell_checksum_size_and_commit() {
        let (sha256, sha1) = ("5".repeat(64), "6".repeat(40));
        let lfs = headers(&[
            ("x-repo-commit", &sha1),
            ("x-linked-etag", &format!("\"{sha256}\"")),
            ("x-linked-size", "12"),
            ("etag", "\"other\""),
        ]);
        let expected = Listing { size: Some(12), sha256: Some(sha256), commit: Some(sha1.clone()) };
        assert_eq!(listed(&[&lfs]), expected);
        let redirect = headers(&[("x-repo-commit", &sha1)]);
        let cached = headers(&[("etag", &format!("W/\"{sha1}\"")), ("content-length", "3")]);
        let expected = Listing { commit: Some(sha1), ..Listing::default() };
        assert_eq!(listed(&[&redirect, &cached]), expected, "a small file: no checksum of its bytes");
        assert_eq!(listed(&[]), Listing::default());
    }

    #[test]
    fn refusals() {
        let gated = &[("x-error-code", "GatedRepo")][..];
        let disabled = &[("x-error-message", "Access to this resource is disabled.")][..];
        let bad_token = &[("x-error-message", "Invalid credentials in Authorization header")][..];
        let missing = &[("x-error-code", "RepoNotFound")][..];
        let table = [
            (
                401,
                gated,
                false,
                ErrorKind::Access,
                "accept its conditions at https://hub/o/r and set HF_TOKEN",
            ),
            (403, gated, true, ErrorKind::Access, "ask for access at https://hub/o/r"),
            (404, &[("x-error-code", "EntryNotFound")], false, ErrorKind::NotFound, "see the files"),
            (404, &[("x-error-code", "RevisionNotFound")], false, ErrorKind::NotFound, "https://hub/o/r"),
            (404, missing, true, ErrorKind::NotFound, "HF_TOKEN may read it"),
            (401, missing, false, ErrorKind::Access, "if it is private, set HF_TOKEN"),
            (401, &[], false, ErrorKind::Access, "if it is private, set HF_TOKEN"),
            (401, &[], true, ErrorKind::NotFound, "HF_TOKEN may read it"),
            (403, disabled, true, ErrorKind::NotFound, "another source"),
            (401, bad_token, true, ErrorKind::Access, "make a new token"),
            (403, &[("x-error-message", "no")], true, ErrorKind::Access, "HF_TOKEN may read it"),
            (429, &[], false, ErrorKind::Network, "set HF_TOKEN"),
        ];
        for (status, pairs, token, kind, hint) in table {
            let headers = headers(pairs);
            let said = Said::new(StatusCode::from_u16(status).unwrap(), &headers, b"");
            let verdict = refusal(&said, "https://hub/o/r", token).unwrap();
            let told = verdict.hint.unwrap_or_default();
            assert!(verdict.kind == kind && told.contains(hint), "{status} {pairs:?}: {told}");
            assert_eq!(verdict.transient, status == 429);
        }
        let none = headers(&[]);
        assert!(refusal(&Said::new(StatusCode::BAD_GATEWAY, &none, b""), "p", true).is_none());
    }
}
