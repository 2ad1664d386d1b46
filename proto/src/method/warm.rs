//! `warm` and `release`: a claim on a version's ComfyUI.

use super::Method;
use super::instance::InstanceInfo;
use super::target::Target;
use serde::{Deserialize, Serialize};

/// Makes a version's ComfyUI ready and claims it: while the claim lasts, the process is not ended to make
/// room for others. The claim ends with the connection, or by [`Release`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Warm {
    /// Which version.
    #[serde(flatten)]
    pub target: Target,
    /// As in [`Realize`](super::Realize).
    #[serde(default)]
    pub offline: bool,
    /// As in [`Realize`](super::Realize).
    #[serde(default)]
    pub no_install_scripts: bool,
}
method!(Warm, "warm", WarmAnswer);

/// Answer to [`Warm`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WarmAnswer {
    /// Names the claim, for [`Release`].
    pub lease: String,
    /// The process. Its `url` is the base URL of ComfyUI's API.
    pub instance: InstanceInfo,
    /// How it became ready.
    pub how: Warmth,
    /// What took how long.
    pub timings: WarmTimings,
}

/// How a ComfyUI became ready for the one who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Warmth {
    /// It was running.
    Running,
    /// It was started, or was starting.
    Started,
    /// Its home had to be made or completed first.
    Realized,
}

/// What took how long, in milliseconds. Phases that were not needed are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct WarmTimings {
    /// Until the home was complete.
    pub realize_ms: u64,
    /// Until there was room for it: on a GPU, and among the instances that may run.
    pub room_ms: u64,
    /// Until it answered.
    pub start_ms: u64,
    /// All of it.
    pub total_ms: u64,
}

/// Ends a claim of the same connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Release {
    /// The claim, as [`WarmAnswer`] names it.
    pub lease: String,
}
method!(Release, "release", ReleaseAnswer);

/// Answer to [`Release`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReleaseAnswer {
    /// Whether there was such a claim.
    pub released: bool,
}
