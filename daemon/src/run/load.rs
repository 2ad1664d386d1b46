//! A workflow as it is given: an object, a file, or a link.

use super::{Graph, RunError};
use crate::ctx::Ctx;
use crate::source::http::Http;
use crate::source::link;
use serde_json::value::RawValue;
use serde_json::{Value, from_str};
use std::path::Path;

/// The largest workflow that is read from a file or a link, in bytes. ComfyUI's own are well below 1 MiB.
const MAX_WORKFLOW: u64 = 16 << 20;

/// Reads a workflow: an object is one itself, a text is the absolute path or the link of one.
///
/// # Errors
/// A file or link that cannot be read, or that holds no workflow in API format.
pub(super) async fn load(ctx: &Ctx, http: &Http, given: &RawValue) -> Result<Graph, RunError> {
    let value: Value = from_str(given.get()).map_err(|error| RunError::NotAWorkflow(error.to_string()))?;
    let Value::String(place) = value else { return Graph::parse(value) };
    let text = if place.contains("://") {
        link::read(ctx, http, &place, MAX_WORKFLOW).await.map_err(RunError::Link)?
    } else {
        read(&place).await?
    };
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text);
    Graph::parse(serde_json::from_slice(text).map_err(|error| RunError::NotAWorkflow(error.to_string()))?)
}

async fn read(path: &str) -> Result<Vec<u8>, RunError> {
    let unreadable = |source| RunError::File { path: path.to_owned(), source };
    if !Path::new(path).is_absolute() {
        return Err(unreadable(std::io::Error::other("its path is not absolute")));
    }
    let size = tokio::fs::metadata(path).await.map_err(unreadable)?.len();
    if size > MAX_WORKFLOW {
        return Err(RunError::NotAWorkflow(format!("it is larger than {} MiB", MAX_WORKFLOW >> 20)));
    }
    tokio::fs::read(path).await.map_err(unreadable)
}
