//! Talking to a server: listing refs and receiving a pack. All of it blocks; a read that gets nothing
//! for a while fails (see `hosts`).

use super::blocking::Control;
use super::cache::{object_id, pin};
use super::error::{Failure, GitError};
use super::hosts;
use super::refs::{Listed, candidates, choose};
use super::url::RepoUrl;
use crate::store::commit::{step, sync_file, sync_small_tree};
use gix::bstr::BString;
use gix::protocol::handshake::Ref;
use gix::protocol::transport::Protocol;
use gix::protocol::transport::client::blocking_io::{Transport, http};
use gix::remote::fetch::{Shallow, Tags};
use gix::remote::{Connection, Direction, ref_map};
use proto::CommitId;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};

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
/// id, the history of `git_ref`, else of every branch and tag, is received to find it in. Returns whether
/// history was received.
pub(super) fn receive_commit(
    repo: &gix::Repository,
    url: &RepoUrl,
    commit: &CommitId,
    git_ref: Option<&str>,
    control: &Control,
) -> Result<bool, GitError> {
    let id = object_id(url, commit)?;
    // No ref on this side: gix would write it before the objects are synced.
    let exact = vec![commit.to_string()];
    let refusal = match receive(repo, url, &exact, &Shallow::DepthAtRemote(NonZeroU32::MIN), control) {
        // gix reads the refusal of an old server as a broken pack.
        Err(error @ GitError::Remote { failure: Failure::NotOurRef | Failure::Other, .. }) => error,
        Err(error) => return Err(error),
        Ok(version) => {
            pin_durably(repo, url, commit)?;
            return Ok(version != Protocol::V2);
        }
    };
    let histories = histories(repo, url, git_ref)?;
    if histories.is_empty() && !matches!(refusal, GitError::Remote { failure: Failure::NotOurRef, .. }) {
        return Err(refusal);
    }
    for specs in histories {
        receive(repo, url, &specs, &Shallow::undo(), control)?;
        if repo.has_object(id) {
            pin_durably(repo, url, commit)?;
            return Ok(true);
        }
    }
    Err(GitError::UnknownCommit { url: url.shown().to_owned(), commit: commit.clone() })
}

/// Pins a commit that was received, once its objects outlive the machine. A pin that a power loss leaves
/// empty is none.
fn pin_durably(repo: &gix::Repository, url: &RepoUrl, commit: &CommitId) -> Result<(), GitError> {
    let dir = repo.git_dir();
    let files = ["HEAD", "config", "shallow"].map(|name| dir.join(name));
    files.iter().filter(|file| file.exists()).try_for_each(|file| sync_file(file))?;
    sync_small_tree(&dir.join("objects"))?;
    sync_file(dir)?;
    let (name, old) = (pin(commit), gix::refs::transaction::PreviousValue::Any);
    let pinned = repo.reference(name.as_str(), object_id(url, commit)?, old, "pinned");
    pinned.map_err(GitError::cache_at("pin a commit in", url.shown(), dir))?;
    let path = dir.join(&name);
    // The directories of the first pin are new, too.
    path.ancestors().take_while(|step| *step != dir).try_for_each(|step| Ok(sync_file(step)?))
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
) -> Result<Protocol, GitError> {
    let received = || {
        let mut remote = repo.remote_at(url.as_str())?.with_fetch_tags(Tags::None);
        remote.replace_refspecs(specs.iter().map(|spec| BString::from(spec.as_str())), Direction::Fetch)?;
        let mut progress = control.counters.tree();
        // Without any name to filter by, which an id is not, a server lists all its refs: on big hosts one
        // for each pull request.
        let none = gix::refspec::parse("refs/comfyd/none".into(), gix::refspec::parse::Operation::Fetch)?;
        let filter = ref_map::Options { extra_refspecs: vec![none.to_owned()], ..Default::default() };
        let prepared = connect(&remote)?.prepare_fetch(&mut progress, filter)?;
        let outcome = prepared.with_shallow(shallow.clone()).receive(progress, &control.interrupt);
        outcome.map(|outcome| outcome.handshake.server_protocol_version)
    };
    if control.interrupted() {
        return Err(GitError::Cancelled(url.shown().to_owned()));
    }
    step("git.fetch", "fetch into", repo.path())?;
    let version = received().map_err(|error| {
        if control.interrupted() {
            GitError::Cancelled(url.shown().to_owned())
        } else {
            GitError::remote("fetch from", url.shown(), &error)
        }
    })?;
    step("git.fetched", "fetch into", repo.path())?;
    Ok(version)
}

/// Connects with what gix's HTTP backend leaves out.
pub(super) fn connect<'a, 'r>(remote: &'a gix::Remote<'r>) -> Result<Connected<'a, 'r>, gix::Error> {
    let mut connection = remote.connect(Direction::Fetch)?;
    if let Some(options) = options(remote)? {
        connection.set_transport_options(Box::new(options));
    }
    Ok(connection)
}

/// Returns what gix's HTTP backend is to be told; none where a repository is not reached by HTTP.
pub(super) fn options(remote: &gix::Remote<'_>) -> Result<Option<http::Options>, gix::Error> {
    let Some(url) = remote.url(Direction::Fetch).map(gix::Url::to_bstring) else { return Ok(None) };
    let Some(mut options) = hosts::options(remote.repo(), url.as_ref())? else { return Ok(None) };
    let reached = options.clone();
    let backend = http::reqwest::Options {
        configure_request: None,
        configure_client: Some(Box::new(move |builder| hosts::configure(&reached, builder))),
    };
    options.backend = Some(Arc::new(Mutex::new(backend)));
    Ok(Some(options))
}
