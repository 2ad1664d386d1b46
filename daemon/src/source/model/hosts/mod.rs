//! Hosts of models: a link becomes a [`Remote`].
//!
//! A link is asked once. It redirects to storage, by an address that was signed for an hour or so, and
//! tells beside the redirect what the storage does not know: checksum and commit. All further parts come
//! from that address. When the storage refuses it, whoever notices first asks the link again, the others
//! wait for the new address, and the answer counts only if it belongs to the same file.
//!
//! ```text
//! address   link -> site and address          listing  what a host tells beforehand
//! hub       Hugging Face's answers            answer   what part of what file came
//! civitai   Civitai's; api asks it            refusal  what a refusal means
//! bucket    S3's and Google's; keys signs     signed   what it means for a signed link
//! ```

mod address;
mod answer;
mod api;
mod bucket;
mod civitai;
mod hub;
mod keys;
mod listing;
mod refusal;
mod signed;
#[cfg(test)]
mod tests;

pub use address::own_url;
pub(super) use answer::{link, not_a_model};

use super::error::ModelError;
use super::remote::{Identity, Opened, Remote};
use crate::ctx::Ctx;
use crate::source::http::{Answer, Http, HttpError, Owner, Part};
use address::Site;
use keys::Keys;
use listing::Listing;
use proto::ErrorKind;
use proto::source::ModelSource;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::OnceCell;
use url::Url;

/// New addresses that one part may need. More than one only where storage refuses what the host has
/// just allowed, which asking again does not cure.
const NEW_ADDRESSES: usize = 2;

/// All hosts of models. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Hosts {
    http: Http,
    keys: Arc<Keys>,
}

impl Hosts {
    /// Serves through the given client. Opens no connection.
    pub(super) fn new(http: Http) -> Self {
        Self { http, keys: Arc::default() }
    }

    /// Finds the host of a link. Opens no connection.
    ///
    /// # Errors
    /// A link that leads to no host.
    pub(super) fn file(&self, source: &ModelSource) -> Result<HostedFile, ModelError> {
        let (site, link) = address::of(source, self.http.hosts())?;
        Ok(HostedFile {
            hosts: self.clone(),
            source: source.clone(),
            site,
            link,
            choice: OnceCell::new(),
            storage: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
        })
    }
}

/// A file at a host, for one transfer.
#[derive(Debug)]
pub(super) struct HostedFile {
    hosts: Hosts,
    source: ModelSource,
    site: Site,
    /// Where the file is asked for at first.
    link: Url,
    /// What Civitai lists, once it was asked.
    choice: OnceCell<Choice>,
    /// Where the link led.
    storage: Mutex<Option<Arc<Storage>>>,
    /// Is held while the link is asked, so that it is asked once.
    asking: tokio::sync::Mutex<()>,
}

/// What is asked for in place of the link, and what is known of it.
#[derive(Debug, Clone)]
struct Choice {
    url: Url,
    listing: Listing,
    /// What there is to choose, for people, where the link fits nothing.
    choices: Option<String>,
    /// Whether the site knows what the link names.
    known: bool,
}

/// An address that served the file.
#[derive(Debug)]
struct Storage {
    url: Url,
    listing: Listing,
    /// What this very host takes for `If-Range`.
    validator: Option<String>,
    /// Whether the link redirected to it: then it may end before the link does.
    temporary: bool,
}

impl HostedFile {
    /// Asks the link, which leads to new storage.
    async fn resolve(
        &self,
        ctx: &Ctx,
        part: &Range<u64>,
        expected: Option<&Identity>,
    ) -> Result<Opened, ModelError> {
        let choice = self.choice.get_or_try_init(|| self.choose(ctx)).await?;
        // Another storage host has another ETag for the same file. A checksum tells better.
        let if_range = expected.filter(|expected| expected.sha256.is_none());
        let if_range = if_range.and_then(|expected| expected.validator.as_deref());
        let (answer, signed) = self.ask(ctx, &choice.url, answer::asked(part, if_range)).await?;
        if !answer.response.status().is_success() {
            return Err(self.refused(ctx, answer, signed, choice).await?);
        }
        let listing = match self.site {
            Site::Hub { .. } => hub::listing(self.hosts.http.hosts(), &answer),
            Site::Civitai { .. } | Site::Bucket(_) | Site::Web => choice.listing.clone(),
        };
        let (url, temporary) = (answer.url, !answer.hops.is_empty());
        let opened = self.accept(&listing, part, expected, answer.response)?;
        let validator = opened.identity.validator.clone();
        self.remember(Some(Arc::new(Storage { url, listing, validator, temporary })));
        Ok(opened)
    }

    /// Asks an address. Returns the answer and whether the request was signed.
    async fn ask(&self, ctx: &Ctx, url: &Url, part: Option<Part<'_>>) -> Result<(Answer, bool), ModelError> {
        let Hosts { http, keys } = &self.hosts;
        let signature = match self.site {
            Site::Bucket(store) => tokio::select! {
                () = ctx.cancel.cancelled() => return Err(ModelError::Cancelled),
                signature = keys.sign(http.hosts(), store, url) => signature.map_err(|reason| {
                    let (link, hint) = (link(&self.source), bucket::credentials_hint(store));
                    ModelError::Credentials { link, reason, hint }
                })?,
            },
            _ => HeaderMap::new(),
        };
        let signed = !signature.is_empty();
        Ok((http.get(ctx, url, part, signature).await?, signed))
    }

    fn accept(
        &self,
        listing: &Listing,
        part: &Range<u64>,
        expected: Option<&Identity>,
        response: reqwest::Response,
    ) -> Result<Opened, ModelError> {
        let opened = answer::accept(&self.source, listing, part, response)?;
        if expected.is_some_and(|expected| !expected.is_same_file(&opened.identity)) {
            return Err(ModelError::Changed { link: link(&self.source) });
        }
        Ok(opened)
    }

    /// Asks Civitai which file is meant; elsewhere the link says it.
    async fn choose(&self, ctx: &Ctx) -> Result<Choice, HttpError> {
        let mut choice =
            Choice { url: self.link.clone(), listing: Listing::default(), choices: None, known: true };
        let Site::Civitai { version_id, query } = &self.site else { return Ok(choice) };
        let Some(version) = api::version(ctx, &self.hosts.http, *version_id).await? else {
            choice.known = false;
            return Ok(choice);
        };
        match version.choose(query) {
            Some(file) => {
                choice.url.set_query(Some(&format!("fileId={}", file.id)));
                choice.listing = file.listing();
            }
            None => choice.choices = version.choices(),
        }
        Ok(choice)
    }

    /// Says why the link was refused; where Civitai has no such file, also what it has.
    async fn refused(
        &self,
        ctx: &Ctx,
        answer: Answer,
        signed: bool,
        choice: &Choice,
    ) -> Result<ModelError, HttpError> {
        let Hosts { http, .. } = &self.hosts;
        let missing = answer.response.status() == StatusCode::NOT_FOUND
            && Owner::Civitai.owns(http.hosts(), &answer.url);
        let mut error = refusal::refused(&self.source, http.hosts(), &self.site, signed, answer).await;
        if let (ModelError::Refused { kind: ErrorKind::NotFound, hint, .. }, Site::Civitai { version_id, .. }) =
            (&mut error, &self.site)
            && missing
        {
            let newest =
                if choice.known { None } else { api::newest_version(ctx, http, *version_id).await? };
            let newest = newest.map(|newest| civitai::newest(*version_id, newest));
            *hint = newest.or_else(|| choice.choices.clone()).or(hint.take());
        }
        Ok(error)
    }

    fn storage(&self) -> Option<Arc<Storage>> {
        self.storage.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn remember(&self, storage: Option<Arc<Storage>>) {
        *self.storage.lock().unwrap_or_else(PoisonError::into_inner) = storage;
    }

    /// Forgets an address, unless another has taken its place.
    fn forget(&self, old: &Arc<Storage>) {
        let mut storage = self.storage.lock().unwrap_or_else(PoisonError::into_inner);
        if storage.as_ref().is_some_and(|storage| Arc::ptr_eq(storage, old)) {
            *storage = None;
        }
    }
}

impl Remote for HostedFile {
    fn host(&self) -> String {
        let url = self.storage().map_or_else(|| self.link.clone(), |storage| storage.url.clone());
        url.host_str().unwrap_or_default().to_owned()
    }

    async fn open(
        &self,
        ctx: &Ctx,
        part: Range<u64>,
        expected: Option<&Identity>,
    ) -> Result<Opened, ModelError> {
        let mut renewed = 0;
        loop {
            let Some(storage) = self.storage() else {
                let _turn = self.asking.lock().await;
                if self.storage().is_some() {
                    continue;
                }
                return self.resolve(ctx, &part, expected).await;
            };
            let asked = answer::asked(&part, expected.and(storage.validator.as_deref()));
            let asked = self.ask(ctx, &storage.url, asked).await.inspect_err(|error| {
                // The next attempt may be led to a host that works.
                if matches!(error, ModelError::Http(HttpError::Transport { .. })) {
                    self.forget(&storage);
                }
            });
            let (answer, signed) = asked?;
            let status = answer.response.status();
            if status.is_success() {
                let accepted = self.accept(&storage.listing, &part, expected, answer.response);
                // What is known of the storage is about the old file.
                return accepted.inspect_err(|error| {
                    if matches!(error, ModelError::Changed { .. }) {
                        self.forget(&storage);
                    }
                });
            }
            if !storage.temporary || !is_refused(status) || renewed == NEW_ADDRESSES {
                let hosts = self.hosts.http.hosts();
                return Err(refusal::refused(&self.source, hosts, &self.site, signed, answer).await);
            }
            renewed += 1;
            self.forget(&storage);
        }
    }
}

/// Returns whether a signed address may have ended. S3 answers 403, or 400 when its session has ended; B2
/// answers 401.
fn is_refused(status: StatusCode) -> bool {
    matches!(status.as_u16(), 400 | 401 | 403 | 404 | 410)
}
