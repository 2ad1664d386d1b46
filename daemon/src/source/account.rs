//! Whether a site accepts the token that it would be sent: asked at an address that tells an account about itself.

use super::http::{Http, HttpError, Owner, date, text};
use super::model::own_url;
use crate::ctx::Ctx;
use jiff::Timestamp;
use reqwest::header::HeaderMap;

/// What a site said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said {
    /// Status of its answer: 200 for an account that it knows, 401 for a token that it does not know, or none.
    pub status: u16,
    /// The time by its own clock, where it tells.
    pub date: Option<Timestamp>,
}

/// Asks a site about the account of its token. Makes one attempt. None where its address in the environment is no URL.
/// Cancel-safe.
///
/// # Errors
/// When no answer came.
pub async fn ask(ctx: &Ctx, http: &Http, site: Owner) -> Result<Option<Said>, HttpError> {
    let path = match site {
        // What `huggingface_hub` asks for `hf auth whoami` (its `hf_api.py`).
        Owner::HuggingFace => "api/whoami-v2",
        // Civitai's `pages/api/v1/me.ts`.
        Owner::Civitai => "api/v1/me",
    };
    let Some(url) = own_url(http.hosts(), site, path) else { return Ok(None) };
    let answer = http.get(ctx, &url, None, HeaderMap::new()).await?;
    let date = text(answer.response.headers(), "date").and_then(date);
    Ok(Some(Said { status: answer.response.status().as_u16(), date }))
}
