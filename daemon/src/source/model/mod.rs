//! Model files: from a link to a whole file at its place.
//!
//! A file is written under a unique name in `<models>/.comfyd`, which is no model folder, so ComfyUI
//! never lists a part of one. It gets its name only after it was proved to be what was asked for: as
//! long as the host said, well-formed where the format can tell, and no page that says why there is
//! no file. The link is the key: a file that stands at its place is never looked into again.

mod download;
mod error;
mod hosts;
pub mod hub_cache;
pub mod links;
mod remote;
mod staging;
mod verify;

pub use error::{Again, ModelError};
pub use remote::Identity;
use remote::Remote as _;

use crate::config::Config;
use crate::ctx::{Ctx, Task};
use crate::source::http::{Http, Retries, Timeouts};
use download::Download;
use hosts::Hosts;
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
}

impl Models {
    /// Makes a client with the tokens and mirrors of `config`. Touches no disk.
    pub fn new(config: &Config) -> Self {
        Self::with_http(Http::new(config.hosts.clone(), Timeouts::default()))
    }

    /// Fetches through the given client.
    pub fn with_http(http: Http) -> Self {
        Self { hosts: Hosts::new(http) }
    }

    /// Asks a host for a model without fetching it: at most a byte travels. Cancel-safe.
    ///
    /// # Errors
    /// As [`Models::fetch`]: a model that is missing, gated or forbidden is found out here.
    pub async fn probe(&self, ctx: &Ctx, source: &ModelSource) -> Result<Probed, ModelError> {
        if let Location::File(path) = source.location() {
            let size = staging::file_size(path).await?;
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
            let remote = self.hosts.file(source)?;
            let download = Download { remote: &remote, source, staging: staging.path(), task };
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
