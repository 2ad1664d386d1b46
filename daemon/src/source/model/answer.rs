//! What a host's answer means.

use super::error::{Again, ModelError, shown};
use super::link::hub_page;
use crate::config::ModelHosts;
use crate::source::http::{Answer, number, retry_after};
use proto::ErrorKind;
use proto::source::{Location, ModelSource};
use reqwest::StatusCode;
use reqwest::header::{CACHE_CONTROL, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap};

/// An answer that carries the file or a part of it.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) response: reqwest::Response,
    /// Offset of the body's first byte in the file.
    pub(super) start: u64,
    /// Size of the whole file, where the host tells.
    pub(super) total: Option<u64>,
    /// Strong ETag: a later part with the same one belongs to the same file.
    pub(super) etag: Option<String>,
}

/// The most that is read of a refusal's body, in bytes.
const SAYS_LIMIT: usize = 16 << 10;

/// Accepts 200 and a well-formed 206; turns everything else into an error that says what to do.
pub(super) async fn accept(
    source: &ModelSource,
    hosts: &ModelHosts,
    answer: Answer,
) -> Result<Accepted, ModelError> {
    let Answer { response, linked_size } = answer;
    let headers = response.headers();
    let etag = headers.get(ETAG).and_then(|etag| etag.to_str().ok());
    let etag = etag.filter(|etag| !etag.starts_with("W/")).map(str::to_owned);
    let (start, total) = match response.status() {
        StatusCode::OK => (0, number(headers, "content-length")),
        StatusCode::PARTIAL_CONTENT => match content_range(headers) {
            Some(range) => range,
            None => {
                return Err(ModelError::not_a_model(
                    source,
                    "the host sent a part without saying which".to_owned(),
                ));
            }
        },
        _ => return Err(refused(source, hosts, response).await),
    };
    refuse_pages(source, headers)?;
    if let (Some(total), Some(linked)) = (total, linked_size)
        && total != linked
    {
        return Err(ModelError::not_a_model(
            source,
            format!("it has {total} bytes, the repository lists {linked}"),
        ));
    }
    Ok(Accepted { start, total: total.or(linked_size), etag, response })
}

/// Parses `bytes <start>-<end>/<total>`.
fn content_range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let range = headers.get(CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?;
    let (range, total) = range.split_once('/')?;
    let start = range.split_once('-')?.0.parse().ok()?;
    Some((start, total.parse().ok()))
}

/// A host that has no file often says so on a page with status 200.
fn refuse_pages(source: &ModelSource, headers: &HeaderMap) -> Result<(), ModelError> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let content_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let extension = match content_type.as_str() {
        "text/html" => ".html",
        "application/json" => ".json",
        _ => return Ok(()),
    };
    if source.file_name().is_some_and(|name| name.to_ascii_lowercase().ends_with(extension)) {
        return Ok(());
    }
    Err(ModelError::not_a_model(source, format!("the host sent `{content_type}`")))
}

async fn refused(source: &ModelSource, hosts: &ModelHosts, mut response: reqwest::Response) -> ModelError {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() >= SAYS_LIMIT {
            break;
        }
    }
    let (status, headers) = (response.status(), response.headers());
    let verdict = match source.location() {
        Location::HuggingFace { repo_type, repo, .. } => {
            let page = hub_page(hosts, repo_type, repo);
            hugging_face(status, headers, &page, hosts.hf_token.is_some())
        }
        Location::Civitai { .. } => civitai(status, headers, &body, hosts.civitai_token.is_some()),
        Location::Http(_) | Location::File(_) => None,
    };
    let Verdict { says, kind, hint, transient } = verdict.unwrap_or_else(|| plain(status));
    let again = match retry_after(headers) {
        _ if !transient => Again::Never,
        Some(pause) => Again::After(pause),
        None => Again::Later,
    };
    ModelError::Refused { link: shown(source), status: status.as_u16(), says, kind, hint, again }
}

#[derive(Debug)]
struct Verdict {
    says: String,
    kind: ErrorKind,
    hint: Option<String>,
    transient: bool,
}

fn verdict(kind: ErrorKind, says: impl Into<String>, hint: impl Into<String>) -> Verdict {
    Verdict { says: says.into(), kind, hint: Some(hint.into()), transient: false }
}

/// What a status means where the host is not known.
fn plain(status: StatusCode) -> Verdict {
    let says = status.canonical_reason().unwrap_or("unknown status").to_owned();
    match status.as_u16() {
        401 | 403 => {
            verdict(ErrorKind::Access, says, "a signed link may have expired: put a fresh one into the spec")
        }
        404 | 410 => verdict(ErrorKind::NotFound, says, "check the link"),
        // Those that huggingface_hub retries as well.
        408 | 429 | 500 | 502 | 503 | 504 => {
            Verdict { says, kind: ErrorKind::Network, hint: None, transient: true }
        }
        _ => Verdict { says, kind: ErrorKind::Network, hint: None, transient: false },
    }
}

/// `X-Error-Code` and `X-Error-Message`: huggingface_hub, utils/_http.py, `hf_raise_for_status`.
fn hugging_face(status: StatusCode, headers: &HeaderMap, page: &str, token: bool) -> Option<Verdict> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let token_hint = if token { "check that HF_TOKEN may read it" } else { "for a private one set HF_TOKEN" };
    let found = match (text("x-error-code"), status.as_u16()) {
        ("GatedRepo", _) => {
            let then = if token { "with the account of HF_TOKEN" } else { "and set HF_TOKEN" };
            let hint = format!("accept its conditions at {page} {then}");
            verdict(ErrorKind::Access, "the repository is gated", hint)
        }
        ("EntryNotFound", _) => verdict(
            ErrorKind::NotFound,
            "the repository has no such file",
            format!("see the files at {page}"),
        ),
        ("RevisionNotFound", _) => {
            verdict(ErrorKind::NotFound, "the repository has no such revision", format!("see {page}"))
        }
        ("RepoNotFound", _) | ("", 401) => verdict(
            ErrorKind::NotFound,
            "the repository is missing or private",
            format!("check the link; {token_hint}"),
        ),
        (_, 401 | 403) => {
            let says = Some(text("x-error-message")).filter(|says| !says.is_empty());
            verdict(ErrorKind::Access, says.unwrap_or("access is refused"), token_hint)
        }
        _ => return None,
    };
    Some(found)
}

/// Answers of Civitai's download handler, `api/download/models/[modelVersionId].ts`.
fn civitai(status: StatusCode, headers: &HeaderMap, body: &[u8], token: bool) -> Option<Verdict> {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let field = |name: &str| body.get(name).and_then(serde_json::Value::as_str).unwrap_or_default();
    let says = [field("message"), field("error")].into_iter().find(|text| !text.is_empty());
    let says: String = says.unwrap_or("no reason given").chars().take(300).collect();
    let found = match status.as_u16() {
        401 if token => {
            verdict(ErrorKind::Access, says, "check that CIVITAI_TOKEN is valid and may download it")
        }
        401 => verdict(ErrorKind::Access, says, "set CIVITAI_TOKEN"),
        403 if field("error") == "Early Access" => {
            verdict(ErrorKind::Access, says, "buy early access, or wait until it ends")
        }
        403 => verdict(ErrorKind::Access, says, "check that CIVITAI_TOKEN may download it"),
        // Storage that did not answer looks like a missing model, but for this header.
        404 if headers.get(CACHE_CONTROL).is_some_and(|value| value.as_bytes().ends_with(b"no-store")) => {
            Verdict { says, kind: ErrorKind::Network, hint: None, transient: true }
        }
        404 | 410 => verdict(
            ErrorKind::NotFound,
            says,
            "check the version id; with `type`, `format` or `fp` in the link use the exact `fileId` instead",
        ),
        _ => return None,
    };
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn content_ranges() {
        let range = |text: &'static str| content_range(&headers(&[("content-range", text)]));
        assert_eq!(range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(range("bytes 0-0/*"), Some((0, None)));
        for bad in ["bytes */10", "5-9/10", "bytes x-9/10", ""] {
            assert_eq!(range(bad), None, "{bad}");
        }
    }

    #[test]
    fn hugging_face_says_what_to_do() {
        let of = |status: u16, code: &'static str, token| {
            let status = StatusCode::from_u16(status).unwrap();
            hugging_face(status, &headers(&[("x-error-code", code)]), "https://hub/o/r", token)
        };
        let gated = of(403, "GatedRepo", true).unwrap();
        assert_eq!(gated.kind, ErrorKind::Access);
        assert!(gated.hint.unwrap().contains("https://hub/o/r"));
        assert_eq!(of(404, "EntryNotFound", false).unwrap().kind, ErrorKind::NotFound);
        assert!(of(401, "", false).unwrap().hint.unwrap().contains("HF_TOKEN"));
        assert!(of(503, "", false).is_none());
    }

    #[test]
    fn civitai_says_what_to_do() {
        let of = |status: u16, pairs: &[(&'static str, &'static str)], body: &str| {
            let status = StatusCode::from_u16(status).unwrap();
            civitai(status, &headers(pairs), body.as_bytes(), false).unwrap()
        };
        let login = of(401, &[], r#"{"error":"Unauthorized","message":"you have to be logged in"}"#);
        assert_eq!(
            (login.says.as_str(), login.hint.as_deref()),
            ("you have to be logged in", Some("set CIVITAI_TOKEN"))
        );
        assert!(of(404, &[("cache-control", "private, no-store")], "{}").transient);
        assert!(!of(404, &[], "not json").transient);
        assert_eq!(of(410, &[], r#"{"error":"Model archived"}"#).kind, ErrorKind::NotFound);
    }
}
