//! Civitai: which file a version's link means, and what its refusals mean. Pure.

use super::listing::Listing;
use super::refusal::{Said, Verdict};
use crate::source::http::text;
use proto::ErrorKind;
use serde::Deserialize;
use std::time::Duration;
use url::form_urlencoded;

/// A pause after "an unusual amount of downloading": Civitai counts by the hour and says no time.
const CALM: Duration = Duration::from_secs(30);

/// Files that a hint names at most.
const FILES_TOLD: usize = 6;

/// Answer of `api/v1/model-versions/<id>`, as far as it is of use.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Version {
    #[serde(default)]
    pub(super) files: Vec<File>,
}

/// Answer of `api/v1/models/<id>`, as far as it is of use. The newest version comes first.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Model {
    #[serde(default)]
    pub(super) model_versions: Vec<VersionId>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct VersionId {
    pub(super) id: u64,
}

/// A file of a version.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct File {
    pub(super) id: u64,
    name: String,
    r#type: Option<String>,
    primary: Option<bool>,
    metadata: Option<Metadata>,
    hashes: Option<Hashes>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    format: Option<String>,
    size: Option<String>,
    fp: Option<String>,
    quant_type: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Hashes {
    #[serde(rename = "SHA256")]
    sha256: Option<String>,
}

impl File {
    /// Returns what is known of the file. The API's `sizeKB` is rounded, so its size is not.
    pub(super) fn listing(&self) -> Listing {
        let sha256 = self.hashes.as_ref().and_then(|hashes| hashes.sha256.as_deref());
        Listing { sha256: sha256.and_then(Listing::sha256), ..Listing::default() }
    }

    fn attribute(&self, name: &str) -> Option<&str> {
        let metadata = self.metadata.as_ref();
        match name {
            "type" => self.r#type.as_deref(),
            "format" => metadata?.format.as_deref(),
            "size" => metadata?.size.as_deref(),
            "fp" => metadata?.fp.as_deref(),
            "quantType" => metadata?.quant_type.as_deref(),
            _ => None,
        }
    }
}

impl Version {
    /// Returns the file that a link's query means: the one of `fileId`, else the primary of those that
    /// have all the attributes, else the only one. `None` leaves the choice to the site.
    ///
    /// Left alone, the site mixes the query with the preferences of the token's owner, so that one link
    /// means different files for different people (civitai, `file.service.ts`).
    pub(super) fn choose(&self, query: &str) -> Option<&File> {
        let wanted: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
        if let Some((_, id)) = wanted.iter().find(|(name, _)| name == "fileId") {
            let id: u64 = id.parse().ok()?;
            return self.files.iter().find(|file| file.id == id);
        }
        let has = |file: &File, name: &str, value: &str| {
            file.attribute(name).is_some_and(|attribute| attribute.eq_ignore_ascii_case(value))
        };
        let fits = |file: &&File| wanted.iter().all(|(name, value)| has(file, name, value));
        let fitting: Vec<&File> = self.files.iter().filter(fits).collect();
        let primary = fitting.iter().find(|file| file.primary == Some(true));
        primary.or(fitting.first().filter(|_| fitting.len() == 1)).copied()
    }

    /// Returns the version's files as a hint names them.
    pub(super) fn choices(&self) -> Option<String> {
        let told = |file: &File| {
            let attributes = ["type", "format", "size", "fp"].iter().filter_map(|name| file.attribute(name));
            let attributes = attributes.collect::<Vec<_>>().join(" ");
            format!("`fileId={}` ({}, {attributes})", file.id, file.name)
        };
        let told: Vec<String> = self.files.iter().take(FILES_TOLD).map(told).collect();
        (!told.is_empty()).then(|| format!("its files are {}", told.join(", ")))
    }
}

/// Returns what to write where the id of a model stands in place of a version's.
pub(super) fn newest(id: u64, newest: u64) -> String {
    format!("`{id}` is a model; its newest version is {newest}: write `civitai://models/{newest}`")
}

/// Says what a refusal of Civitai itself means; `None` where its status says it all. The answers are those
/// of its download handler, `api/download/models/[modelVersionId].ts`.
pub(super) fn refusal(said: &Said<'_>, token: bool) -> Option<Verdict> {
    let body: serde_json::Value = serde_json::from_slice(said.body).unwrap_or_default();
    let field = |name: &str| body.get(name).and_then(serde_json::Value::as_str).unwrap_or_default();
    let reason = [field("message"), field("error")].into_iter().find(|text| !text.is_empty());
    let says = reason.map_or_else(|| "no reason given".to_owned(), |reason| said.quote(reason));
    let access = |says: String, hint: &str| Verdict::new(ErrorKind::Access, says, hint);
    Some(match said.status.as_u16() {
        400 => Verdict::new(ErrorKind::Spec, says, "choose the file by `fileId=…` in the link"),
        401 if says.contains("disabled downloads") => {
            access(says, "no token helps; use another version or another source")
        }
        401 if token => access(says, "check that CIVITAI_TOKEN is valid and may download it"),
        403 if field("error") == "Early Access" => {
            let until = Some(field("deadline")).filter(|deadline| !deadline.is_empty());
            let until = until.map(|deadline| format!(" (until {})", said.quote(deadline)));
            access(says + &until.unwrap_or_default(), "buy early access, or wait until it ends")
        }
        403 if field("error") == "Forbidden" => access(says, "Civitai blocks this address or this account"),
        403 if token => access(says, "check that the account of CIVITAI_TOKEN may download it"),
        401 | 403 => access(says, "set CIVITAI_TOKEN"),
        // Storage that did not answer looks like a missing model, but for this header.
        404 if text(said.headers, "cache-control").is_some_and(|value| value.contains("no-store")) => {
            Verdict { hint: None, ..Verdict::new(ErrorKind::Network, says, "").transient() }
        }
        404 => {
            Verdict::new(ErrorKind::NotFound, says, "the version may be unpublished or deleted; check its id")
        }
        410 => Verdict::new(ErrorKind::NotFound, says, "use another version or another source"),
        429 => {
            let hint = "Civitai counts downloads by the hour; what has arrived is kept, try again later";
            Verdict { pause: Some(CALM), ..Verdict::new(ErrorKind::Network, says, hint).transient() }
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::StatusCode;
    use reqwest::header::HeaderMap;

    fn version() -> Version {
        serde_json::from_value(serde_json::json!({ "id": 9, "files": [
            { "id": 1, "name": "a.ckpt", "type": "Model", "sizeKB": 1.5,
              "metadata": { "format": "PickleTensor", "size": "full", "fp": "fp32" }, "hashes": {} },
            { "id": 2, "name": "a.safetensors", "type": "Model", "primary": true,
              "metadata": { "format": "SafeTensor", "size": "pruned", "fp": "fp16" },
              "hashes": { "SHA256": "AB".repeat(32), "AutoV2": "x" } },
            { "id": 3, "name": "a.vae.pt", "type": "VAE", "metadata": { "format": "Other" } },
        ] }))
        .unwrap()
    }

    #[test]
    fn the_query_chooses_the_file() {
        let version = version();
        let table = [
            ("", Some(2)),
            ("type=Model", Some(2)),
            ("type=Model&format=PickleTensor", Some(1)),
            ("type=model&format=safetensor&size=pruned&fp=fp16", Some(2)),
            ("type=VAE", Some(3)),
            ("fileId=1", Some(1)),
            ("fileId=1&type=VAE", Some(1)),
            ("fileId=7", None),
            ("type=Model&fp=int8", None),
            ("quantType=Q4", None),
        ];
        for (query, expected) in table {
            assert_eq!(version.choose(query).map(|file| file.id), expected, "{query}");
        }
        assert_eq!(version.files[1].listing().sha256, Some("ab".repeat(32)));
        assert_eq!(version.files[0].listing(), Listing::default());
        assert!(version.choices().unwrap().contains("`fileId=1` (a.ckpt, Model PickleTensor full fp32)"));
        assert!(Version::default().choose("").is_none() && Version::default().choices().is_none());
    }

    #[test]
    fn refusals() {
        let login = r#"{"error":"Unauthorized","message":"The creator requires you to be logged in"}"#;
        let disabled =
            r#"{"error":"Unauthorized","message":"The creator has disabled downloads on this file"}"#;
        let early = r#"{"error":"Early Access","deadline":"2026-12-01T00:00:00Z","message":"early"}"#;
        let none = r#"{"error":"You do not have access to download this file"}"#;
        let access = ErrorKind::Access;
        let table = [
            (401, login, false, access, "be logged in", "set CIVITAI_TOKEN"),
            (401, login, true, access, "be logged in", "is valid"),
            (401, disabled, true, access, "disabled", "no token helps"),
            (403, early, true, access, "until 2026-12-01", "wait until it ends"),
            (403, none, true, access, "have access", "account of CIVITAI_TOKEN"),
            (403, none, false, access, "have access", "set CIVITAI_TOKEN"),
            (403, r#"{"error":"Forbidden"}"#, true, access, "Forbidden", "blocks"),
            (404, "<html>", true, ErrorKind::NotFound, "no reason given", "unpublished"),
            (410, r#"{"error":"Model archived"}"#, true, ErrorKind::NotFound, "archived", "another"),
            (400, r#"{"error":"Invalid format"}"#, true, ErrorKind::Spec, "Invalid", "fileId"),
            (429, r#"{"error":"unusual amount"}"#, true, ErrorKind::Network, "unusual", "by the hour"),
        ];
        for (status, body, token, kind, says, hint) in table {
            let headers = HeaderMap::new();
            let said = Said::new(StatusCode::from_u16(status).unwrap(), &headers, body.as_bytes());
            let verdict = refusal(&said, token).unwrap();
            let told = verdict.hint.unwrap_or_default();
            assert!(verdict.kind == kind && verdict.says.contains(says), "{status} {body}: {}", verdict.says);
            assert!(told.contains(hint), "{status} {body}: {told}");
            assert_eq!(verdict.transient, status == 429, "{status} {body}");
        }
        let headers =
            HeaderMap::from_iter([("cache-control".parse().unwrap(), "private, no-store".parse().unwrap())]);
        let said = Said::new(StatusCode::NOT_FOUND, &headers, b"{}");
        assert!(refusal(&said, true).unwrap().transient, "the storage did not answer");
        assert!(refusal(&Said::new(StatusCode::BAD_GATEWAY, &headers, b""), true).is_none());
    }
}
