//! Model files: from a link to a whole file at its place.
//!
//! A file is put together in `<models>/.comfyd`, which is no model folder, so ComfyUI never lists a
//! part of one. It gets its name only after it was proved to be what was asked for: as long as the host
//! said, well-formed where the format can tell, and no page that says why there is no file. The link is
//! the key: a file that stands at its place is never looked into again, and of all who want one link at
//! a time, one fetches it.

mod error;
mod hosts;
pub mod hub_cache;
pub mod links;
mod local;
mod place;
mod remote;
mod transfer;
mod verify;

pub use error::ModelError;
pub use hosts::own_url;
pub use place::Place;
pub use remote::Identity;
use remote::Remote as _;
pub use verify::tensor_bytes;

use crate::ctx::{Ctx, Task};
use crate::source::http::{Http, Retries, Waited};
use crate::store::commit;
use hosts::Hosts;
use links::Entry;
use proto::source::{Location, ModelSource};
use transfer::{Claim, Limits, Outcome, Wanted, Whole};

/// What a host tells about a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    /// Which file it is, and its size where the host tells.
    pub identity: Identity,
}

/// The hosts that models come from. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Models {
    hosts: Hosts,
    limits: Limits,
}

/// The turn to fetch one link: as long as it lives, others who want that link wait. Dropping it blocks
/// for a few file operations.
#[derive(Debug)]
pub struct Turn<'a> {
    source: &'a ModelSource,
    place: Place<'a>,
    /// None for a file of this machine.
    claim: Option<Claim>,
}

/// How a fetch ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched {
    /// The model stands at its place.
    Here {
        /// Its size in bytes.
        size: u64,
    },
    /// The turn was lost to someone else, who took this process for dead. Take another turn, and look
    /// again whether the file is there.
    Lost,
}

impl Models {
    /// Fetches through the given client.
    pub fn with_http(http: Http) -> Self {
        Self { hosts: Hosts::new(http), limits: Limits::default() }
    }

    /// Bounds what background transfers bring, all of them together, in bytes a second.
    #[must_use]
    pub fn with_background_rate(mut self, bytes: Option<u64>) -> Self {
        if let Some(bytes) = bytes {
            self.limits.bound_background(bytes);
        }
        self
    }

    /// Asks a host for a model without fetching it: at most a byte travels. Cancel-safe.
    ///
    /// # Errors
    /// As [`Models::fetch`]: a model that is missing, gated or forbidden is found out here.
    pub async fn probe(&self, ctx: &Ctx, source: &ModelSource) -> Result<Probed, ModelError> {
        if let Location::File(path) = source.location() {
            let size = local::file_size(path).await?;
            return Ok(Probed { identity: Identity { size: Some(size), ..Identity::default() } });
        }
        let remote = self.hosts.file(source)?;
        let mut retries = Retries::default();
        loop {
            // HEAD is refused by links that were signed for GET, so the first byte is asked for.
            match remote.open(ctx, 0..1, None).await {
                Ok(opened) => return Ok(Probed { identity: opened.identity }),
                Err(error) => pause(ctx, &mut retries, error).await?,
            }
        }
    }

    /// Waits for the turn to fetch a link to a place, while others fetch it, and shows their progress in
    /// `task`. Whoever has it looks whether the file has come meanwhile. A file of this machine needs no
    /// turn and gets it at once. Cancel-safe.
    ///
    /// # Errors
    /// When the disk refuses, or the others get nowhere for an hour.
    pub async fn turn<'a>(
        &self,
        ctx: &Ctx,
        source: &'a ModelSource,
        place: Place<'a>,
        task: &Task,
    ) -> Result<Turn<'a>, ModelError> {
        let claim = match source.location() {
            Location::File(_) => None,
            _ => Some(Claim::take(ctx, &place.hidden().await?, source, task).await?),
        };
        Ok(Turn { source, place, claim })
    }

    /// Fetches a model to the place that the turn is for, replacing what is there. What an earlier call left, in this process
    /// or another, is gone on with. `task` should count bytes. Cancel-safe: parts stay for a later call,
    /// and only complete files are ever left under `place`.
    ///
    /// # Errors
    /// The kind tells missing from forbidden, unreachable and no space.
    pub async fn fetch(&self, ctx: &Ctx, turn: Turn<'_>, task: &Task) -> Result<Fetched, ModelError> {
        let Turn { source, place, claim } = turn;
        let size = match (source.location(), claim) {
            (Location::File(path), _) => take(ctx, source, path, place).await?,
            (_, Some(claim)) => {
                let remote = self.hosts.file(source)?;
                let wanted = Wanted { remote: &remote, link: source, limits: &self.limits };
                match transfer::transfer(ctx, wanted, claim, task).await? {
                    Outcome::Whole(whole) => publish(ctx, source, whole, place).await?,
                    Outcome::Lost => return Ok(Fetched::Lost),
                }
            }
            // A turn without a claim is for files of this machine only.
            (_, None) => return Ok(Fetched::Lost),
        };
        task.set(size, Some(size));
        Ok(Fetched::Here { size })
    }
}

/// Proves a transferred file, gives it its place and returns its size. Then those go on who wait for it.
async fn publish(ctx: &Ctx, source: &ModelSource, whole: Whole, place: Place<'_>) -> Result<u64, ModelError> {
    let Whole { path, identity, claim } = whole;
    let publish = async {
        commit::step("transfer.prove", "prove", &path)?;
        let size = place.prove(source, path.clone()).await?;
        let Identity { sha256, commit, validator: etag, .. } = identity;
        let entry = Entry { source: source.to_string(), size, sha256, commit, etag };
        let dest = place.path();
        links::publish(ctx, place, entry, move || {
            commit::step("transfer.publish", "publish", &dest)?;
            Ok(commit::publish(&path, &dest)?)
        })
        .await
        .map(|()| size)
    };
    let published: Result<u64, ModelError> = claim.beating(publish).await;
    commit::step("transfer.published", "end the transfer of", &place.path())?;
    if matches!(published, Ok(_) | Err(ModelError::NotAModel { .. })) {
        claim.finish();
    }
    published
}

/// Gives a file of this machine its place as a model. Returns its size.
async fn take(ctx: &Ctx, source: &ModelSource, path: &str, place: Place<'_>) -> Result<u64, ModelError> {
    let unfinished = local::take(path, place).await?;
    let size = place.prove(source, unfinished.path().to_owned()).await?;
    let entry = Entry { source: source.to_string(), size, ..Entry::default() };
    let dest = place.path();
    links::publish(ctx, place, entry, move || unfinished.publish(&dest)).await?;
    Ok(size)
}

/// Waits before the next attempt, or gives the error back when there is to be none.
async fn pause(ctx: &Ctx, retries: &mut Retries, error: ModelError) -> Result<(), ModelError> {
    match retries.wait(ctx, error.again(), &error.in_one_line()).await {
        Waited::Again => Ok(()),
        Waited::Over => Err(error),
        Waited::Cancelled => Err(ModelError::Cancelled),
    }
}
