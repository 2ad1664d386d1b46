//! The warmth ladder: how near a version is to running.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// How near a version is to running. Each rung holds all that is below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rung {
    /// Nothing is known but its spec, or its spec changed since its lock was made.
    #[default]
    Unknown,
    /// Pinned: a lock belongs to its spec.
    Resolved,
    /// Its repositories and models are here.
    Fetched,
    /// Its home is complete.
    Realized,
    /// Its files are in the page cache, and a zygote waits: a Python that has imported what it needs.
    Primed,
    /// Its ComfyUI answers.
    Running,
}

impl Rung {
    /// All rungs, the lowest first.
    pub const ALL: [Self; 6] =
        [Self::Unknown, Self::Resolved, Self::Fetched, Self::Realized, Self::Primed, Self::Running];

    /// Returns the rung's name, as on the wire and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Resolved => "resolved",
            Self::Fetched => "fetched",
            Self::Realized => "realized",
            Self::Primed => "primed",
            Self::Running => "running",
        }
    }
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that names no rung.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoSuchRung(pub String);

impl fmt::Display for NoSuchRung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is no rung: they are {}", self.0, Rung::ALL.map(Rung::name).join(", "))
    }
}

impl std::error::Error for NoSuchRung {}

impl FromStr for Rung {
    type Err = NoSuchRung;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|rung| rung.name() == text).ok_or_else(|| NoSuchRung(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_rungs_are_in_order() {
        for rung in Rung::ALL {
            assert_eq!(rung.name().parse(), Ok(rung));
            assert_eq!(serde_json::to_value(rung).unwrap(), rung.name());
        }
        assert!(Rung::ALL.is_sorted());
        assert!("warm".parse::<Rung>().unwrap_err().to_string().contains("primed"));
    }
}
