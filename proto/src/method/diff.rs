//! `diff`: what differs between two locks.

use super::Method;
use super::target::Target;
use crate::lock::LockedRepo;
use crate::{Moment, VersionId};
use serde::{Deserialize, Serialize};

/// Compares two locks. Each is named by a version, or by a version and a generation of its home:
/// `<version>@current`, `<version>@previous`, `<version>@<generation>`, which may be shortened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Diff {
    /// The older one, with the place from which names are seen.
    #[serde(flatten)]
    pub old: Target,
    /// The newer one. Without it, the version's current generation is compared with its previous one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<String>,
    /// Whether hosts are not asked how many commits lie between two.
    #[serde(default)]
    pub offline: bool,
}
method!(Diff, "diff", DiffAnswer);

/// Answer to [`Diff`]. What is the same on both sides is left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DiffAnswer {
    /// The older side.
    pub old: DiffSide,
    /// The newer side.
    pub new: DiffSide,
    /// ComfyUI and custom nodes, by name.
    pub repositories: Vec<RepositoryChange>,
    /// The interpreter's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub python: Option<Change>,
    /// Packages, by name.
    pub packages: Vec<Change>,
    /// Models, by target.
    pub models: Vec<Change>,
    /// Options and variables of the specs, where two specs are compared. Values of variables are not told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<Change>,
    /// What people should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl DiffAnswer {
    /// Returns whether both sides pin the same.
    pub fn is_empty(&self) -> bool {
        let lists = [&self.packages, &self.models, &self.settings];
        self.repositories.is_empty() && self.python.is_none() && lists.iter().all(|list| list.is_empty())
    }
}

/// One side of a comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiffSide {
    /// The version.
    pub version_id: VersionId,
    /// The generation whose lock it is; absent for the version's own lock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<String>,
    /// When its pins were chosen.
    pub resolved_at: Moment,
}

/// Something that one side lacks, or that the sides have differently.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What it is called.
    pub name: String,
    /// What the older side has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    /// What the newer side has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<String>,
}

/// A repository that one side lacks, or that the sides pin differently.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RepositoryChange {
    /// `ComfyUI`, or the custom node's directory.
    pub name: String,
    /// What the older side pins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<LockedRepo>,
    /// What the newer side pins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<LockedRepo>,
    /// How many commits lie between them; absent where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commits: Option<CommitCount>,
}

/// How two commits of a repository lie to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitCount {
    /// Commits that only the newer side has.
    pub added: u64,
    /// Commits that only the older side has: not 0 on the way back, and to another branch.
    pub removed: u64,
}
