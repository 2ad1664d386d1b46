//! What the Hub answers.

use super::{Access, File, Shared, commit, stored};
use crate::file_server::rate_limit;
use crate::seen::Seen;
use crate::serve::answer;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, Uri};
use percent_encoding::percent_decode_str;
use std::sync::Arc;

pub(super) async fn handle(
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
        if uri.path() == "/api/whoami-v2" {
            let nobody = || refusal(401, "", "Invalid username or password.", None);
            return token.map_or_else(nobody, |_| answer(200, &[], r#"{"type":"user","name":"someone"}"#));
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
