//! `pin`, `unpin` and `pins`: versions that idle time lifts before all others.

use super::Method;
use super::target::Target;
use crate::{Rung, VersionId};
use serde::{Deserialize, Serialize};

/// Pins a version: idle time lifts it to a rung, and keeps it there, before all others. Lasts until
/// [`Unpin`], across restarts of the daemon. A version that was pinned before is pinned anew.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pin {
    /// Which version.
    #[serde(flatten)]
    pub target: Target,
    /// The rung: `fetched` or a higher one.
    pub rung: Rung,
}
method!(Pin, "pin", PinAnswer);

/// Answer to [`Pin`] and [`Unpin`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinAnswer {
    /// The version.
    pub version_id: VersionId,
    /// Its home.
    pub home: String,
    /// The rung that it is pinned to now; none when it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rung: Option<Rung>,
    /// The rung that it was pinned to before; none when it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Rung>,
    /// What people should know: that idle time is off, that the environment pins it still.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// Takes a [`Pin`] back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Unpin {
    /// Which version.
    #[serde(flatten)]
    pub target: Target,
}
method!(Unpin, "unpin", PinAnswer);

/// Lists what is pinned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pins {}
method!(Pins, "pins", PinsAnswer);

/// Answer to [`Pins`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinsAnswer {
    /// What is pinned, by id.
    pub pins: Vec<PinInfo>,
}

/// A version that is pinned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinInfo {
    /// The version.
    pub version_id: VersionId,
    /// Its home.
    pub home: String,
    /// The rung that it is pinned to.
    pub rung: Rung,
    /// Whether `COMFYD_PINNED` names it: only the daemon's environment takes that back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_environment: bool,
}
