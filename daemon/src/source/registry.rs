//! The Comfy Registry, as far as it tells in which repository a pack of custom nodes lives.
//!
//! Packs have ids there, and versions that are archives; a spec has repositories and commits. Only questions
//! that count nothing and install nothing are asked.

use super::http::Http;
use super::link::{self, LinkError};
use crate::ctx::Ctx;
use proto::ErrorKind;
use serde::Deserialize;
use url::Url;

/// The registry itself.
const HOST: &str = "https://api.comfy.org";

/// The longest answer that is read, in bytes: a pack with the notes of its latest version.
const ANSWER_LIMIT: u64 = 1 << 20;

/// A pack of custom nodes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Pack {
    /// Its id.
    pub id: String,
    /// Its repository, as its author wrote it.
    #[serde(default)]
    pub repository: Option<String>,
}

/// Returns the pack with this id (`GET /nodes/{nodeId}` of the registry's published interface); none when there is
/// no such pack. Cancel-safe.
///
/// # Errors
/// The registry does not answer, or answers something else.
pub async fn pack(ctx: &Ctx, http: &Http, id: &str) -> Result<Option<Pack>, LinkError> {
    ask(ctx, http, &["nodes", id]).await
}

/// Returns the pack that brings a class of nodes, the most used one of several (`GET
/// /comfy-nodes/{comfyNodeName}/node`). Cancel-safe.
///
/// # Errors
/// As [`pack`].
pub async fn pack_of_class(ctx: &Ctx, http: &Http, class: &str) -> Result<Option<Pack>, LinkError> {
    ask(ctx, http, &["comfy-nodes", class, "node"]).await
}

async fn ask(ctx: &Ctx, http: &Http, path: &[&str]) -> Result<Option<Pack>, LinkError> {
    let Some(url) = address(http.hosts().registry_endpoint.as_deref(), path) else { return Ok(None) };
    match link::read(ctx, http, url.as_str(), ANSWER_LIMIT).await {
        // What is no pack is an answer to another question: an id of dots, say, is a list of all packs.
        Ok(body) => Ok(serde_json::from_slice(&body).ok()),
        // A name that it takes for no name at all is refused, not sought.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound) => Ok(None),
        Err(LinkError::Refused { status, .. }) if status.as_u16() == 400 => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes the address of a question; each part is escaped, whatever it holds.
fn address(endpoint: Option<&str>, path: &[&str]) -> Option<Url> {
    let mut url = Url::parse(endpoint.unwrap_or(HOST)).ok()?;
    url.path_segments_mut().ok()?.pop_if_empty().extend(path);
    Some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped() {
        let table = [
            (None, "comfyui-kjnodes", "https://api.comfy.org/nodes/comfyui-kjnodes"),
            (Some("http://127.0.0.1:8/r/"), "a/../b?c#d", "http://127.0.0.1:8/r/nodes/a%2F..%2Fb%3Fc%23d"),
            (None, "..", "https://api.comfy.org/nodes"),
        ];
        for (endpoint, id, expected) in table {
            let url = address(endpoint, &["nodes", id]);
            assert_eq!(url.map(String::from).as_deref(), Some(expected), "{id}");
        }
    }
}
