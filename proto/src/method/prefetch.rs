//! `prefetch`: gets ready for what is likely to be asked for.

use super::Method;
use super::target::Target;
use crate::plan::Problem;
use crate::{Rung, VersionId};
use serde::{Deserialize, Serialize};

/// Lifts versions up the warmth ladder as idle time would, now: in the background, within the same budgets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prefetch {
    /// Which versions, whether likely or not, as high as idle time may go; where that is `off`, to *primed*.
    /// Those that are likely when empty.
    #[serde(default)]
    pub targets: Vec<Target>,
    /// Only tell what would be done.
    #[serde(default)]
    pub plan: bool,
}
method!(Prefetch, "prefetch", PrefetchAnswer);

/// Answer to [`Prefetch`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PrefetchAnswer {
    /// What was decided at the beginning.
    pub plan: PrefetchPlan,
    /// What came of it, in the order in which it ended; empty when only the plan was asked for.
    #[serde(default)]
    pub done: Vec<DoneLift>,
}

/// What idle time would do for each version that it knows.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct PrefetchPlan {
    /// One for each version, in the order in which they are done.
    pub lifts: Vec<PlannedLift>,
    /// What may be used for it.
    pub budgets: Budgets,
    /// Why nothing of it is done by itself at present: "`COMFYD_PREFETCH` is `off`", "others work".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<String>,
}

/// How far one version is to be lifted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedLift {
    /// The version.
    pub version_id: VersionId,
    /// Its home.
    pub home: String,
    /// Where it stands.
    pub from: Rung,
    /// Where it will stand. Lower than `from`: its zygote is ended for the good of others. The same: it stays.
    pub to: Rung,
    /// How likely it is to be asked for next, from 0 to 1.
    pub probability: f64,
    /// Why it is worth that: "pinned", "its spec changed", "asked for 12 times today".
    pub why: String,
    /// What it takes from `from` to `to`.
    pub cost: Cost,
    /// What keeps it from being lifted higher, for people; none where it will stand as high as is wished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_back: Option<String>,
}

/// What a lift takes. Absent: not known before it is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cost {
    /// Bytes to fetch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Memory that is taken while it stands there, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Seconds it took before, or takes by the rates seen before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
}

/// What idle time may use, and what of it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Budgets {
    /// The highest rung that it lifts to; none when it lifts nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rung: Option<Rung>,
    /// Versions that may be primed at a time.
    pub warm: usize,
    /// Versions that are primed.
    pub warm_used: usize,
    /// Memory for zygotes and for files read ahead, in bytes.
    pub memory_bytes: u64,
    /// What of it is used, in bytes.
    pub memory_used_bytes: u64,
    /// What must stay free on the volume, in bytes.
    pub disk_reserve_bytes: u64,
    /// What is free on the volume, in bytes; absent where nobody can tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_free_bytes: Option<u64>,
    /// Bytes a second that background transfers may take; none for no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_bytes: Option<u64>,
}

/// What came of a lift.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoneLift {
    /// The version.
    pub version_id: VersionId,
    /// Its home.
    pub home: String,
    /// Where it stood.
    pub from: Rung,
    /// Where it stands now.
    pub to: Rung,
    /// Milliseconds it took.
    pub took_ms: u64,
    /// Why it came no farther than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}
