//! Moments, for programs without the feature `parse`: the daemon has read them.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A moment as the daemon gives it: `2025-11-30T12:00:00Z`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(String);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
