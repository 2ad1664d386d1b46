//! Where a model comes from. The link is the key of the model cache, so each accepted spelling has
//! one canonical form.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use url::Url;

/// Query parameters that grant access. They never reach a lock, a plan, a log or an error.
const SECRET_PARAMETERS: &[&str] = &[
    "x-amz-signature",
    "x-amz-credential",
    "x-amz-security-token",
    "x-goog-signature",
    "x-goog-credential",
    "signature",
    "sig",
    "policy",
    "key-pair-id",
    "token",
    "access_token",
    "api_key",
    "apikey",
    "key",
    "authorization",
];

/// A parsed model link.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct ModelSource {
    text: String,
    location: Location,
}

/// The kinds of places that models come from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Location {
    /// A file of a Hugging Face repository.
    HuggingFace {
        /// `models`, `datasets` or `spaces`.
        repo_type: String,
        /// `owner/name`.
        repo: String,
        /// Branch, tag or commit; `main` when the link names none.
        revision: String,
        /// The file's path in the repository.
        path: String,
    },
    /// A file of a Civitai model *version* (the id in `civitai://models/<id>` is a version id, as in
    /// the site's own download links).
    Civitai {
        /// Version id.
        version_id: u64,
        /// Selection such as `type=Model&format=SafeTensor`, without a token; may be empty.
        query: String,
    },
    /// Any other web link.
    Http(Url),
    /// A file on this machine, by absolute path.
    File(String),
}

/// Why a link cannot be used, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct InvalidSource {
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

fn invalid<T>(message: impl Into<String>, hint: impl Into<String>) -> Result<T, InvalidSource> {
    Err(InvalidSource { message: message.into(), hint: hint.into() })
}

const FORMS: &str = "use `https://…`, `hf://owner/repo[@revision]/path`, `civitai://models/<version id>`, `file:///…` or an absolute path";

impl ModelSource {
    /// Parses a link in any accepted spelling.
    ///
    /// # Errors
    /// An unknown scheme, a missing part, a glob, or a link that carries a password or token.
    pub fn parse(text: &str) -> Result<Self, InvalidSource> {
        if text.chars().any(|c| c.is_control() || c == ' ') {
            return invalid(
                format!("`{}` has a space or control character", text.escape_debug()),
                "write it percent-encoded (`%20`)",
            );
        }
        let location = match text.split_once("://") {
            Some(("hf", rest)) => hugging_face(rest)?,
            Some(("civitai", rest)) => civitai(rest)?,
            Some(("http" | "https", _)) => web(text)?,
            Some(("file", path)) => file(path.strip_prefix("localhost").unwrap_or(path))?,
            Some((scheme, _)) => return invalid(format!("`{scheme}://` links are not supported"), FORMS),
            None if text.starts_with('/') => file(text)?,
            None => return invalid(format!("`{text}` is not a link"), FORMS),
        };
        Ok(Self { text: canonical(&location), location })
    }

    /// Returns the place that the link names.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// Returns the canonical link, access parameters included. For fetching only, never for showing.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the same link without signatures and tokens: safe to show and to store.
    #[must_use]
    pub fn without_secrets(&self) -> Self {
        let Location::Http(url) = &self.location else { return self.clone() };
        let url = strip_secrets(url);
        Self { text: url.to_string(), location: Location::Http(url) }
    }

    /// Returns the file name that the link suggests, where it does.
    pub fn file_name(&self) -> Option<String> {
        let path = match &self.location {
            Location::HuggingFace { path, .. } | Location::File(path) => path.as_str(),
            Location::Http(url) => url.path(),
            Location::Civitai { .. } => return None,
        };
        path.rsplit('/').next().filter(|name| !name.is_empty()).map(percent_decode)
    }
}

impl fmt::Display for ModelSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.without_secrets().text)
    }
}

impl TryFrom<String> for ModelSource {
    type Error = InvalidSource;
    fn try_from(text: String) -> Result<Self, InvalidSource> {
        Self::parse(&text)
    }
}

impl From<ModelSource> for String {
    fn from(source: ModelSource) -> String {
        source.text
    }
}

/// Removes user info and access parameters from a URL.
pub fn strip_secrets(url: &Url) -> Url {
    let mut clean = url.clone();
    // Both fail only for URLs that cannot have user info, where there is nothing to remove.
    let _: Result<(), ()> = clean.set_username("");
    let _: Result<(), ()> = clean.set_password(None);
    let kept: Vec<&str> = url
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
        .filter(|pair| {
            let name = pair.split('=').next().unwrap_or_default().to_ascii_lowercase();
            !SECRET_PARAMETERS.contains(&name.as_str())
        })
        .collect();
    let query = kept.join("&");
    clean.set_query((!query.is_empty()).then_some(query.as_str()));
    clean
}

fn canonical(location: &Location) -> String {
    match location {
        Location::HuggingFace { repo_type, repo, revision, path } => {
            let prefix = if repo_type == "models" { String::new() } else { format!("{repo_type}/") };
            let at =
                if revision == "main" { String::new() } else { format!("@{}", revision.replace('/', "%2F")) };
            format!("hf://{prefix}{repo}{at}/{path}")
        }
        Location::Civitai { version_id, query } if query.is_empty() => {
            format!("civitai://models/{version_id}")
        }
        Location::Civitai { version_id, query } => {
            format!("civitai://api/download/models/{version_id}?{query}")
        }
        Location::Http(url) => url.to_string(),
        Location::File(path) => format!("file://{path}"),
    }
}

/// `[<type>/]owner/repo[@revision]/path[?rev=revision]`.
fn hugging_face(rest: &str) -> Result<Location, InvalidSource> {
    const FORM: &str =
        "write `hf://owner/repo[@revision]/path/to/file`; a `/` in a revision is written `%2F`";
    let (rest, query_revision) = match rest.split_once('?') {
        Some((path, query)) => {
            (path, query.split('&').find_map(|p| p.strip_prefix("rev=").or(p.strip_prefix("revision="))))
        }
        None => (rest, None),
    };
    let (repo_type, rest) = match rest.split_once('/') {
        Some((kind @ ("models" | "datasets" | "spaces"), rest)) => (kind, rest),
        _ => ("models", rest),
    };
    let mut parts = rest.splitn(3, '/');
    let (Some(owner), Some(name), Some(mut path)) = (parts.next(), parts.next(), parts.next()) else {
        return invalid(format!("`hf://{rest}` names no file"), FORM);
    };
    let (name, mut revision) = match name.split_once('@') {
        Some((name, revision)) => (name, percent_decode(revision)),
        None => (name, query_revision.map_or_else(|| "main".to_owned(), percent_decode)),
    };
    // `refs/pr/<n>` is the one revision that may be written with plain slashes.
    if revision == "refs" {
        let mut parts = path.splitn(3, '/');
        if let (Some(kind @ ("pr" | "convert")), Some(number), Some(file)) =
            (parts.next(), parts.next(), parts.next())
        {
            revision = format!("refs/{kind}/{number}");
            path = file;
        }
    }
    hub_file(repo_type, &format!("{owner}/{name}"), &revision, path, FORM)
}

fn hub_file(
    repo_type: &str,
    repo: &str,
    revision: &str,
    path: &str,
    form: &str,
) -> Result<Location, InvalidSource> {
    let path = percent_decode(path);
    let bad_part = |part: &str| part.is_empty() || part == "." || part == "..";
    if repo.split('/').chain(path.split('/')).any(bad_part) || revision.is_empty() {
        return invalid(format!("`{repo}@{revision}/{path}` has an empty or relative part"), form);
    }
    if path.contains(['*', '[', '?']) {
        return invalid(format!("`{path}` is a pattern"), "list each file as a model of its own");
    }
    Ok(Location::HuggingFace {
        repo_type: repo_type.into(),
        repo: repo.into(),
        revision: revision.into(),
        path,
    })
}

fn civitai(rest: &str) -> Result<Location, InvalidSource> {
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let id = path.strip_prefix("models/").or(path.strip_prefix("api/download/models/"));
    civitai_version(id.unwrap_or(path), query)
}

fn civitai_version(id: &str, query: &str) -> Result<Location, InvalidSource> {
    const FORM: &str =
        "write `civitai://models/<version id>`; the version id is the number in the site's download link";
    if query.split('&').any(|pair| pair.split('=').next() == Some("token")) {
        return invalid(
            "the link carries a Civitai token",
            "remove `token=…` from it and set CIVITAI_TOKEN for the daemon",
        );
    }
    match id.trim_end_matches('/').parse() {
        Ok(version_id) => Ok(Location::Civitai { version_id, query: query.to_owned() }),
        Err(_) => invalid(format!("`{id}` is not a Civitai version id"), FORM),
    }
}

fn web(text: &str) -> Result<Location, InvalidSource> {
    let url = match Url::parse(text) {
        Ok(url) => url,
        Err(error) => return invalid(format!("the link cannot be parsed: {error}"), FORMS),
    };
    if !url.username().is_empty() || url.password().is_some() {
        return invalid(
            "the link carries a user name or password",
            "remove it; tokens belong into HF_TOKEN and CIVITAI_TOKEN",
        );
    }
    match url.host_str().unwrap_or_default() {
        "huggingface.co" | "www.huggingface.co" | "hf.co" => hugging_face_page(&url),
        host @ ("civitai.com" | "www.civitai.com" | "civitai.red" | "civitai.green") => {
            civitai_page(&url, host)
        }
        _ => Ok(Location::Http(url)),
    }
}

/// `/[datasets/|spaces/]owner/repo/(resolve|blob|raw)/revision/path`.
fn hugging_face_page(url: &Url) -> Result<Location, InvalidSource> {
    const FORM: &str = "copy the link of one file: `https://huggingface.co/owner/repo/resolve/main/file`";
    let path = url.path().trim_start_matches('/');
    let (repo_type, path) = match path.split_once('/') {
        Some((kind @ ("datasets" | "spaces"), rest)) => (kind, rest),
        _ => ("models", path),
    };
    let mut parts = path.splitn(5, '/');
    let (Some(owner), Some(name), Some("resolve" | "blob" | "raw"), Some(revision), Some(file)) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return invalid(format!("`{}` is not the link of a file", strip_secrets(url)), FORM);
    };
    hub_file(repo_type, &format!("{owner}/{name}"), &percent_decode(revision), file, FORM)
}

fn civitai_page(url: &Url, host: &str) -> Result<Location, InvalidSource> {
    let path = url.path().trim_start_matches('/');
    if let Some(id) = path.strip_prefix("api/download/models/") {
        return civitai_version(id, url.query().unwrap_or_default());
    }
    if let Some((_, id)) = url.query_pairs().find(|(name, _)| name == "modelVersionId") {
        return civitai_version(&id, "");
    }
    invalid(
        format!("`https://{host}/{path}` is a page, not a file"),
        "open the model version and copy its download link, or write `civitai://models/<version id>`",
    )
}

fn file(path: &str) -> Result<Location, InvalidSource> {
    let path = percent_decode(path);
    if !path.starts_with('/') || path.split('/').any(|part| part == "..") {
        return invalid(format!("`{path}` is not an absolute path without `..`"), FORMS);
    }
    Ok(Location::File(path))
}

/// Decodes `%xx`; a broken escape stays as it is.
fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        if let Some(byte) = escape.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            decoded.push(byte);
            at += 3;
        } else {
            decoded.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8(decoded).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical_of(text: &str) -> String {
        match ModelSource::parse(text) {
            Ok(source) => source.as_str().to_owned(),
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn spellings_of_one_file_have_one_canonical_form() {
        let table = [
            ("hf://o/r/a/b.safetensors", "hf://o/r/a/b.safetensors"),
            ("hf://o/r@main/b.bin", "hf://o/r/b.bin"),
            ("hf://o/r/b.bin?rev=v2", "hf://o/r@v2/b.bin"),
            ("hf://o/r@refs/pr/3/b.bin", "hf://o/r@refs%2Fpr%2F3/b.bin"),
            ("hf://datasets/o/r/b.bin", "hf://datasets/o/r/b.bin"),
            ("https://huggingface.co/o/r/blob/main/b.bin", "hf://o/r/b.bin"),
            ("https://hf.co/o/r/resolve/abc/d/b.bin?download=true", "hf://o/r@abc/d/b.bin"),
            ("civitai://models/123", "civitai://models/123"),
            (
                "civitai://api/download/models/9?type=Model&format=SafeTensor",
                "civitai://api/download/models/9?type=Model&format=SafeTensor",
            ),
            ("https://civitai.com/api/download/models/9", "civitai://models/9"),
            ("https://civitai.com/models/1?modelVersionId=9", "civitai://models/9"),
            ("/data/x.pth", "file:///data/x.pth"),
            ("file:///data/x%20y.pth", "file:///data/x y.pth"),
            ("https://example.org/x.pth?v=1", "https://example.org/x.pth?v=1"),
        ];
        for (given, expected) in table {
            assert_eq!(canonical_of(given), expected, "{given}");
        }
    }

    #[test]
    fn links_that_cannot_work_say_what_to_write() {
        for bad in [
            "",
            "x.safetensors",
            "s3://b/k",
            "hf://o/r",
            "hf://o/r/*.safetensors",
            "hf://o/r/../x",
            "civitai://models/x",
            "civitai://models/1?token=abc",
            "https://u:p@example.org/x",
            "https://civitai.com/models/1",
            "https://huggingface.co/o/r",
            "file://relative",
            "/a/../b",
            "https://exa mple.org/",
            "https://",
        ] {
            assert!(ModelSource::parse(bad).is_err_and(|e| !e.hint.is_empty()), "{bad}");
        }
    }

    #[test]
    fn shown_links_hold_no_secret() {
        let link =
            "https://b.s3.amazonaws.com/k.bin?X-Amz-Expires=60&X-Amz-Signature=s3cr3t&X-Amz-Credential=AKIA";
        let source = ModelSource::parse(link).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(source.to_string(), "https://b.s3.amazonaws.com/k.bin?X-Amz-Expires=60");
        assert!(source.as_str().contains("s3cr3t"));
    }
}
