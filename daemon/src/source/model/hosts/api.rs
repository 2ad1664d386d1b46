//! Questions to Civitai's API. It is a help, not a need: where it does not answer, the link alone has to do.

use super::address::own_url;
use super::civitai::{Model, Version};
use crate::ctx::Ctx;
use crate::source::http::{Http, HttpError, Owner};
use reqwest::header::HeaderMap;
use serde::de::DeserializeOwned;

/// The longest answer that is read, in bytes. Descriptions of models with all their versions are long.
const ANSWER_LIMIT: usize = 8 << 20;

/// Returns what Civitai lists for a model version.
///
/// # Errors
/// Only when the work was cancelled.
pub(super) async fn version(ctx: &Ctx, http: &Http, id: u64) -> Result<Option<Version>, HttpError> {
    ask(ctx, http, &format!("api/v1/model-versions/{id}")).await
}

/// Returns the newest version of the model with this id, where there is such a model.
///
/// # Errors
/// Only when the work was cancelled.
pub(super) async fn newest_version(ctx: &Ctx, http: &Http, id: u64) -> Result<Option<u64>, HttpError> {
    let model: Option<Model> = ask(ctx, http, &format!("api/v1/models/{id}")).await?;
    Ok(model.and_then(|model| model.model_versions.first().map(|version| version.id)))
}

async fn ask<T: DeserializeOwned>(ctx: &Ctx, http: &Http, path: &str) -> Result<Option<T>, HttpError> {
    let Some(url) = own_url(http.hosts(), Owner::Civitai, path) else { return Ok(None) };
    let mut response = match http.get(ctx, &url, None, HeaderMap::new()).await {
        Ok(answer) if answer.response.status().is_success() => answer.response,
        Err(error @ HttpError::Cancelled(_)) => return Err(error),
        Ok(_) | Err(_) => return Ok(None),
    };
    let mut body = Vec::new();
    loop {
        let chunk = tokio::select! {
            () = ctx.cancel.cancelled() => return Err(HttpError::Cancelled(path.to_owned())),
            chunk = response.chunk() => chunk,
        };
        match chunk {
            Ok(Some(chunk)) if body.len() + chunk.len() <= ANSWER_LIMIT => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(serde_json::from_slice(&body).ok()),
            Ok(Some(_)) | Err(_) => return Ok(None),
        }
    }
}
