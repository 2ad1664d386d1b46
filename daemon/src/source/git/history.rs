//! How many commits lie between two.
//!
//! Caches hold commits without their history, so the host is asked for it: a pack filtered by `tree:0` holds
//! commits and nothing else (git-rev-list(1), `--filter`), a few hundred bytes each. gix 0.90 fetches without
//! filters only, so the fetch is put together here, of gix's own parts. What came goes away again.

use super::blocking::Control;
use super::cache::{Cache, object_id};
use super::error::GitError;
use super::remote;
use super::url::RepoUrl;
use gix::ObjectId;
use gix::odb::pack;
use gix::protocol::fetch::negotiate::{Action, Round, one_round};
use gix::protocol::fetch::{Arguments, Context, Negotiate, Options, Response, Shallow, Tags};
use gix::protocol::transport::client::TransportWithoutIO as _;
use gix::protocol::transport::{Protocol, Service};
use proto::CommitId;

/// Returns how many commits only the first has, and how many only the second. Blocks.
pub(super) fn between(
    cache: &Cache,
    url: &RepoUrl,
    commits: [&CommitId; 2],
    control: &Control,
) -> Result<(u64, u64), GitError> {
    let [first, second] = [object_id(url, commits[0])?, object_id(url, commits[1])?];
    let (_scratch, repo) = cache.scratch(url)?;
    let failed = |error: gix::Error| {
        if control.interrupted() {
            GitError::Cancelled(url.shown().to_owned())
        } else {
            GitError::remote("fetch the history of", url.shown(), &error)
        }
    };
    if !receive(&repo, url, [first, second], control).map_err(failed)? {
        return Err(GitError::NoHistory(url.shown().to_owned()));
    }
    let only = |one, other| count(&repo, one, other).map_err(GitError::cache("count", url.shown()));
    Ok((only(first, second)?, only(second, first)?))
}

fn count(repo: &gix::Repository, of: ObjectId, without: ObjectId) -> Result<u64, gix::Error> {
    let mut number = 0;
    for commit in repo.rev_walk([of]).with_hidden([without]).all()? {
        commit?;
        number += 1;
    }
    Ok(number)
}

/// Receives all commits that two lead to. Returns false where the host knows no filters.
fn receive(
    repo: &gix::Repository,
    url: &RepoUrl,
    wanted: [ObjectId; 2],
    control: &Control,
) -> Result<bool, gix::Error> {
    let remote = repo.remote_at(url.as_str())?;
    let mut connection = remote::connect(&remote)?;
    let options = remote::options(&remote)?;
    let credentials = connection.configured_credentials_for_current_url();
    let transport = connection.transport_mut();
    if let Some(options) = &options {
        transport.configure(options)?;
    }
    let mut progress = control.counters.tree();
    let service = Service::UploadPack;
    let mut handshake =
        gix::protocol::handshake(&mut *transport, service, credentials, Vec::new(), &mut progress)?;
    let fetch = handshake.capabilities.capability("fetch");
    let filters = fetch.and_then(|fetch| fetch.supports("filter")).unwrap_or(false);
    if handshake.server_protocol_version != Protocol::V2 || !filters {
        return Ok(false);
    }
    let context = Context {
        handshake: &mut handshake,
        transport,
        user_agent: ("agent", Some(gix::env::agent().to_owned())),
        trace_packetlines: false,
    };
    let options = Options {
        shallow_file: repo.shallow_file()?,
        shallow: &Shallow::NoChange,
        tags: Tags::None,
        reject_shallow_remote: false,
    };
    let into = repo.objects.store_ref().path().join("pack");
    gix::protocol::fetch(
        &mut Commits(wanted),
        |reader, progress, interrupt| {
            let (bases, options) = (None::<gix::OdbHandle>, pack::bundle::write::Options::default());
            let hash = repo.object_hash();
            pack::Bundle::write_to_directory(reader, Some(&into), progress, interrupt, bases, hash, options)?;
            Ok(true)
        },
        progress,
        &control.interrupt,
        context,
        options,
    )?;
    Ok(true)
}

/// Asks for commits and all that they come from, without their files, and has nothing to offer.
struct Commits([ObjectId; 2]);

impl Negotiate for Commits {
    fn mark_complete_and_common_ref(&mut self) -> Result<Action, gix::Error> {
        Ok(Action::MustNegotiate { remote_ref_target_known: Vec::new() })
    }

    fn add_wants(&mut self, arguments: &mut Arguments, _: &[bool]) -> bool {
        arguments.filter("tree:0");
        self.0.iter().for_each(|commit| arguments.want(commit));
        true
    }

    fn one_round(
        &mut self,
        _: &mut one_round::State,
        _: &mut Arguments,
        _: Option<&Response>,
    ) -> Result<(Round, bool), gix::Error> {
        let round = Round {
            haves_sent: 0,
            in_vain: 0,
            haves_to_send: 0,
            previous_response_had_at_least_one_in_common: false,
        };
        Ok((round, true))
    }
}
