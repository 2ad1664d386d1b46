//! Talking to a server: listing refs and receiving a pack. All of it blocks; a read that gets nothing
//! for [`READ_TIMEOUT`] fails.

use super::blocking::Control;
use super::cache::{object_id, pin};
use super::error::{Failure, GitError};
use super::refs::{Listed, candidates, choose};
use super::url::RepoUrl;
use gix::bstr::{BStr, BString};
use gix::protocol::handshake::Ref;
use gix::protocol::transport::Protocol;
use gix::protocol::transport::client::blocking_io::{Transport, http};
use gix::remote::fetch::{Shallow, Tags};
use gix::remote::{Connection, Direction, ref_map};
use proto::CommitId;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long one read may take. It also bounds how long a cancelled fetch lingers, since gix looks at
/// the flag between reads only.
const READ_TIMEOUT: Duration = Duration::from_secs(25);

type Connected<'a, 'r> = Connection<'a, 'static, 'r, Box<dyn Transport + Send>>;

/// Lists the server's refs with these names. A pattern is written `refs/tags/*`.
pub(super) fn list(repo: &gix::Repository, url: &RepoUrl, names: &[String]) -> Result<Vec<Listed>, GitError> {
    Ok(list_with_version(repo, url, names)?.0)
}

fn list_with_version(
    repo: &gix::Repository,
    url: &RepoUrl,
    names: &[String],
) -> Result<(Vec<Listed>, Protocol), GitError> {
    let specs = names.iter().map(|name| match name.strip_suffix('*') {
        Some(prefix) => BString::from(format!("{prefix}*:refs/comfyd/list/{prefix}*")),
        None => BString::from(name.as_str()),
    });
    let listed = || {
        let mut remote = repo.remote_at(url.as_str())?.with_fetch_tags(Tags::None);
        remote.replace_refspecs(specs, Direction::Fetch)?;
        connect(&remote)?.ref_map(gix::progress::Discard, ref_map::Options::default())
    };
    let (map, handshake) =
        listed().map_err(|error| GitError::remote("list the refs of", url.shown(), &error))?;
    let listed = map.remote_refs.into_iter().filter_map(as_listed).collect();
    Ok((listed, handshake.server_protocol_version))
}

fn as_listed(listed: Ref) -> Option<Listed> {
    let (name, target, object) = match listed {
        Ref::Direct { full_ref_name, object } | Ref::Peeled { full_ref_name, object, .. } => {
            (full_ref_name, None, object)
        }
        Ref::Symbolic { full_ref_name, target, object, .. } => (full_ref_name, Some(target), object),
        Ref::Unborn { .. } => return None,
    };
    let target = target.map(|target| target.to_string());
    Some(Listed { name: name.to_string(), target, object: object.to_string() })
}

/// Receives one commit without its history and pins it. Where the server does not hand out commits by
/// id, the history of `git_ref`, else of every branch and tag, is received to find it in.
pub(super) fn receive_commit(
    repo: &gix::Repository,
    url: &RepoUrl,
    commit: &CommitId,
    git_ref: Option<&str>,
    control: &Control,
) -> Result<(), GitError> {
    let id = object_id(url, commit)?;
    let exact = vec![format!("+{commit}:{}", pin(commit))];
    let refusal = match receive(repo, url, &exact, &Shallow::DepthAtRemote(NonZeroU32::MIN), control) {
        // gix reads the refusal of an old server as a broken pack.
        Err(error @ GitError::Remote { failure: Failure::NotOurRef | Failure::Other, .. }) => error,
        other => return other,
    };
    let histories = histories(repo, url, git_ref)?;
    if histories.is_empty() && !matches!(refusal, GitError::Remote { failure: Failure::NotOurRef, .. }) {
        return Err(refusal);
    }
    for specs in histories {
        receive(repo, url, &specs, &Shallow::undo(), control)?;
        if repo.has_object(id) {
            let (name, old) = (pin(commit), gix::refs::transaction::PreviousValue::Any);
            let pinned = repo.reference(name, id, old, "pinned");
            return pinned.map(drop).map_err(GitError::cache("pin a commit in", url.shown()));
        }
    }
    Err(GitError::UnknownCommit { url: url.shown().to_owned(), commit: commit.clone() })
}

/// Returns the refspecs whose histories may hold a commit that the server refused, the likeliest first.
///
/// A server of protocol version 2 hands out whatever it has (git's upload-pack.c, `parse_want`): what
/// it refuses is nowhere. Older ones may hand out only what a ref points to. Nor can their history be
/// shortened: gix 0.90 sends them `deepen-relative`, which they answer with all of it.
fn histories(
    repo: &gix::Repository,
    url: &RepoUrl,
    git_ref: Option<&str>,
) -> Result<Vec<Vec<String>>, GitError> {
    let names = candidates(url, git_ref).unwrap_or_else(|_| vec!["HEAD".to_owned()]);
    let (listed, version) = list_with_version(repo, url, &names)?;
    if version == Protocol::V2 {
        return Ok(Vec::new());
    }
    // A ref that is gone since it was pinned is no reason to give up.
    let chosen = choose(url, git_ref, &listed).ok().flatten();
    let chosen = chosen.map(|found| vec![format!("+{}:refs/comfyd/seen/named", found.name)]);
    let all = ["heads", "tags"].map(|kind| format!("+refs/{kind}/*:refs/comfyd/seen/{kind}/*"));
    Ok(chosen.into_iter().chain([all.to_vec()]).collect())
}

fn receive(
    repo: &gix::Repository,
    url: &RepoUrl,
    specs: &[String],
    shallow: &Shallow,
    control: &Control,
) -> Result<(), GitError> {
    let received = || {
        let mut remote = repo.remote_at(url.as_str())?.with_fetch_tags(Tags::None);
        remote.replace_refspecs(specs.iter().map(|spec| BString::from(spec.as_str())), Direction::Fetch)?;
        let mut progress = control.counters.tree();
        let prepared = connect(&remote)?.prepare_fetch(&mut progress, ref_map::Options::default())?;
        prepared.with_shallow(shallow.clone()).receive(progress, &control.interrupt).map(drop)
    };
    if control.interrupted() {
        return Err(GitError::Cancelled(url.shown().to_owned()));
    }
    received().map_err(|error| {
        if control.interrupted() {
            GitError::Cancelled(url.shown().to_owned())
        } else {
            GitError::remote("fetch from", url.shown(), &error)
        }
    })
}

/// Connects with what gix's HTTP backend leaves out: proxy, user agent and a bound on each read.
fn connect<'a, 'r>(remote: &'a gix::Remote<'r>) -> Result<Connected<'a, 'r>, gix::Error> {
    let mut connection = remote.connect(Direction::Fetch)?;
    let Some(url) = remote.url(Direction::Fetch).map(gix::Url::to_bstring) else { return Ok(connection) };
    let options = remote.repo().transport_options(AsRef::<BStr>::as_ref(&url), None)?;
    let Some(mut options) = options.and_then(|options| options.downcast::<http::Options>().ok()) else {
        return Ok(connection);
    };
    let proxy = options.proxy.clone().filter(|proxy| !proxy.is_empty());
    let backend = http::reqwest::Options {
        configure_request: None,
        configure_client: Some(Box::new(move |mut builder| {
            if let Some(proxy) = &proxy {
                builder = builder.proxy(reqwest::Proxy::all(proxy).map_err(gix::Error::from_error)?);
            }
            Ok(builder.timeout(READ_TIMEOUT).user_agent(crate::source::http::USER_AGENT))
        })),
    };
    options.backend = Some(Arc::new(Mutex::new(backend)));
    connection.set_transport_options(options);
    Ok(connection)
}
