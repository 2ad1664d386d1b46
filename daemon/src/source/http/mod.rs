//! Downloads over HTTP: one client, redirects followed by hand, tokens kept where they belong.
//!
//! A token travels only to the hosts it was made for and only over TLS (or to this machine), whatever
//! a redirect says. Answers are handed out whatever their status: what a 403 means differs by host.

mod retry;
mod tokens;

pub use retry::{Again, Retries, Waited, date, retry_after};
use tokens::is_loopback;
pub use tokens::{Owner, is_private};

use crate::config::ModelHosts;
use crate::ctx::Ctx;
use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, HeaderMap, HeaderValue, IF_RANGE, LOCATION, RANGE};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use url::{Host, Url};

/// How comfyd introduces itself. Names of browsers in it would make Civitai answer with pages.
pub const USER_AGENT: &str = concat!("comfyd/", env!("CARGO_PKG_VERSION"));

/// Redirects that are followed at most.
const MAX_REDIRECTS: usize = 10;

/// Makes TLS work for every HTTP client of this process, ours and gix's. Does nothing the second time.
pub fn install_tls() {
    rustls::crypto::ring::default_provider().install_default().ok();
}

/// How long to wait for a host.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For a connection.
    pub connect: Duration,
    /// For the next bytes on a connection.
    pub read: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(20), read: Duration::from_secs(30) }
    }
}

/// An HTTP client for big files. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Http {
    /// Made by the first request: the system's certificates take 20 ms and megabytes to read.
    client: Arc<OnceLock<reqwest::Client>>,
    hosts: ModelHosts,
    timeouts: Timeouts,
}

/// Why no answer came.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No client could be made, as when the system has no certificates.
    #[error("failed to set up the HTTP client")]
    Client(#[source] reqwest::Error),
    /// No connection, or a broken one.
    #[error("failed to fetch `{url}`")]
    Transport {
        /// The address, without query.
        url: String,
        /// Why.
        source: reqwest::Error,
    },
    /// A redirect that is not followed.
    #[error("`{url}` redirects in a way that is not followed: {reason}")]
    Redirect {
        /// The address that redirects, without query.
        url: String,
        /// Why it is not followed.
        reason: &'static str,
    },
    /// Nobody wants the answer any more.
    #[error("cancelled while fetching `{0}`")]
    Cancelled(String),
}

/// What part of a file to ask for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Part<'a> {
    /// First byte.
    pub from: u64,
    /// Last byte; the end of the file when absent.
    pub to: Option<u64>,
    /// Ask for the part only while the file still has this ETag or date; for the whole file otherwise.
    pub if_range: Option<&'a str>,
}

/// An answer, of any status but a redirect that is followed.
#[derive(Debug)]
pub struct Answer {
    /// Who answered.
    pub url: Url,
    /// Status, headers and body.
    pub response: reqwest::Response,
    /// What led there: hosts tell about a file beside the redirect to its storage.
    pub hops: Vec<Hop>,
}

/// A redirect that was followed.
#[derive(Debug)]
pub struct Hop {
    /// Who redirected.
    pub url: Url,
    /// Its headers.
    pub headers: HeaderMap,
}

impl Http {
    /// Makes a client that holds the tokens and mirrors of `hosts`. Touches no disk.
    pub fn new(hosts: ModelHosts, timeouts: Timeouts) -> Self {
        Self { client: Arc::default(), hosts, timeouts }
    }

    /// Returns the tokens and mirrors it was made with.
    pub fn hosts(&self) -> &ModelHosts {
        &self.hosts
    }

    /// Asks for a file, or a part of it, and follows redirects. Makes one attempt. Cancel-safe.
    ///
    /// `signed` are headers that grant access: they go to `url` alone. With any, a redirect is not
    /// followed, since they are good for one address.
    ///
    /// # Errors
    /// Only when no answer came; a 404 is an answer.
    pub async fn get(
        &self,
        ctx: &Ctx,
        url: &Url,
        part: Option<Part<'_>>,
        signed: HeaderMap,
    ) -> Result<Answer, HttpError> {
        tokio::select! {
            () = ctx.cancel.cancelled() => Err(HttpError::Cancelled(shown(url))),
            answer = self.follow(url, part, signed) => answer,
        }
    }

    /// Returns the client. Blocks shortly, the first time.
    fn client(&self) -> Result<&reqwest::Client, HttpError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        install_tls();
        // HTTP/2 is slower for one big body (measured 1.5 to 2.5 times) and gains nothing here.
        let client = reqwest::Client::builder()
            .http1_only()
            .user_agent(USER_AGENT)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(self.timeouts.connect)
            .read_timeout(self.timeouts.read)
            .build()
            .map_err(HttpError::Client)?;
        // Of two that were made at once, one serves both.
        Ok(self.client.get_or_init(|| client))
    }

    async fn follow(
        &self,
        url: &Url,
        part: Option<Part<'_>>,
        signed: HeaderMap,
    ) -> Result<Answer, HttpError> {
        if !signed.is_empty() {
            let response = self.one(url, part, signed).await?;
            return Ok(Answer { url: url.clone(), response, hops: Vec::new() });
        }
        let mut url = url.clone();
        let mut hops = Vec::new();
        while hops.len() <= MAX_REDIRECTS {
            let response = self.one(&url, part, HeaderMap::new()).await?;
            let location = response.headers().get(LOCATION).filter(|_| is_redirect(&response));
            let Some(location) = location else { return Ok(Answer { url, response, hops }) };
            let next = next_hop(&url, location)?;
            hops.push(Hop { url: std::mem::replace(&mut url, next), headers: response.headers().clone() });
        }
        Err(HttpError::Redirect { url: shown(&url), reason: "there are too many redirects" })
    }

    async fn one(
        &self,
        url: &Url,
        part: Option<Part<'_>>,
        signed: HeaderMap,
    ) -> Result<reqwest::Response, HttpError> {
        let mut request = self.client()?.get(url.clone()).header(ACCEPT_ENCODING, "identity").headers(signed);
        // A token with a line break in it can be sent nowhere; the host will say that it misses it.
        if let Some(bearer) = tokens::token_for(&self.hosts, url).and_then(bearer) {
            request = request.header(AUTHORIZATION, bearer);
        }
        if let Some(part) = part {
            let to = part.to.map(|to| to.to_string()).unwrap_or_default();
            request = request.header(RANGE, format!("bytes={}-{to}", part.from));
            if let Some(validator) = part.if_range {
                request = request.header(IF_RANGE, validator);
            }
        }
        let sent = request.send().await;
        sent.map_err(|error| HttpError::Transport { url: shown(url), source: error.without_url() })
    }
}

/// Returns the header that shows a token; `None` for a token that no header can hold.
pub fn bearer(token: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn is_redirect(response: &reqwest::Response) -> bool {
    matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn next_hop(from: &Url, location: &HeaderValue) -> Result<Url, HttpError> {
    let refuse = |reason| HttpError::Redirect { url: shown(from), reason };
    let target = location.to_str().ok().and_then(|location| from.join(location).ok());
    let target = target.ok_or_else(|| refuse("its target is not a URL"))?;
    match target.scheme() {
        // Only machines of clouds live there, and they hand credentials to whoever asks (RFC 3927).
        _ if is_link_local(&target) => Err(refuse("its target is a link-local address")),
        "https" => Ok(target),
        "http" if from.scheme() == "http" || is_loopback(&target) => Ok(target),
        "http" => Err(refuse("it leaves https")),
        _ => Err(refuse("its target is not a web address")),
    }
}

fn is_link_local(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_link_local(),
        Some(Host::Ipv6(address)) => {
            address.is_unicast_link_local() || address.to_ipv4_mapped().is_some_and(|v4| v4.is_link_local())
        }
        _ => false,
    }
}

/// Returns a header's value, where it is text.
pub fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim).filter(|text| !text.is_empty())
}

/// Returns a header's value as a number.
pub fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    text(headers, name)?.parse().ok()
}

/// Returns a URL as it may be shown: without user, query and fragment, where secrets travel.
pub fn shown(url: &Url) -> String {
    let mut clean = proto::source::strip_secrets(url);
    clean.set_query(None);
    clean.set_fragment(None);
    clean.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_stay_on_the_web_and_do_not_leave_tls() {
        let hop = |from: &str, to: &'static str| {
            next_hop(&Url::parse(from).unwrap(), &HeaderValue::from_static(to))
                .map(|url| url.to_string())
                .ok()
        };
        let table = [
            ("https://a/x", "/y?z=1", Some("https://a/y?z=1")),
            ("https://a/x", "https://b/y", Some("https://b/y")),
            ("http://a/x", "http://b/y", Some("http://b/y")),
            ("https://a/x", "http://b/y", None),
            ("https://a/x", "http://127.0.0.1:9/y", Some("http://127.0.0.1:9/y")),
            ("http://a/x", "http://169.254.169.254/latest", None),
            ("http://a/x", "http://2852039166/latest", None),
            ("http://a/x", "http://[::ffff:169.254.169.254]/", None),
            ("https://a/x", "https://[fe80::1]/y", None),
            ("https://a/x", "file:///etc/passwd", None),
            ("https://a/x", "javascript:1", None),
        ];
        for (from, to, expected) in table {
            assert_eq!(hop(from, to).as_deref(), expected, "{from} -> {to}");
        }
    }

    #[test]
    fn shown_addresses_hold_no_query_and_no_user() {
        let url = Url::parse("https://u:p@h/a?token=s3cr3t#f").unwrap();
        assert_eq!(shown(&url), "https://h/a");
    }
}
