//! The plan: what is missing on this disk, as data. `--dry-run` prints the same value that
//! `realize` executes.

use crate::{CommitId, ErrorKind, NodeDir, RelPath, VersionId};
use serde::{Deserialize, Serialize};

/// Everything that stands between a lock and a working home.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The version.
    pub version_id: VersionId,
    /// Name of the generation: a digest of everything that changes the result.
    pub generation: String,
    /// The version's home.
    pub home: String,
    /// The one place of the models.
    pub models_dir: String,
    /// Whether nothing is left to do.
    pub ready: bool,
    /// ComfyUI first, then the custom nodes.
    pub repositories: Vec<RepositoryStep>,
    /// The Python environment.
    pub packages: PackagesStep,
    /// `install.py` files that would be run, in order.
    pub install_scripts: Vec<NodeDir>,
    /// Custom nodes whose `install.py` is not run, as was asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped_install_scripts: Vec<NodeDir>,
    /// Models, in the lock's order.
    pub models: Vec<ModelStep>,
    /// Links that belong to the generation and the home.
    pub links: Vec<LinkStep>,
    /// Space needed against space free.
    pub disk: Vec<DiskNeed>,
    /// What offline mode could not find. The version comes up without it.
    pub missing: Vec<String>,
    /// What a reader should know before saying yes.
    pub warnings: Vec<String>,
    /// What `realize` would refuse for: models that hosts do not give, disks that are too small.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
}

/// What stands in the way of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The kind of error that `realize` would fail with.
    pub kind: ErrorKind,
    /// What is wrong, with its cause.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// A repository at its commit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RepositoryStep {
    /// `ComfyUI` or the node's directory.
    pub name: String,
    /// Its URL.
    pub repo: String,
    /// The pinned commit.
    pub commit: CommitId,
    /// Where the files are or will be.
    pub destination: String,
    /// What is to be done.
    pub action: RepositoryAction,
}

/// What is to be done about a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RepositoryAction {
    /// Its files are in place.
    Present,
    /// The commit is in the object cache; only files are written.
    Checkout,
    /// The commit is fetched first.
    Fetch,
    /// Not cached, and offline.
    Missing,
}

/// The Python environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PackagesStep {
    /// Interpreter version, `major.minor`.
    pub python: String,
    /// Number of packages.
    pub count: usize,
    /// Sum of the known download sizes.
    pub download_bytes: u64,
    /// Number of packages whose size the index does not tell.
    pub unknown_sizes: usize,
    /// What is to be done.
    pub action: PackagesAction,
}

/// What is to be done about the environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum PackagesAction {
    /// It is in place.
    Present,
    /// An earlier generation has the same packages: its files are hard-linked.
    Reuse {
        /// That generation.
        generation: String,
    },
    /// It is complete, but its interpreter lies elsewhere on this machine: it is led there.
    Repair,
    /// It is installed by uv.
    Install,
}

/// A model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelStep {
    /// Its place under the models directory.
    pub target: RelPath,
    /// The link, without signatures or tokens.
    pub source: String,
    /// Size, where the host or the disk tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
    /// What is to be done.
    pub action: ModelAction,
    /// Why its host will not give it; it is one of the plan's problems.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// What is to be done about a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum ModelAction {
    /// A file is at its place: it is used as it is.
    Present,
    /// The same file lies at another target: a hard link is made.
    Link {
        /// That target.
        from: RelPath,
    },
    /// The file lies in a Hugging Face cache of this machine: it gets a second name, by a hard link on the
    /// same disk, else by a symbolic one.
    Adopt {
        /// The file in that cache.
        from: String,
    },
    /// It is downloaded.
    Download,
    /// The spec says `skip_models`.
    Skipped,
    /// Not here, and offline.
    Missing,
}

/// A symbolic link.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LinkStep {
    /// Where the link stands, relative to the home.
    pub link: String,
    /// What it holds.
    pub target: String,
    /// Whether it already stands.
    pub present: bool,
}

/// Space on one filesystem.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DiskNeed {
    /// A directory on that filesystem.
    pub path: String,
    /// Bytes that the plan is known to add; sizes that nobody tells are not in it.
    pub needed_bytes: u64,
    /// Bytes free for this user.
    pub available_bytes: u64,
    /// The volume's quota in bytes, where it leaves less than the disk has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_bytes: Option<u64>,
}
