//! Links to files of Hugging Face repositories: `hf://…` and the site's own.

use super::{InvalidSource, Location, decode, invalid, secrets};
use crate::ids::{check_ref_name, shown};
use url::Url;

const FORM: &str =
    "write `hf://owner/repo[@revision]/path/to/file`; a `/` in the name of a revision is written `%2F`";
const PAGE: &str = "copy the link of one file: `https://huggingface.co/owner/repo/resolve/main/file`";

/// Reads what follows `hf://`: `[<type>/]owner/repo[@revision]/path[?rev=revision]`.
pub(super) fn link(text: &str) -> Result<Location, InvalidSource> {
    let (rest, query) = text.split_once('?').unwrap_or((text, ""));
    let (repo_type, rest) = repo_type(rest);
    let mut parts = rest.splitn(3, '/');
    let (Some(owner), Some(name), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
        return invalid(format!("`hf://{}` names no file", shown(secrets::bare(rest))), FORM);
    };
    // A literal pattern is a wish for many files; `%5B` and the like are part of a name.
    if path.contains(['*', '[']) {
        return invalid("the link has a pattern (`*`, `[…]`)", "list each file as a model of its own");
    }
    let known = |pair: &str| matches!(pair.split('=').next(), Some("" | "rev" | "revision" | "download"));
    if !query.split('&').all(known) {
        return invalid(
            "`?` in an `hf://` link takes only `rev=…`",
            "list each file as a model of its own; a `?` in a name is written `%3F`",
        );
    }
    let in_query =
        query.split('&').find_map(|pair| pair.strip_prefix("rev=").or(pair.strip_prefix("revision=")));
    let (name, in_name) = match name.split_once('@') {
        Some((name, revision)) => (name, Some(revision)),
        None => (name, None),
    };
    if in_name.is_some() && in_query.is_some() && in_name != in_query {
        return invalid("the link names two revisions", "keep either `@revision` or `?rev=revision`");
    }
    let (revision, path) = pull_request(in_name.or(in_query).unwrap_or("main"), path);
    file(repo_type, &format!("{owner}/{name}"), &revision, path, FORM)
}

/// Reads `/[datasets/|spaces/]owner/repo/(resolve|blob|raw)/revision/path` of the site.
pub(super) fn page(url: &Url) -> Result<Location, InvalidSource> {
    let (repo_type, path) = repo_type(url.path().trim_start_matches('/'));
    let mut parts = path.splitn(5, '/');
    let (Some(owner), Some(name), Some("resolve" | "blob" | "raw"), Some(revision), Some(path)) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return invalid(format!("`{}` is not the link of a file", shown(secrets::bare(url.as_str()))), PAGE);
    };
    let (revision, path) = pull_request(revision, path);
    file(repo_type, &format!("{owner}/{name}"), &revision, path, PAGE)
}

fn repo_type(path: &str) -> (&str, &str) {
    match path.split_once('/') {
        Some((kind @ ("models" | "datasets" | "spaces"), rest)) => (kind, rest),
        _ => ("models", path),
    }
}

/// `refs/pr/<n>` and `refs/convert/<format>` may be written with plain slashes: the rest of the name
/// then stands at the start of the path.
fn pull_request<'a>(revision: &str, path: &'a str) -> (String, &'a str) {
    let mut parts = path.splitn(3, '/');
    match (revision, parts.next(), parts.next(), parts.next()) {
        ("refs", Some(kind @ ("pr" | "convert")), Some(name), Some(path)) => {
            (format!("refs/{kind}/{name}"), path)
        }
        _ => (revision.to_owned(), path),
    }
}

/// Takes `revision` and `path` as they stand in the link, not yet decoded.
fn file(
    repo_type: &str,
    repo: &str,
    revision: &str,
    path: &str,
    form: &str,
) -> Result<Location, InvalidSource> {
    let (revision, path) = (decode(revision)?, decode(path)?);
    let plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with(['.', '-'])
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    };
    if !repo.split('/').all(plain) {
        return invalid(format!("`{}` is not the name of a Hugging Face repository", shown(repo)), form);
    }
    if let Err(message) = check_ref_name(&revision) {
        return invalid(message, form);
    }
    if path.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        return invalid(format!("`{}` has an empty or relative part", shown(&path)), form);
    }
    if path.chars().any(char::is_control) {
        return invalid("the path has a control character", form);
    }
    Ok(Location::HuggingFace { repo_type: repo_type.to_owned(), repo: repo.to_owned(), revision, path })
}
