//! What a refusal means, and what to do about it.
//!
//! Hugging Face and Civitai say why in ways of their own, while it is they who answer. The storage that
//! they redirect to, and every other host, is known by status and by the XML that S3 and its kin send.

use super::address::Site;
use super::answer::{link, not_a_model};
use super::{bucket, civitai, hub, signed as signed_link};
use crate::config::ModelHosts;
use crate::source::http::{Again, Answer, Owner, retry_after, text};
use crate::source::model::error::ModelError;
use proto::ErrorKind;
use proto::source::ModelSource;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use std::time::Duration;
use url::Url;

/// The most that is read of a refusal's body, in bytes.
const BODY_LIMIT: usize = 16 << 10;

/// The most that is told of what a host says, in characters.
const QUOTE_LIMIT: usize = 300;

/// What a refusal means.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) says: String,
    pub(super) kind: ErrorKind,
    pub(super) hint: Option<String>,
    /// Whether the same request may succeed later.
    pub(super) transient: bool,
    /// The pause before the next one, where the host does not ask for one and a short one is in vain.
    pub(super) pause: Option<Duration>,
}

impl Verdict {
    pub(super) fn new(kind: ErrorKind, says: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { says: says.into(), kind, hint: Some(hint.into()), transient: false, pause: None }
    }

    pub(super) fn transient(self) -> Self {
        Self { transient: true, ..self }
    }
}

/// A refusal as it came.
#[derive(Debug)]
pub(super) struct Said<'a> {
    pub(super) status: StatusCode,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a [u8],
    /// What must not be told, even if the host repeats it.
    secrets: Vec<String>,
}

impl<'a> Said<'a> {
    pub(super) fn new(status: StatusCode, headers: &'a HeaderMap, body: &'a [u8]) -> Self {
        Self { status, headers, body, secrets: Vec::new() }
    }

    /// Adds tokens, and all that stands in the queries of addresses that lead to the refusal.
    fn keeping<'u>(mut self, hosts: &ModelHosts, urls: impl IntoIterator<Item = &'u Url>) -> Self {
        self.secrets.extend(hosts.secrets().map(str::to_owned));
        let queries = urls.into_iter().filter_map(Url::query).flat_map(|query| query.split('&'));
        let values = queries.filter_map(|pair| pair.split_once('=')).map(|(_, value)| value);
        // A short value (`true`, a file's id) is no secret, and taking it out would garble the text.
        self.secrets.extend(values.filter(|value| value.len() >= 16).map(str::to_owned));
        self
    }

    /// Returns what a host said as it may be told: one line of bounded length, without secrets.
    pub(super) fn quote(&self, text: &str) -> String {
        let clean = self.secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret, "…"));
        let line: String = clean.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        line.trim().chars().take(QUOTE_LIMIT).collect()
    }

    /// Returns the text of an element of the body, where the body is XML as S3 sends it.
    pub(super) fn element(&self, name: &str) -> Option<&'a str> {
        let body = std::str::from_utf8(self.body).ok()?;
        let (_, rest) = body.split_once(&format!("<{name}>"))?;
        Some(rest.split_once("</")?.0.trim())
    }
}

/// Turns a refusal into an error. Reads a little of its body. `signed` tells whether the request carried a
/// bucket's credentials.
pub(super) async fn refused(
    source: &ModelSource,
    hosts: &ModelHosts,
    site: &Site,
    signed: bool,
    mut answer: Answer,
) -> ModelError {
    let status = answer.response.status();
    // No part of an empty file can be sent.
    if text(answer.response.headers(), "content-range") == Some("bytes */0") {
        return not_a_model(source, "it is empty".to_owned());
    }
    let body = beginning(&mut answer.response).await;
    let urls = answer.hops.iter().map(|hop| &hop.url).chain([&answer.url]);
    let said = Said::new(status, answer.response.headers(), &body).keeping(hosts, urls);
    let by = |owner: Owner| owner.owns(hosts, &answer.url);
    let verdict = match site {
        Site::Hub { page } if by(Owner::HuggingFace) => hub::refusal(&said, page, hosts.hf_token.is_some()),
        Site::Civitai { .. } if by(Owner::Civitai) => civitai::refusal(&said, hosts.civitai_token.is_some()),
        Site::Bucket(store) => bucket::refusal(&said, *store, signed),
        Site::Web if answer.hops.is_empty() => signed_link::refusal(&said, &answer.url),
        _ => None,
    };
    let verdict = verdict.unwrap_or_else(|| plain(&said, !answer.hops.is_empty()));
    let again = match retry_after(status, said.headers).or(verdict.pause) {
        _ if !verdict.transient => Again::Never,
        Some(pause) => Again::After(pause),
        None => Again::Later,
    };
    let Verdict { says, kind, hint, .. } = verdict;
    ModelError::Refused { link: link(source), status: status.as_u16(), says, kind, hint, again }
}

async fn beginning(response: &mut reqwest::Response) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() >= BODY_LIMIT {
            break;
        }
    }
    body.truncate(BODY_LIMIT);
    body
}

/// What a status means where the host is not known. `redirected` tells whether another host led there.
fn plain(said: &Said<'_>, redirected: bool) -> Verdict {
    let code = said.element("Code").map(|code| said.quote(code));
    let says =
        code.unwrap_or_else(|| said.status.canonical_reason().unwrap_or("unknown status").to_lowercase());
    let (kind, hint, transient) = match said.status.as_u16() {
        401 | 403 if redirected => {
            (ErrorKind::Access, Some("the host allows it and its storage does not: try again later"), false)
        }
        401 | 403 => (ErrorKind::Access, Some("check that the link is public"), false),
        404 | 410 => (ErrorKind::NotFound, Some("check the link"), false),
        // Those that huggingface_hub retries as well.
        408 | 429 | 500 | 502 | 503 | 504 => (ErrorKind::Network, None, true),
        _ => (ErrorKind::Network, None, false),
    };
    Verdict { says, kind, hint: hint.map(str::to_owned), transient, pause: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_host_says_is_told_in_one_line_without_secrets() {
        let hosts = ModelHosts { hf_token: Some("hf_secret".into()), ..ModelHosts::default() };
        let url = Url::parse("https://h/x?a=true&X-Amz-Signature=0123456789abcdef").unwrap();
        let headers = HeaderMap::new();
        let said = Said::new(StatusCode::FORBIDDEN, &headers, b"").keeping(&hosts, [&url]);
        let text = said.quote("bad\n\u{1b}[31m `hf_secret` is true, 0123456789abcdef");
        assert_eq!(text, "bad  [31m `…` is true, …");
        assert_eq!(said.quote(&"x".repeat(9999)).len(), QUOTE_LIMIT);
    }

    #[test]
    fn elements_of_s3s_answers() {
        let headers = HeaderMap::new();
        let body = b"<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code><Message>The key.</Message></Error>";
        let said = Said::new(StatusCode::NOT_FOUND, &headers, body);
        assert_eq!((said.element("Code"), said.element("Message")), (Some("NoSuchKey"), Some("The key.")));
        assert_eq!(said.element("Region"), None);
        assert_eq!(Said::new(StatusCode::NOT_FOUND, &headers, b"<Code>x").element("Code"), None);
    }
}
