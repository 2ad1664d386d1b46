//! A Hugging Face Hub. Big files are redirected to a storage host that wants a fresh signature and no
//! token; small ones to a cache of the Hub's own. Headers are those that the real one sends.

use crate::file_server::{Content, Expired, Fault, FileServer, Life, Signer, rate_limit};
use crate::seen::{Log, Seen};
use crate::serve::{Serving, answer, serve};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, Uri};
use percent_encoding::percent_decode_str;
use std::collections::BTreeMap;
use std::io::{Seek as _, Write as _};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard};

/// A Hub. Its endpoint calls itself `127.0.0.1`, its storage `localhost`.
#[derive(Debug)]
pub struct Hub {
    /// The storage that big files are redirected to: faults of transfers belong there.
    pub storage: FileServer,
    shared: Arc<Shared>,
    serving: Serving,
}

/// Whom a repository is for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Access {
    /// For all.
    #[default]
    Public,
    /// For the accounts of these tokens, which accepted its conditions. Others learn that there are some.
    Gated(Vec<String>),
    /// For the accounts of these tokens. Others do not learn that it is there.
    Private(Vec<String>),
    /// For nobody any more.
    Disabled,
}

#[derive(Debug, Default)]
struct Repo {
    access: Access,
    files: BTreeMap<String, File>,
}

#[derive(Debug, Clone)]
struct File {
    content: Content,
    etag: String,
    is_big: bool,
}

#[derive(Debug)]
struct Shared {
    repos: Mutex<BTreeMap<String, Repo>>,
    /// Tokens of accounts; any will do while there are none.
    tokens: Mutex<Vec<String>>,
    /// Answers that say "too many requests", and the seconds that they tell.
    limited: Mutex<(u32, u64)>,
    seen: Log,
    storage: Signer,
}

impl Hub {
    /// Starts a Hub without repositories on a free port, and its storage on another.
    pub fn start() -> Self {
        let storage = FileServer::start();
        let shared = Arc::new(Shared {
            repos: Mutex::default(),
            tokens: Mutex::default(),
            limited: Mutex::default(),
            seen: Log::default(),
            storage: storage.signer(),
        });
        let serving = serve(Router::new().fallback(handle).with_state(shared.clone()));
        Self { storage, shared, serving }
    }

    /// Returns its address, as for `HF_ENDPOINT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.serving.address)
    }

    /// Puts a big file, one of LFS or Xet, into `repo`: `owner/name`, or `datasets/owner/name`. It stands
    /// in the storage as [`Hub::stored`].
    pub fn put(&self, repo: &str, path: &str, content: impl Into<Content>) {
        let content = content.into();
        let file = File { etag: content.sha256(), content: content.clone(), is_big: true };
        let stored = stored(&file.etag);
        self.storage.put(&stored, content);
        // An hour on the real one.
        self.storage.signed(&stored, Life::Forever, Expired::Forbidden);
        self.shared.repos().entry(repo.to_owned()).or_default().files.insert(path.to_owned(), file);
    }

    /// Puts a small file, one of git itself, into `repo`.
    pub fn put_small(&self, repo: &str, path: &str, content: impl Into<Content>) {
        let content = content.into();
        let file = File { etag: blob_id(&content), content, is_big: false };
        self.shared.repos().entry(repo.to_owned()).or_default().files.insert(path.to_owned(), file);
    }

    /// Returns where the storage has a big file now.
    ///
    /// # Panics
    /// When there is no such file.
    pub fn stored(&self, repo: &str, path: &str) -> String {
        stored(&self.shared.repos()[repo].files[path].etag)
    }

    /// Lets signatures for a big file count no longer than this.
    pub fn signatures_live(&self, repo: &str, path: &str, life: Life) {
        self.storage.signed(&self.stored(repo, path), life, Expired::Forbidden);
    }

    /// Lets the next requests for a big file's content meet these faults, one each.
    pub fn storage_faults(&self, repo: &str, path: &str, faults: impl IntoIterator<Item = Fault>) {
        self.storage.faults(&self.stored(repo, path), faults);
    }

    /// Says whom a repository is for.
    pub fn access(&self, repo: &str, access: Access) {
        self.shared.repos().entry(repo.to_owned()).or_default().access = access;
    }

    /// Lets only these tokens be good from now on.
    pub fn tokens(&self, tokens: &[&str]) {
        let tokens = tokens.iter().map(|token| (*token).to_owned()).collect();
        *self.shared.tokens.lock().expect("no panic with the lock held") = tokens;
    }

    /// Answers the next `times` requests with 429, and with the seconds to the end of the window.
    pub fn rate_limit(&self, times: u32, seconds: u64) {
        *self.shared.limited.lock().expect("no panic with the lock held") = (times, seconds);
    }

    /// Returns the commit that `main` of a repository is now.
    pub fn commit(&self, repo: &str) -> String {
        commit(repo, &self.shared.repos()[repo])
    }

    /// Returns all requests so far, without those to the storage.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.all()
    }
}

impl Shared {
    fn repos(&self) -> MutexGuard<'_, BTreeMap<String, Repo>> {
        self.repos.lock().expect("no panic with the lock held")
    }

    /// Counts a request against the limit; returns the seconds to wait when there were too many.
    fn limited(&self) -> Option<u64> {
        let mut limited = self.limited.lock().expect("no panic with the lock held");
        let left = limited.0.checked_sub(1)?;
        limited.0 = left;
        Some(limited.1)
    }
}

async fn handle(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response<Body> {
    let seen = Seen::new(&method, &uri, &headers);
    shared.seen.add(seen.clone());
    let limited = shared.limited();
    let (left, window) = limited.map_or((2999, 300), |seconds| (0, seconds));
    let mut response = match limited {
        Some(_) => answer(429, &[], "We had to rate limit your IP"),
        None => shared.answer(&uri, &seen),
    };
    for (name, value) in rate_limit(left, window) {
        response.headers_mut().insert(name, value.parse().expect("a header's value"));
    }
    response
}

/// What a path of the Hub names.
struct Asked {
    repo: String,
    revision: String,
    file: String,
    /// Whether it is the address that a small file is redirected to.
    cached: bool,
}

/// Reads `/[datasets/]owner/name/resolve/<revision>/<path>` and `/api/resolve-cache/models/…`.
fn asked(path: &str) -> Option<Asked> {
    let (cached, path) = match path.strip_prefix("/api/resolve-cache/") {
        Some(rest) => (true, rest.strip_prefix("models/").unwrap_or(rest)),
        None => (false, path.strip_prefix('/')?),
    };
    let (kind, rest) = match path.split_once('/') {
        Some((kind @ ("datasets" | "spaces"), rest)) => (format!("{kind}/"), rest),
        _ => (String::new(), path),
    };
    let mut parts = rest.splitn(3, '/');
    let repo = format!("{kind}{}/{}", parts.next()?, parts.next()?);
    let rest = parts.next()?;
    let rest = if cached { rest } else { rest.strip_prefix("resolve/")? };
    let (revision, file) = rest.split_once('/')?;
    let decoded = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
    Some(Asked { repo, revision: decoded(revision), file: decoded(file), cached })
}

/// An answer that names an error as huggingface_hub reads it.
fn refusal(status: u16, code: &str, message: &str, commit: Option<&str>) -> Response<Body> {
    let mut headers = vec![("x-error-message", message), ("content-type", "text/plain; charset=utf-8")];
    headers.extend(Some(("x-error-code", code)).filter(|(_, code)| !code.is_empty()));
    headers.extend(commit.map(|commit| ("x-repo-commit", commit)));
    answer(status, &headers, message.to_owned())
}

impl Shared {
    fn answer(&self, uri: &Uri, seen: &Seen) -> Response<Body> {
        let token = seen.authorization.as_deref().map(|text| text.trim_start_matches("Bearer "));
        let tokens = self.tokens.lock().expect("no panic with the lock held").clone();
        if token.is_some_and(|token| !tokens.is_empty() && !tokens.iter().any(|known| known == token)) {
            return refusal(401, "", "Invalid credentials in Authorization header", None);
        }
        let missing = || {
            // Who is logged in learns as little as who is not, but for the status.
            let status = if token.is_some() { 404 } else { 401 };
            refusal(status, "RepoNotFound", "Repository not found", None)
        };
        let Some(asked) = asked(uri.path()) else { return answer(404, &[], "") };
        let repos = self.repos();
        let Some(repo) = repos.get(&asked.repo) else { return missing() };
        let may = |tokens: &[String]| tokens.iter().any(|known| Some(known.as_str()) == token);
        match &repo.access {
            Access::Gated(tokens) if !may(tokens) => return gated(&asked.repo, token.is_some()),
            Access::Private(tokens) if !may(tokens) => return missing(),
            Access::Disabled => return refusal(403, "", "Access to this resource is disabled.", None),
            Access::Public | Access::Gated(_) | Access::Private(_) => {}
        }
        let commit = commit(&asked.repo, repo);
        if asked.revision != "main" && asked.revision != commit {
            let says = format!("Invalid rev id: {}", asked.revision);
            return refusal(404, "RevisionNotFound", &says, None);
        }
        match repo.files.get(&asked.file) {
            None => refusal(404, "EntryNotFound", "Entry not found", Some(&commit)),
            Some(file) if file.is_big => self.big(file, &asked.repo, &commit),
            Some(file) => small(file, &asked, &commit),
        }
    }

    fn big(&self, file: &File, repo: &str, commit: &str) -> Response<Body> {
        let to = self.storage.sign(&stored(&file.etag));
        let auth = format!("</api/models/{repo}/xet-read-token/{commit}>; rel=\"xet-auth\"");
        let headers = [
            ("location", to.as_str()),
            ("x-repo-commit", commit),
            ("x-linked-etag", &format!("\"{}\"", file.etag)),
            ("x-linked-size", &file.content.len().to_string()),
            // Not a SHA-256: a tree of the chunks' hashes.
            ("x-xet-hash", &file.etag.chars().rev().collect::<String>()),
            ("link", &auth),
            ("accept-ranges", "bytes"),
            ("content-type", "text/plain; charset=utf-8"),
        ];
        answer(302, &headers, format!("Found. Redirecting to {to}"))
    }
}

fn gated(repo: &str, has_token: bool) -> Response<Body> {
    let status = if has_token { 403 } else { 401 };
    let says = format!("Access to model {repo} is restricted. You must have access to it.");
    refusal(status, "GatedRepo", &says, None)
}

fn small(file: &File, asked: &Asked, commit: &str) -> Response<Body> {
    let etag = format!("\"{}\"", file.etag);
    let common = [("etag", etag.as_str()), ("x-repo-commit", commit)];
    if asked.cached {
        // Whole and without a length whatever was asked for, as texts come that may be compressed.
        let stream = futures_util::stream::iter([Ok::<_, std::io::Error>(file.content.to_vec())]);
        return answer(200, &common, Body::from_stream(stream));
    }
    let repo = if asked.repo.matches('/').count() == 1 {
        format!("models/{}", asked.repo)
    } else {
        asked.repo.clone()
    };
    let to =
        format!("/api/resolve-cache/{repo}/{commit}/{}?download=true&etag=%22{}%22", asked.file, file.etag);
    answer(307, &[&common[..], &[("location", to.as_str())]].concat(), format!("Redirecting to {to}"))
}

fn stored(sha256: &str) -> String {
    format!("/xet-bridge-us/{}/{sha256}", &sha256[..24])
}

/// A commit's id follows from what the repository holds.
fn commit(name: &str, repo: &Repo) -> String {
    let files =
        repo.files.iter().fold(name.to_owned(), |text, (path, file)| format!("{text}\n{path} {}", file.etag));
    Content::from(files).sha256()[..40].to_owned()
}

/// Returns the id that git gives to a file. Blocks.
fn blob_id(content: &Content) -> String {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(&content.to_vec()).expect("it can be written");
    file.rewind().expect("a file can be rewound");
    let output = Command::new("git").args(["hash-object", "--stdin"]).stdin(file).output();
    String::from_utf8_lossy(&output.expect("git is installed").stdout).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw::{get, header, status};

    #[test]
    fn a_big_file_is_redirected_and_a_small_one_too() {
        let hub = Hub::start();
        hub.put("o/r", "a.safetensors", "big");
        hub.put_small("o/r", "dir/config.json", "{}");
        let resolve = |path: &str| get(&format!("{}/o/r/resolve/main/{path}", hub.endpoint()), "").0;
        let head = resolve("a.safetensors");
        assert!(head.starts_with("HTTP/1.1 302"), "{head}");
        let value = |name| header(&head, name).unwrap();
        assert_eq!(value("x-linked-etag"), format!("\"{}\"", Content::from("big").sha256()));
        assert_eq!((value("x-linked-size"), value("x-repo-commit")), ("3".to_owned(), hub.commit("o/r")));
        let (stored, body) = get(&value("location"), "");
        assert_eq!(body, b"big");
        assert_ne!(header(&stored, "etag"), Some(value("x-linked-etag")), "the storage has its own");
        assert_eq!(status(&value("location"), "Authorization: Bearer x\r\n"), 400);

        let head = resolve("dir/config.json");
        // `printf {} | git hash-object --stdin`
        let blob = "\"9e26dfeeb6e641a33dae4961196235bdb965b21b\"";
        assert_eq!(header(&head, "etag").as_deref(), Some(blob));
        let to = header(&head, "location").unwrap();
        assert!(to.starts_with("/api/resolve-cache/models/o/r/"), "{to}");
        let (_, body) = get(&format!("{}{to}", hub.endpoint()), "");
        assert_eq!(body, b"2\r\n{}\r\n0\r\n\r\n", "in chunks");
    }

    #[test]
    fn refusals_have_their_codes() {
        let hub = Hub::start();
        for repo in ["o/open", "o/gated", "o/private", "o/gone"] {
            hub.put(repo, "a", "a");
        }
        hub.access("o/gated", Access::Gated(vec!["good".to_owned()]));
        hub.access("o/private", Access::Private(vec!["good".to_owned()]));
        hub.access("o/gone", Access::Disabled);
        hub.tokens(&["good", "other"]);
        let table = [
            ("o/none/resolve/main/a", "", 401, "RepoNotFound"),
            ("o/open/resolve/v9/a", "", 404, "RevisionNotFound"),
            ("o/open/resolve/main/b", "", 404, "EntryNotFound"),
            ("o/gated/resolve/main/a", "", 401, "GatedRepo"),
            ("o/gated/resolve/main/a", "other", 403, "GatedRepo"),
            ("o/gated/resolve/main/a", "good", 302, ""),
            ("o/private/resolve/main/a", "other", 404, "RepoNotFound"),
            ("o/gone/resolve/main/a", "", 403, ""),
            ("o/open/resolve/main/a", "bad", 401, ""),
        ];
        for (path, token, status, code) in table {
            let token = format!("Authorization: Bearer {token}\r\n");
            let headers = if token.contains("Bearer \r") { "" } else { &token };
            let (head, _) = get(&format!("{}/{path}", hub.endpoint()), headers);
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{path} {token}: {head}");
            assert_eq!(header(&head, "x-error-code").unwrap_or_default(), code, "{path} {token}");
        }
        hub.rate_limit(1, 7);
        let url = format!("{}/o/open/resolve/main/a", hub.endpoint());
        assert_eq!(header(&get(&url, "").0, "ratelimit").as_deref(), Some("\"resolvers\";r=0;t=7"));
        assert_eq!(status(&url, ""), 302);
    }
}
