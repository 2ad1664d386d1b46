//! Which versions were asked for, and when.

use proto::VersionId;
use serde::{Deserialize, Serialize};

/// One request for a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// When, in seconds since 1970, by this machine's clock.
    pub at: i64,
    /// Which version.
    pub version: VersionId,
}
