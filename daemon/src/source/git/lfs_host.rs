//! The Git LFS side of a git host: git-lfs, docs/api/batch.md and docs/api/basic-transfers.md. Blocks.
//!
//! A token of the credential helper goes to the repository's own host, over TLS or to this machine; a
//! redirect to another host does not take it along. Reasons name hosts only: the addresses of objects are
//! signed.

use super::blocking::Control;
use super::hosts;
use super::lfs::Object;
use super::url::{RepoUrl, redact};
use crate::source::http::is_private;
use gix::bstr::ByteSlice as _;
use gix::remote::Direction;
use reqwest::blocking::{Client, RequestBuilder, Response};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use reqwest::redirect::Policy;
use serde::Deserialize;
use serde_json::json;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Read;
use std::sync::atomic::Ordering;
use std::time::Duration;
use url::Url;

const MEDIA_TYPE: &str = "application/vnd.git-lfs+json";

/// Attempts at one request, and the pause before the next.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(500);

/// Objects that are asked for at once; hosts may refuse more than 100.
const AT_ONCE: usize = 100;

/// An object, and how to get it or why not.
pub(super) struct Wanted {
    pub(super) object: Object,
    pub(super) action: Result<Action, String>,
}

/// Where an object is.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Action {
    href: String,
    #[serde(default)]
    header: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Batch {
    objects: Vec<Answered>,
}

#[derive(Deserialize)]
struct Answered {
    oid: String,
    #[serde(default)]
    actions: BTreeMap<String, Action>,
    error: Option<Refused>,
}

#[derive(Deserialize)]
struct Refused {
    code: u16,
    #[serde(default)]
    message: String,
}

/// The LFS side of a repository's host.
pub(super) struct Host<'a> {
    client: Client,
    endpoint: Url,
    headers: Vec<String>,
    repo: &'a gix::Repository,
    control: &'a Control,
    /// `Authorization` that the host took.
    authorization: RefCell<Option<(String, String)>>,
}

impl<'a> Host<'a> {
    /// Finds the host of a repository, reached as the configuration of `repo` says.
    ///
    /// # Errors
    /// Why there is none, in a few words.
    pub(super) fn of(repo: &'a gix::Repository, url: &RepoUrl, control: &'a Control) -> Result<Self, String> {
        let said = |error: gix::Error| redact(&error.to_string());
        let remote = repo.remote_at(url.as_str()).map_err(said)?;
        // `insteadOf` was applied here.
        let url = remote.url(Direction::Fetch).ok_or("the repository has no address")?;
        let base = match url.scheme {
            gix::url::Scheme::Http | gix::url::Scheme::Https => url.to_bstring().to_string(),
            gix::url::Scheme::Ssh => {
                let host = url.host().unwrap_or_default();
                format!("https://{host}/{}", url.path.to_str_lossy().trim_start_matches('/'))
            }
            _ => return Err("its repository is not on an HTTP host".to_owned()),
        };
        let base = base.trim_end_matches('/').trim_end_matches(".git");
        let endpoint = Url::parse(&format!("{base}.git/info/lfs/objects/batch"));
        let endpoint = endpoint.map_err(|error| error.to_string())?;
        let options = hosts::options(repo, endpoint.as_str().into()).map_err(said)?;
        let options = options.ok_or("its repository is not on an HTTP host")?;
        let stays_private = Policy::custom(|attempt| {
            let left_tls = attempt.url().scheme() != "https" && attempt.previous()[0].scheme() == "https";
            if left_tls || attempt.previous().len() > 10 { attempt.stop() } else { attempt.follow() }
        });
        let client = hosts::configure(&options, Client::builder()).map_err(said)?.redirect(stays_private);
        let client = client.build().map_err(|error| redact(&error.to_string()))?;
        let (headers, authorization) = (options.extra_headers, RefCell::default());
        Ok(Self { client, endpoint, headers, repo, control, authorization })
    }

    /// Asks where objects are.
    ///
    /// # Errors
    /// Why the host did not say, in a few words.
    pub(super) fn batch(&self, objects: &[Object]) -> Result<Vec<Wanted>, String> {
        let mut wanted = Vec::new();
        for objects in objects.chunks(AT_ONCE) {
            let list: Vec<_> = objects.iter().map(|o| json!({ "oid": o.oid, "size": o.size })).collect();
            let body = json!({ "operation": "download", "transfers": ["basic"], "objects": list });
            let answer = self.attempts(|| self.ask(&body.to_string()))?;
            let batch: Batch = answer.json().map_err(|_| self.odd("an answer that is not Git LFS"))?;
            wanted.extend(batch.objects.into_iter().filter_map(|answered| self.wanted(objects, answered)));
        }
        Ok(wanted)
    }

    fn wanted(&self, objects: &[Object], mut answered: Answered) -> Option<Wanted> {
        let object = objects.iter().find(|object| object.oid == answered.oid)?.clone();
        let action = match (answered.error, answered.actions.remove("download")) {
            (Some(Refused { code, message }), _) => {
                let message: String = message.chars().filter(|c| !c.is_control()).take(200).collect();
                Err(self.odd(&format!("{code}: {}", redact(&message))))
            }
            (None, Some(action)) => Ok(action),
            (None, None) => Err(self.odd("no download")),
        };
        Some(Wanted { object, action })
    }

    /// Gets an object and hands its bytes to `keep`, anew after a broken attempt.
    ///
    /// # Errors
    /// Why it was not kept, in a few words.
    pub(super) fn download(
        &self,
        object: &Object,
        action: &Action,
        keep: impl Fn(&mut dyn Read) -> Result<(), String>,
    ) -> Result<(), String> {
        let href = Url::parse(&action.href).map_err(|_| self.odd("an address that is none"))?;
        if !is_private(&href) && self.endpoint.scheme() == "https" || !href.scheme().starts_with("http") {
            return Err(self.odd("an address without TLS"));
        }
        let request = || {
            let mut request = self.client.get(href.clone());
            for (name, value) in &action.header {
                request = request.header(name, value);
            }
            let is_signed = action.header.keys().any(|name| name.eq_ignore_ascii_case("authorization"));
            if href.origin() == self.endpoint.origin() && !is_signed {
                request = self.authorized(self.with_headers(request));
            }
            request
        };
        self.attempts(|| {
            let answer = Self::good(request().send(), &href)?;
            let mut body = Counted { body: answer, control: self.control };
            keep(&mut body).map_err(|reason| match body.body.status() {
                _ if reason.contains("other bytes") => Failed::Final(reason),
                _ => Failed::Again(format!("`{}`: {reason}", host_of(&href))),
            })
        })
        .map_err(|reason| if self.control.interrupted() { object.oid.clone() } else { reason })
    }

    fn ask(&self, body: &str) -> Result<Response, Failed> {
        let request = || {
            let request = self.client.post(self.endpoint.clone()).body(body.to_owned());
            let request = request.header(ACCEPT, MEDIA_TYPE).header(CONTENT_TYPE, MEDIA_TYPE);
            self.authorized(self.with_headers(request))
        };
        let answer = request().send();
        let refused = answer.as_ref().is_ok_and(|answer| answer.status().as_u16() == 401);
        if refused && self.authorization.borrow().is_none() && self.log_in() {
            return Self::good(request().send(), &self.endpoint);
        }
        Self::good(answer, &self.endpoint)
    }

    fn with_headers(&self, request: RequestBuilder) -> RequestBuilder {
        let pairs = self.headers.iter().filter_map(|header| header.split_once(':'));
        pairs.fold(request, |request, (name, value)| request.header(name.trim(), value.trim()))
    }

    fn authorized(&self, request: RequestBuilder) -> RequestBuilder {
        match &*self.authorization.borrow() {
            Some((user, password)) => request.basic_auth(user, Some(password)),
            None => request,
        }
    }

    /// Asks git's credential helpers; returns whether they know the host.
    fn log_in(&self) -> bool {
        if !is_private(&self.endpoint) || self.headers.iter().any(|header| is_authorization(header)) {
            return false;
        }
        let Ok(url) = gix::url::parse(self.endpoint.as_str()) else { return false };
        let config = self.repo.config_snapshot();
        let Ok((mut helpers, action, prompt)) = config.credential_helpers(url) else { return false };
        // What a helper says of its failure may hold secrets: without an answer the host's 401 is told.
        let Ok(Some(found)) = helpers.invoke(action, prompt) else { return false };
        *self.authorization.borrow_mut() = Some((found.identity.username, found.identity.password));
        true
    }

    fn good(answer: reqwest::Result<Response>, url: &Url) -> Result<Response, Failed> {
        let host = host_of(url);
        let answer = answer.map_err(|error| {
            let error = error.without_url();
            let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
            Failed::Again(redact(&format!("`{host}`: {error}{}", source.unwrap_or_default())))
        })?;
        let status = answer.status();
        match status.as_u16() {
            _ if status.is_success() => Ok(answer),
            401 | 403 => Err(Failed::Final(format!("`{host}` refuses it ({})", status.as_u16()))),
            408 | 429 | 500.. => Err(Failed::Again(format!("`{host}` answers {}", status.as_u16()))),
            code => Err(Failed::Final(format!("`{host}` answers {code}"))),
        }
    }

    fn odd(&self, what: &str) -> String {
        format!("`{}` answers {what}", host_of(&self.endpoint))
    }

    fn attempts<T>(&self, attempt: impl Fn() -> Result<T, Failed>) -> Result<T, String> {
        let mut tried = 1;
        loop {
            match attempt() {
                Ok(done) => return Ok(done),
                Err(Failed::Again(_)) if tried < ATTEMPTS && !self.control.interrupted() => {
                    std::thread::sleep(PAUSE * tried);
                    tried += 1;
                }
                Err(Failed::Again(reason) | Failed::Final(reason)) => return Err(reason),
            }
        }
    }
}

/// Why an attempt failed, and whether the next one may not.
enum Failed {
    Again(String),
    Final(String),
}

/// A body that counts its bytes and ends when nobody wants them any more.
struct Counted<'a> {
    body: Response,
    control: &'a Control,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.control.interrupted() {
            return Err(std::io::Error::other("cancelled"));
        }
        let count = self.body.read(buffer)?;
        self.control.counters.bytes.fetch_add(count, Ordering::Relaxed);
        Ok(count)
    }
}

fn is_authorization(header: &str) -> bool {
    header.split(':').next().is_some_and(|name| name.trim().eq_ignore_ascii_case(AUTHORIZATION.as_str()))
}

fn host_of(url: &Url) -> &str {
    url.host_str().unwrap_or("the host")
}
