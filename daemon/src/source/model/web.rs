//! A file behind a web link, a link of the Hub or of Civitai.

use super::answer;
use super::error::{ModelError, shown};
use super::link;
use super::remote::{BodyError, Identity, Opened, Remote, WHOLE};
use crate::ctx::Ctx;
use crate::source::http::{Http, Part, number};
use futures_util::{StreamExt as _, TryStreamExt as _};
use proto::source::ModelSource;
use reqwest::StatusCode;
use std::ops::Range;
use url::Url;

/// See the module.
pub(super) struct Web<'a> {
    http: &'a Http,
    source: &'a ModelSource,
    url: Url,
}

impl<'a> Web<'a> {
    pub(super) fn new(http: &'a Http, source: &'a ModelSource) -> Result<Self, ModelError> {
        Ok(Self { http, source, url: link::url(source, http.hosts())? })
    }
}

impl Remote for Web<'_> {
    fn host(&self) -> String {
        self.url.authority().to_owned()
    }

    async fn open(
        &self,
        ctx: &Ctx,
        part: Range<u64>,
        expected: Option<&Identity>,
    ) -> Result<Opened, ModelError> {
        let etag = expected.and_then(|expected| expected.validator.as_deref());
        let asked = Part { from: part.start, to: Some(part.end.saturating_sub(1)), etag };
        let answer = self.http.get(ctx, &self.url, (part != WHOLE).then_some(asked)).await?;
        let is_partial = answer.response.status() == StatusCode::PARTIAL_CONTENT;
        let body_len = number(answer.response.headers(), "content-length");
        let accepted = answer::accept(self.source, self.http.hosts(), answer).await?;
        let identity = Identity { size: accepted.total, validator: accepted.etag, ..Identity::default() };
        if expected.is_some_and(|expected| *expected != identity) {
            return Err(ModelError::Changed { link: shown(self.source) });
        }
        let len = accepted.total.map(|total| part.end.min(total).saturating_sub(part.start));
        let is_part = is_partial && accepted.start == part.start && len.is_some() && len == body_len;
        let body = accepted.response.bytes_stream();
        let body = body.map_err(|error| BodyError::from(error.without_url())).boxed();
        Ok(Opened { start: accepted.start, is_part, identity, body })
    }
}
