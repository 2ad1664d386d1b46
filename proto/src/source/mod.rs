//! Where a model comes from. The link is the key of the model cache, so all spellings of one file
//! have one canonical form, and reading the canonical form gives it back unchanged.
//!
//! A web link may carry a signature. It stays in memory for fetching and goes nowhere else:
//! showing, debugging and serialising a source leave it out.

mod air;
mod bucket;
mod civitai;
mod hub;
mod secrets;
#[cfg(test)]
mod tests;

pub(crate) use secrets::bare;
pub use secrets::strip_secrets;

use crate::ids::shown;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use std::fmt;
use url::Url;

/// A parsed model link. Two sources are equal when their canonical links are.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModelSource {
    text: String,
    location: Location,
}

/// The kinds of places that models come from. Names and paths are decoded.
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
    /// An object in a bucket of S3, or of a store that speaks its language.
    S3 {
        /// The bucket.
        bucket: String,
        /// The object's name.
        key: String,
    },
    /// An object in a bucket of Google Cloud Storage.
    Gs {
        /// The bucket.
        bucket: String,
        /// The object's name.
        key: String,
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
    /// What is wrong. Holds no query string and no user name of the link: tokens stand there.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

const FORMS: &str = "use `https://…`, `hf://owner/repo[@revision]/path`, `civitai://models/<version id>`, `urn:air:…`, `s3://bucket/key`, `gs://bucket/key`, `file:///…` or an absolute path";

impl ModelSource {
    /// Parses a link in any accepted spelling.
    ///
    /// # Errors
    /// An unknown scheme, a missing part, a glob, or a link that carries a password or token.
    pub fn parse(text: &str) -> Result<Self, InvalidSource> {
        // A plain path is taken as it is; everything else is a URL, where a space is written `%20`.
        if text.starts_with('/') {
            return file(text).map(Self::at);
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return invalid("the link has a space or control character", "write a space as `%20`");
        }
        if let Some(name) = air::strip(text) {
            return air::name(name).map(Self::at);
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return invalid(format!("`{}` is not a link", shown(bare(text))), FORMS);
        };
        let location = match scheme.to_ascii_lowercase().as_str() {
            "hf" => hub::link(rest),
            "civitai" => civitai::link(rest),
            "s3" => bucket::link(rest, |bucket, key| Location::S3 { bucket, key }),
            "gs" => bucket::link(rest, |bucket, key| Location::Gs { bucket, key }),
            "http" | "https" => web(text),
            "file" => decode(rest.strip_prefix("localhost").unwrap_or(rest)).and_then(|path| file(&path)),
            _ => invalid(format!("`{}://` links are not supported", shown(scheme)), FORMS),
        }?;
        Ok(Self::at(location))
    }

    fn at(location: Location) -> Self {
        Self { text: canonical(&location), location }
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
        match &self.location {
            Location::Http(url) => Self::at(Location::Http(strip_secrets(url))),
            _ => self.clone(),
        }
    }

    /// Returns the file name that the link suggests, where it does. It is not checked: the name may be
    /// unfit for a file.
    pub fn file_name(&self) -> Option<String> {
        let path = match &self.location {
            Location::HuggingFace { path, .. } | Location::File(path) => path.clone(),
            Location::S3 { key, .. } | Location::Gs { key, .. } => key.clone(),
            Location::Http(url) => decode(url.path()).ok()?,
            Location::Civitai { .. } => return None,
        };
        path.rsplit('/').next().filter(|name| !name.is_empty()).map(str::to_owned)
    }
}

impl fmt::Display for ModelSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.without_secrets().text)
    }
}

impl fmt::Debug for ModelSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ModelSource({self})")
    }
}

impl TryFrom<String> for ModelSource {
    type Error = InvalidSource;
    fn try_from(text: String) -> Result<Self, InvalidSource> {
        Self::parse(&text)
    }
}

/// Gives the link without signatures and tokens, so that no file and no answer ever holds one.
impl From<ModelSource> for String {
    fn from(source: ModelSource) -> String {
        source.without_secrets().text
    }
}

/// What is escaped in the paths of canonical links: all that ends a path, or means something else there.
const PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'*')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');
/// The same for a revision, which is one part of a path.
const REVISION: &AsciiSet = &PATH.add(b'/').add(b'@');

fn canonical(location: &Location) -> String {
    match location {
        Location::HuggingFace { repo_type, repo, revision, path } => {
            let prefix = if repo_type == "models" { String::new() } else { format!("{repo_type}/") };
            let at = if revision == "main" {
                String::new()
            } else {
                format!("@{}", utf8_percent_encode(revision, REVISION))
            };
            format!("hf://{prefix}{repo}{at}/{}", utf8_percent_encode(path, PATH))
        }
        Location::Civitai { version_id, query } if query.is_empty() => {
            format!("civitai://models/{version_id}")
        }
        Location::Civitai { version_id, query } => {
            format!("civitai://api/download/models/{version_id}?{query}")
        }
        Location::S3 { bucket, key } => format!("s3://{bucket}/{}", utf8_percent_encode(key, PATH)),
        Location::Gs { bucket, key } => format!("gs://{bucket}/{}", utf8_percent_encode(key, PATH)),
        Location::Http(url) => url.to_string(),
        Location::File(path) => format!("file://{}", utf8_percent_encode(path, PATH)),
    }
}

fn web(text: &str) -> Result<Location, InvalidSource> {
    let mut url = match Url::parse(text) {
        Ok(url) => url,
        Err(error) => return invalid(format!("the link cannot be parsed: {error}"), FORMS),
    };
    if !url.username().is_empty() || url.password().is_some() {
        return invalid(
            "the link carries a user name or password",
            "remove it; tokens belong into HF_TOKEN and CIVITAI_TOKEN of the daemon",
        );
    }
    // A fragment never reaches the host.
    url.set_fragment(None);
    match url.host_str().unwrap_or_default() {
        _ if url.port().is_some() => Ok(Location::Http(url)),
        "huggingface.co" | "www.huggingface.co" | "hf.co" => hub::page(&url),
        "civitai.com" | "www.civitai.com" | "civitai.red" | "civitai.green" => civitai::page(&url),
        _ => Ok(Location::Http(url)),
    }
}

/// `path` is decoded. Empty and `.` parts are dropped, so that one file has one name.
fn file(path: &str) -> Result<Location, InvalidSource> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if path.chars().any(char::is_control) {
        return invalid("the path has a control character", "rename the file");
    }
    if !path.starts_with('/') || path.ends_with('/') || parts.is_empty() || parts.contains(&"..") {
        return invalid(
            format!("`{}` is not the absolute path of a file, without `..`", shown(path)),
            "write `/directory/file` or `file:///directory/file`",
        );
    }
    Ok(Location::File(format!("/{}", parts.join("/"))))
}

fn decode(text: &str) -> Result<String, InvalidSource> {
    match percent_decode_str(text).decode_utf8() {
        Ok(decoded) => Ok(decoded.into_owned()),
        Err(_) => invalid("a `%xx` of the link is not UTF-8", "copy the link again from where it was taken"),
    }
}

fn invalid<T>(message: impl Into<String>, hint: impl Into<String>) -> Result<T, InvalidSource> {
    Err(InvalidSource { message: message.into(), hint: hint.into() })
}
