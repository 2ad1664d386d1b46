//! Specs from what people have: snapshots, workflows, pictures, installations; and locks for other programs.
//!
//! Each origin is read into what it tells (`found`), without asking anyone: `snapshot`, `workflow`, `picture` are
//! pure, `installation` looks at a disk. `known` adds links that this machine knows, `lookup` asks the registry and
//! the repositories, and `write` makes the spec. What remains unknown is told, never guessed silently, and never
//! keeps the rest from being written.

mod classes;
mod error;
mod extra_paths;
mod found;
mod installation;
mod installed_models;
mod known;
mod lookup;
mod models_named;
mod picture;
mod sidecar;
pub mod snapshot;
mod workflow;
mod write;

pub use error::ImportError;

use crate::ctx::{Ctx, blocking};
use crate::source::Sources;
use crate::store::commit::{create_dir_all, create_file, sync_file, write_file};
use crate::store::places::Home;
use found::Found;
use known::Known;
use proto::VersionId;
use proto::method::{NewAnswer, Origin};
use std::path::{Path, PathBuf};
use write::Written;

/// Where ComfyUI is developed.
pub const COMFYUI: &str = "https://github.com/comfyanonymous/ComfyUI";

/// A spec that is to be made.
#[derive(Debug)]
pub struct Request {
    /// The version.
    pub id: VersionId,
    /// What it is made from; ComfyUI's newest release alone when absent.
    pub from: Option<Origin>,
    /// Where it is written; nowhere when absent.
    pub path: Option<PathBuf>,
    /// Whether a spec that stands there is replaced.
    pub force: bool,
    /// Whether no host is asked.
    pub offline: bool,
    /// Where the client is: its specs are looked into, too.
    pub cwd: Option<String>,
    /// The version's home: models that lie there have links that are known.
    pub home: Home,
}

/// Makes a spec, and writes it. Cancel-safe until it is written, which is one step.
///
/// # Errors
/// The origin is not what it is said to be, a spec stands there, or the disk refuses. What is not known is no
/// error.
pub async fn import(ctx: &Ctx, sources: &Sources, request: Request) -> Result<NewAnswer, ImportError> {
    let Request { id, from, path, force, offline, cwd, home } = request;
    if let Some(path) = path.clone().filter(|path| !force && path.exists()) {
        return Err(ImportError::Exists(path));
    }
    ctx.progress.phase("read");
    let (config, is_asked) = (sources.config.clone(), from.is_some());
    let reading = blocking(move || {
        let mut found = from.map_or_else(|| Ok(Found::default()), read)?;
        if found.models.iter().any(|model| model.link.is_none()) {
            Known::gather(&config, &home, cwd.as_deref()).complete(&mut found);
        }
        Ok::<_, ImportError>(found)
    });
    let found = tokio::select! {
        // What still reads a disk then ends by itself, and changes nothing.
        () = ctx.cancel.cancelled() => return Err(ImportError::Cancelled),
        found = reading => found?,
    };
    let found = lookup::complete(ctx, sources, found, (offline, is_asked)).await?;
    let Written { text, spec, unknown, warnings } = write::write(found, &id)?;
    if let Some(path) = path.clone() {
        let text = text.clone();
        blocking(move || save(&path, &text, force)).await?;
    }
    let path = path.map(|path| path.display().to_string());
    Ok(NewAnswer { version_id: id, path, text, spec, unknown, warnings })
}

/// Reads an origin. Blocks.
fn read(origin: Origin) -> Result<Found, ImportError> {
    match origin {
        Origin::Snapshot(text) => snapshot::read(&text),
        Origin::Workflow(text) => workflow::read(&text),
        Origin::Picture(bytes) => workflow::read(&picture::workflow(&bytes)?),
        Origin::Comfyui(dir) => installation::read(Path::new(&dir)),
    }
}

/// Writes a spec; one that stands there is replaced only where that was asked for. Blocks.
fn save(path: &Path, text: &str, force: bool) -> Result<(), ImportError> {
    if force {
        return Ok(write_file(path, text.as_bytes())?);
    }
    let dir = path.parent().unwrap_or(path);
    create_dir_all(dir)?;
    if !create_file(path, text.as_bytes())? {
        return Err(ImportError::Exists(path.to_owned()));
    }
    sync_file(path)?;
    Ok(sync_file(dir)?)
}
