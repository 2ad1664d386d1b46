//! `repo`, `ref` and `commit`: of ComfyUI and of each custom node.

use super::RepoSpec;
use super::reader::{Fields, text};
use super::report::{Place, Placed, Problem, Report};
use crate::ids::{check_ref_name, shown};
use crate::source::bare;
use crate::{CommitId, NodeDir};
use url::Url;

const REPO_FORMS: &str = "write `https://host/owner/repo`, `ssh://git@host/owner/repo`, `git@host:owner/repo`, `file:///directory` or an absolute path";

/// Reads the three fields of a repository.
pub(super) fn read(report: &mut Report, fields: &Fields<'_>) -> Option<RepoSpec> {
    let repo = fields.require(report, "repo", REPO_FORMS).and_then(|node| text(report, &node));
    let repo = repo.and_then(|repo| report.take(&repo.place, check_url(repo.value)).map(|()| repo.value));
    let git_ref = fields.text(report, "ref");
    let commit = fields.text(report, "commit");
    let (git_ref, commit) = revision(report, git_ref, commit);
    Some(RepoSpec { repo: repo?.to_owned(), git_ref, commit })
}

/// Directory that `git clone` would make: the last part of the URL without `.git`.
pub(super) fn default_dir(repo: &str) -> Result<NodeDir, Problem> {
    let name = repo.trim_end_matches('/').rsplit(['/', ':']).next().unwrap_or_default();
    let name = name.strip_suffix(".git").unwrap_or(name);
    NodeDir::new(name).map_err(|error| Problem::name(&error, "give the directory's name in `name`"))
}

/// Returns whether two URLs differ only in a closing `/` or `.git`.
pub(super) fn same_repo(a: &str, b: &str) -> bool {
    fn stem(url: &str) -> &str {
        let url = url.trim_end_matches('/');
        url.strip_suffix(".git").unwrap_or(url)
    }
    stem(a) == stem(b)
}

/// What a text in `ref` or `commit` turns out to be.
enum Revision {
    Commit(CommitId),
    Name(String),
}

fn classify(text: &str) -> Result<Revision, Problem> {
    const HINT: &str =
        "give all 40 digits of the commit; if it is the name of a branch or tag, put it into `ref`";
    let hex = text.len() >= 7 && text.bytes().all(|b| b.is_ascii_hexdigit());
    if hex {
        return CommitId::new(text.to_ascii_lowercase()).map(Revision::Commit).map_err(|_| {
            Problem::new(format!("`{}` has {} hex digits; a commit has 40", shown(text), text.len()), HINT)
        });
    }
    check_ref_name(text).map(|()| Revision::Name(text.to_owned())).map_err(|message| {
        Problem::new(message, "write the name of a branch or tag, or all 40 digits of a commit")
    })
}

/// Old specs hold branches in `commit`, and some hold commits in `ref`: each goes where it belongs.
fn revision(
    report: &mut Report,
    git_ref: Option<Placed<&str>>,
    commit: Option<Placed<&str>>,
) -> (Option<String>, Option<CommitId>) {
    let git_ref = git_ref.and_then(|given| ref_field(report, &given).map(|revision| given.with(revision)));
    let commit =
        commit.and_then(|given| report.take(&given.place, classify(given.value)).map(|r| given.with(r)));
    let Some(commit) = commit else {
        return match git_ref.map(|given| given.value) {
            Some(Revision::Name(name)) => (Some(name), None),
            Some(Revision::Commit(id)) => (None, Some(id)),
            None => (None, None),
        };
    };
    match (git_ref.map(|given| given.value), commit.value) {
        (Some(Revision::Name(name)), Revision::Commit(id)) => (Some(name), Some(id)),
        (Some(Revision::Commit(in_ref)), Revision::Commit(id)) => {
            if in_ref != id {
                overruled(report, &commit.place, in_ref.as_str());
            }
            (None, Some(id))
        }
        (Some(Revision::Commit(in_ref)), Revision::Name(name)) => {
            overruled(report, &commit.place, in_ref.as_str());
            (Some(name), None)
        }
        (Some(Revision::Name(in_ref)), Revision::Name(name)) if in_ref != name => {
            overruled(report, &commit.place, &in_ref);
            (Some(name), None)
        }
        (None | Some(Revision::Name(_)), Revision::Name(name)) => {
            let message = format!("`{}` is no commit; it is taken as the ref", shown(&name));
            report.warn(&commit.place, message, "move it into `ref`; the lock pins its commit");
            (Some(name), None)
        }
        (None, Revision::Commit(id)) => (None, Some(id)),
    }
}

fn ref_field(report: &mut Report, given: &Placed<&str>) -> Option<Revision> {
    // A short run of hex digits is a fair name for a branch or tag (a date, say).
    if matches!(given.value.len(), 40 | 64)
        && let Ok(id) = CommitId::new(given.value.to_ascii_lowercase())
    {
        report.warn(&given.place, "this is a commit; it is taken as one", "move it into `commit`");
        return Some(Revision::Commit(id));
    }
    let hint = "write the name of a branch or tag";
    let checked = check_ref_name(given.value).map_err(|message| Problem::new(message, hint));
    report.take(&given.place, checked).map(|()| Revision::Name(given.value.to_owned()))
}

fn overruled(report: &mut Report, place: &Place, git_ref: &str) {
    let message = format!("this differs from `ref` (`{}`) and wins", shown(git_ref));
    report.warn(place, message, "keep one of the two: a branch or tag in `ref`, or 40 digits in `commit`");
}

fn check_url(text: &str) -> Result<(), Problem> {
    if text.is_empty() {
        return Err(Problem::new("the URL of the repository is empty", REPO_FORMS));
    }
    if text.chars().any(char::is_control) || text.trim() != text {
        return Err(Problem::new("the URL has a control character, or a space at an end", "remove it"));
    }
    if text.starts_with('-') {
        return Err(Problem::new("it starts with a dash, which git would read as an option", REPO_FORMS));
    }
    if text.starts_with('/') {
        return Ok(());
    }
    if text.contains(char::is_whitespace) {
        return Err(Problem::new("the URL has a space", "write it as `%20`"));
    }
    // `ext::command` makes git run the command; other `<helper>::…` run programs too.
    let helper = text.split_once("::").filter(|(helper, _)| !helper.contains(['/', '@', ':']));
    if let Some((helper, _)) = helper {
        return Err(Problem::new(format!("`{}::` starts a program of git's", shown(helper)), REPO_FORMS));
    }
    match text.split_once("://") {
        Some((scheme, _)) => check_absolute_url(&scheme.to_ascii_lowercase(), text),
        None => check_scp_form(text),
    }
}

fn check_absolute_url(scheme: &str, text: &str) -> Result<(), Problem> {
    if !["https", "http", "ssh", "git", "file"].contains(&scheme) {
        return Err(Problem::new(format!("`{}://` is not supported", shown(scheme)), REPO_FORMS));
    }
    let url = Url::parse(text)
        .map_err(|error| Problem::new(format!("the URL cannot be parsed: {error}"), REPO_FORMS))?;
    let login = !url.username().is_empty() && scheme != "ssh";
    if url.password().is_some() || login {
        return Err(Problem::new(
            "the URL carries a user name or password",
            "remove it and let a git credential helper answer (`git config --global credential.helper …`)",
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(Problem::new("the URL has a `?` or `#`", "write only the repository's URL"));
    }
    let host = url.host_str().unwrap_or_default();
    if scheme == "file" && !(host.is_empty() || host == "localhost") {
        return Err(Problem::new("a `file://` URL names another host", "write `file:///directory`"));
    }
    if (scheme != "file" && host.is_empty()) || host.starts_with('-') || url.username().starts_with('-') {
        return Err(Problem::new("the URL names no host", REPO_FORMS));
    }
    let path = url.path().trim_end_matches('/');
    if path.is_empty() {
        return Err(Problem::new("the URL names no repository", REPO_FORMS));
    }
    if scheme == "file" {
        return Ok(());
    }
    if is_page(&url) {
        let hint =
            "write the URL that `git clone` takes, and the branch, tag or commit into `ref` or `commit`";
        return Err(Problem::new("this is a page of the repository, not the repository", hint));
    }
    check_path(path)
}

/// `user@host:path`, as scp writes it.
fn check_scp_form(text: &str) -> Result<(), Problem> {
    let Some((user, host, path)) = text
        .split_once(':')
        .and_then(|(login, path)| login.split_once('@').map(|(user, host)| (user, host, path)))
    else {
        let message = format!("`{}` is not the URL of a repository", shown(bare(text)));
        return Err(Problem::new(message, REPO_FORMS));
    };
    let plain = |text: &str| !text.is_empty() && !text.starts_with('-') && !text.contains('/');
    if !plain(user) || !plain(host) || path.trim_matches('/').is_empty() || path.starts_with('-') {
        return Err(Problem::new("it is not of the form `user@host:path`", REPO_FORMS));
    }
    check_path(path)
}

fn check_path(path: &str) -> Result<(), Problem> {
    if path.rsplit('/').next().is_some_and(|last| last.contains('@')) {
        let hint = "put what follows the `@` into `ref`";
        return Err(Problem::new("the URL ends in `@…`, which git does not know", hint));
    }
    Ok(())
}

/// Links out of a browser's address bar: `github.com/owner/repo/tree/main`, `gitlab.com/…/-/tree/main`.
fn is_page(url: &Url) -> bool {
    let mut parts = url.path().trim_start_matches('/').split('/').skip(2);
    let github = url.host_str() == Some("github.com");
    url.path().contains("/-/")
        || (github && matches!(parts.next(), Some("tree" | "blob" | "commit" | "releases" | "pull")))
}
