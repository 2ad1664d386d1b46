//! Model files: from a link to a whole file at its place.
//!
//! A file is put together in `<models>/.comfyd`, which is no model folder, so ComfyUI never lists a
//! part of one. It gets its name only after it was proved to be what was asked for: as long as the host
//! said, well-formed where the format can tell, and no page that says why there is no file. The link is
//! the key: a file that stands at its place is never looked into again, and of all who want one link at
//! a time, one fetches it.

mod answer;
mod error;
mod link;
mod local;
mod place;
mod remote;
mod transfer;
mod verify;
mod web;

pub use error::{Again, ModelError};
pub use place::Place;
pub use remote::Identity;

use crate::config::Config;
use crate::ctx::{Ctx, Task};
use crate::source::http::{Http, Part, Retries, Timeouts};
use proto::source::{Location, ModelSource};
use transfer::{Claim, Limits, Outcome, Whole};
use web::Web;

/// The hosts that models come from. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Models {
    http: Http,
    limits: Limits,
}

/// How a model came to its place, or did not.
#[derive(Debug)]
pub enum Fetched {
    /// It was fetched and stands at its place.
    New(New),
    /// Nothing was done: someone else ended a transfer of the same link while this one waited. The file
    /// may stand at another place now, or that one gave up; then a second call fetches it.
    Elsewhere,
}

/// A model that came to its place.
#[derive(Debug)]
pub struct New {
    /// Its size in bytes.
    pub size: u64,
    /// What file it is, as far as its host told.
    pub identity: Identity,
    /// Keeps those waiting who want the same link, as long as this value lives.
    claim: Option<Claim>,
}

impl New {
    /// Lets those go on who waited for the same link: whoever looks finds the file from now on.
    /// Dropping the value does the same. Blocks for a few file operations.
    pub fn release(self) {
        drop(self.claim);
    }
}

impl Models {
    /// Makes a client with the tokens and mirrors of `config`. Touches no disk.
    pub fn new(config: &Config) -> Self {
        Self::with_http(Http::new(config.hosts.clone(), Timeouts::default()))
    }

    /// Fetches through the given client.
    pub fn with_http(http: Http) -> Self {
        Self { http, limits: Limits::default() }
    }

    /// Returns a model's size in bytes without fetching it; `None` where the host does not tell.
    /// Cancel-safe.
    ///
    /// # Errors
    /// As [`Models::fetch`]: a link that cannot be fetched is found out here.
    pub async fn probe(&self, ctx: &Ctx, source: &ModelSource) -> Result<Option<u64>, ModelError> {
        if let Location::File(path) = source.location() {
            return local::file_size(path).await.map(Some);
        }
        let url = link::url(source, self.http.hosts())?;
        let mut retries = Retries::default();
        loop {
            // HEAD is refused by links that were signed for GET, so the first byte is asked for.
            let part = Part { from: 0, to: Some(0), etag: None };
            let error = match self.http.get(ctx, &url, Some(part)).await {
                Ok(answer) => match answer::accept(source, self.http.hosts(), answer).await {
                    Ok(accepted) => return Ok(accepted.total),
                    Err(error) => error,
                },
                Err(error) => ModelError::from(error),
            };
            pause(ctx, &mut retries, error).await?;
        }
    }

    /// Fetches a model to its place, replacing what is there. What an earlier call left, in this process
    /// or another, is gone on with; someone who fetches the same link now is waited for. `task` should
    /// count bytes. Cancel-safe: parts stay and can be taken up, and only complete files are ever left
    /// under `place`.
    ///
    /// # Errors
    /// The kind tells missing from forbidden, unreachable and no space.
    pub async fn fetch(
        &self,
        ctx: &Ctx,
        source: &ModelSource,
        place: Place<'_>,
        task: &Task,
    ) -> Result<Fetched, ModelError> {
        if let Location::File(path) = source.location() {
            let size = local::take(source, path, place).await?;
            task.set(size, Some(size));
            let identity = Identity { size: Some(size), ..Identity::default() };
            return Ok(Fetched::New(New { size, identity, claim: None }));
        }
        let (remote, hidden) = (Web::new(&self.http, source)?, place.hidden().await?);
        let whole = match transfer::transfer(ctx, &remote, source, &hidden, &self.limits, task).await? {
            Outcome::Whole(whole) => whole,
            Outcome::Elsewhere => return Ok(Fetched::Elsewhere),
        };
        let Whole { path, identity, claim } = whole;
        let published = claim.beating(place.publish(source, path)).await;
        if matches!(published, Ok(_) | Err(ModelError::NotAModel { .. })) {
            claim.finish();
        }
        let size = published?;
        task.set(size, Some(size));
        Ok(Fetched::New(New { size, identity, claim: Some(claim) }))
    }
}

/// Waits before the next attempt, or gives the error back when there is to be none.
async fn pause(ctx: &Ctx, retries: &mut Retries, error: ModelError) -> Result<(), ModelError> {
    let asked = match error.again() {
        Again::Never => return Err(error),
        Again::Later => None,
        Again::After(pause) => Some(pause),
    };
    let Some(pause) = retries.next(asked) else { return Err(error) };
    ctx.progress.note(retries.sentence(pause, &error.in_one_line()));
    tokio::select! {
        () = ctx.cancel.cancelled() => Err(ModelError::Cancelled),
        () = tokio::time::sleep(pause) => Ok(()),
    }
}
