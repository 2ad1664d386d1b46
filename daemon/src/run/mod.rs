//! Workflows: inputs in, progress, outputs out, on a ComfyUI that may fail.
//!
//! ```text
//! run ─▶ load ─▶ jobs ──▶ work: start ─▶ inputs ─▶ turn ─▶ attempt ─▶ outputs ──▶ deliver
//!                 │ joins            ▲                       │
//!                 └ record           └────── recovery ◀──────┘
//! ```
//!
//! A job is asked for by its name and done once (`jobs`); what it comes to is kept on disk (`record`), so
//! that the next daemon knows it. ComfyUI gets two workflows of a version at a time, the others wait here,
//! in order. A run that fails through no fault of the workflow is made again, a bounded number of times
//! (`recovery`), and the answer says so.

mod attempt;
mod checks;
mod deliver;
mod error;
mod follow;
mod graph;
mod inputs;
mod jobs;
mod load;
mod outputs;
mod preflight;
mod record;
mod recovery;
mod work;

pub use checks::checks;
pub use error::{Failure, RunError};
pub use graph::Graph;
pub use inputs::input_dir;
pub use jobs::Workflows;

use crate::ctx::Ctx;
use crate::supervise::{Held, Ready};
use futures_util::future::BoxFuture;
use proto::VersionId;
use proto::method::{Delivery, RunInput, Secret, Warmth};
use serde_json::value::RawValue;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Makes the version's ComfyUI ready for a workflow with these texts among its inputs, in the order of use. Called
/// again when a process has ended.
pub type Start =
    Box<dyn Fn(Ctx, Vec<String>) -> BoxFuture<'static, Result<Up, Arc<dyn Failure>>> + Send + Sync>;

/// A ComfyUI that was made ready for a workflow.
#[derive(Debug)]
pub struct Up {
    /// Its process.
    pub ready: Ready,
    /// The claim on it.
    pub held: Held,
    /// How it became ready.
    pub how: Warmth,
}

/// What to run.
#[derive(Debug)]
pub struct RunRequest {
    /// The version.
    pub version_id: VersionId,
    /// Its home.
    pub home: PathBuf,
    /// Where its ComfyUI looks for inputs; see [`input_dir`].
    pub input_dir: PathBuf,
    /// The workflow in API format: an object, or as a text its absolute path or link.
    pub workflow: Box<RawValue>,
    /// Names the job; one is made up when absent.
    pub job_id: Option<String>,
    /// Files that the workflow reads.
    pub inputs: Vec<RunInput>,
    /// The user's key for nodes that ask for paid services.
    pub api_key: Option<Secret>,
    /// Where files go besides.
    pub deliver: Option<Delivery>,
    /// Directory that receives the outputs; they stay in the version's home when absent.
    pub output_dir: Option<PathBuf>,
    /// How long it may take once ComfyUI is ready, its turn and its recoveries included.
    pub timeout: Option<Duration>,
}
