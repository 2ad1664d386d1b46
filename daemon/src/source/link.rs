//! A file behind a link, read to its end in one go: workflows and the files they read.
//!
//! Nothing is resumed and nothing outlives the call. A link comes from whoever asked for the workflow, so
//! it is bounded in size, must travel unread by others, and is never shown with its query.

use super::http::{Again, Http, HttpError, Retries, Waited, is_private, retry_after, shown};
use crate::ctx::Ctx;
use proto::ErrorKind;
use reqwest::header::HeaderMap;
use reqwest::{Response, StatusCode};
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use url::Url;

/// Why a link brought no file.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// It is no link that is followed.
    #[error("`{0}` is no https link")]
    NotHttps(String),
    /// No answer came.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The host says no.
    #[error("the host of `{url}` answered {status}")]
    Refused {
        /// The address, without query.
        url: String,
        /// The HTTP status.
        status: StatusCode,
        /// The pause that the host asks for.
        after: Option<Duration>,
    },
    /// The answer broke off.
    #[error("the answer of `{url}` broke off")]
    Broken {
        /// The address, without query.
        url: String,
        /// Why.
        source: reqwest::Error,
    },
    /// The file is larger than is taken.
    #[error("`{url}` is larger than {} MiB", cap >> 20)]
    TooLarge {
        /// The address, without query.
        url: String,
        /// What is taken, in bytes.
        cap: u64,
    },
    /// It could not be written.
    #[error("failed to write what `{url}` holds")]
    Write {
        /// The address, without query.
        url: String,
        /// Why.
        source: std::io::Error,
    },
}

impl LinkError {
    /// Returns the kind of failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotHttps(_) | Self::TooLarge { .. } => ErrorKind::Usage,
            Self::Http(HttpError::Cancelled(_)) => ErrorKind::Cancelled,
            Self::Refused { status, .. } if matches!(status.as_u16(), 404 | 410) => ErrorKind::NotFound,
            Self::Refused { status, .. } if matches!(status.as_u16(), 401 | 403) => ErrorKind::Access,
            Self::Http(_) | Self::Refused { .. } | Self::Broken { .. } => ErrorKind::Network,
            Self::Write { .. } => ErrorKind::Disk,
        }
    }

    /// Tells whether another attempt may bring it.
    fn again(&self) -> Again {
        match self {
            Self::Http(HttpError::Transport { .. }) | Self::Broken { .. } => Again::Later,
            Self::Refused { status, after, .. }
                if status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS =>
            {
                after.map_or(Again::Later, Again::After)
            }
            _ => Again::Never,
        }
    }
}

/// Reads a file of at most `cap` bytes into memory. Cancel-safe.
///
/// # Errors
/// See [`LinkError`]. What may pass is tried again a few times.
pub async fn read(ctx: &Ctx, http: &Http, link: &str, cap: u64) -> Result<Vec<u8>, LinkError> {
    let url = parse(link)?;
    let mut retries = Retries::default();
    loop {
        let mut content = Vec::new();
        match attempt(ctx, http, &url, cap, &mut content).await {
            Ok(()) => return Ok(content),
            Err(error) => pause(ctx, &mut retries, error).await?,
        }
    }
}

/// Writes a file of at most `cap` bytes to `path`, replacing what is there. What a failure or a dropped
/// future leaves is the caller's to remove.
///
/// # Errors
/// As [`read`].
pub async fn save(ctx: &Ctx, http: &Http, link: &str, cap: u64, path: &Path) -> Result<(), LinkError> {
    let url = parse(link)?;
    let unwritable = |source| LinkError::Write { url: shown(&url), source };
    let mut retries = Retries::default();
    loop {
        let mut file = tokio::fs::File::create(path).await.map_err(unwritable)?;
        match attempt(ctx, http, &url, cap, &mut file).await {
            Ok(()) => return Ok(()),
            Err(error) => pause(ctx, &mut retries, error).await?,
        }
    }
}

fn parse(link: &str) -> Result<Url, LinkError> {
    match Url::parse(link) {
        Ok(url) if is_private(&url) => Ok(url),
        Ok(url) => Err(LinkError::NotHttps(shown(&url))),
        // It may be anything, a secret too.
        Err(_) => Err(LinkError::NotHttps("…".to_owned())),
    }
}

async fn attempt(
    ctx: &Ctx,
    http: &Http,
    url: &Url,
    cap: u64,
    to: &mut (impl AsyncWrite + Unpin),
) -> Result<(), LinkError> {
    let response = http.get(ctx, url, None, HeaderMap::new()).await?.response;
    let status = response.status();
    if !status.is_success() {
        let after = retry_after(status, response.headers());
        return Err(LinkError::Refused { url: shown(url), status, after });
    }
    tokio::select! {
        () = ctx.cancel.cancelled() => Err(HttpError::Cancelled(shown(url)).into()),
        copied = copy(response, url, cap, to) => copied,
    }
}

async fn copy(
    mut response: Response,
    url: &Url,
    cap: u64,
    to: &mut (impl AsyncWrite + Unpin),
) -> Result<(), LinkError> {
    let broken = |source: reqwest::Error| LinkError::Broken { url: shown(url), source: source.without_url() };
    let unwritable = |source| LinkError::Write { url: shown(url), source };
    let mut left = cap;
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        let rest = left.checked_sub(chunk.len() as u64);
        left = rest.ok_or_else(|| LinkError::TooLarge { url: shown(url), cap })?;
        to.write_all(&chunk).await.map_err(unwritable)?;
    }
    to.flush().await.map_err(unwritable)
}

async fn pause(ctx: &Ctx, retries: &mut Retries, error: LinkError) -> Result<(), LinkError> {
    match retries.wait(ctx, error.again(), &error.to_string()).await {
        Waited::Again => Ok(()),
        Waited::Over | Waited::Cancelled => Err(error),
    }
}
