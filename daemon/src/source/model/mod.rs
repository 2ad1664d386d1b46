//! Model files: from a link to a whole file at its place.
//!
//! A file is written under a unique name in `<models>/.comfyd`, which is no model folder, so ComfyUI
//! never lists a part of one. It gets its name only after it was proved to be what was asked for: as
//! long as the host said, well-formed where the format can tell, and no page that says why there is
//! no file. The link is the key: a file that stands at its place is never looked into again.

mod answer;
mod download;
mod error;
pub mod hub_cache;
mod link;
pub mod links;
mod remote;
mod staging;
mod verify;

pub use error::{Again, ModelError};
pub use remote::Identity;

use crate::config::Config;
use crate::ctx::{Ctx, Task};
use crate::source::http::{Http, Part, Retries, Timeouts};
use download::Download;
use links::Entry;
use proto::RelPath;
use proto::source::{Location, ModelSource};
use staging::Staging;
use std::path::{Path, PathBuf};

/// Where a model belongs.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The models directory.
    pub models_dir: &'a Path,
    /// The model's path in it.
    pub target: &'a RelPath,
}

impl Place<'_> {
    /// Returns the file's path.
    pub fn path(&self) -> PathBuf {
        self.models_dir.join(self.target.as_str())
    }
}

/// The hosts that models come from. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Models {
    http: Http,
}

impl Models {
    /// Makes a client with the tokens and mirrors of `config`. Touches no disk.
    pub fn new(config: &Config) -> Self {
        Self::with_http(Http::new(config.hosts.clone(), Timeouts::default()))
    }

    /// Fetches through the given client.
    pub fn with_http(http: Http) -> Self {
        Self { http }
    }

    /// Returns a model's size in bytes without fetching it; `None` where the host does not tell.
    /// Cancel-safe.
    ///
    /// # Errors
    /// As [`Models::fetch`]: a link that cannot be fetched is found out here.
    pub async fn probe(&self, ctx: &Ctx, source: &ModelSource) -> Result<Option<u64>, ModelError> {
        if let Location::File(path) = source.location() {
            return staging::file_size(path).await.map(Some);
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

    /// Fetches a model to its place, replacing what is there, and returns its size. A broken
    /// connection is taken up where it broke. `task` should count bytes. Cancel-safe: nothing but
    /// complete files is ever left under `place`.
    ///
    /// # Errors
    /// The kind tells missing from forbidden, unreachable and no space.
    pub async fn fetch(
        &self,
        ctx: &Ctx,
        source: &ModelSource,
        place: Place<'_>,
        task: &Task,
    ) -> Result<u64, ModelError> {
        let staging = Staging::create(place.models_dir, &place.path()).await?;
        if let Location::File(path) = source.location() {
            staging.take_file(path).await?;
        } else {
            let url = link::url(source, self.http.hosts())?;
            let download = Download { http: &self.http, source, url: &url, staging: staging.path(), task };
            download.run(ctx).await?;
        }
        let size = staging.prove(source, place.target.file_name()).await?;
        let entry = Entry { source: source.to_string(), size, ..Entry::default() };
        links::publish(ctx, place, entry, move || staging.publish()).await?;
        task.set(size, Some(size));
        Ok(size)
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
