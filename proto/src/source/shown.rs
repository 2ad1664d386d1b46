//! Where a model comes from, for programs without the feature `parse`: the daemon has read the link.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A model link as the daemon gives it: canonical, and without signatures and tokens.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ModelSource(String);

impl fmt::Display for ModelSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
