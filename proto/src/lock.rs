//! The lock: a spec with every name pinned. "Lock" in `Cargo.lock`'s sense, never a mutex.
//!
//! A lock is portable: it holds no absolute path, no host of a package index and no secret, so that
//! it means the same on every machine that mounts the volume.

use crate::{CommitId, ModelSource, Moment, NodeDir, RelPath, VersionId};
use serde::{Deserialize, Serialize};

/// Version of the lock's own format. A lock of another version is resolved anew.
pub const LOCK_SCHEMA_VERSION: u32 = 1;

/// A version with every name pinned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lock {
    /// [`LOCK_SCHEMA_VERSION`] of the writer.
    pub schema_version: u32,
    /// The version this lock belongs to.
    pub version_id: VersionId,
    /// Digest of the parts of the spec that resolution depends on; another digest means "resolve again".
    pub spec_digest: String,
    /// When its pins were chosen: resolved, or taken up again by a rollback. Of two locks for one spec, on two
    /// machines that share a volume, the later one counts.
    pub resolved_at: Moment,
    /// The generation that a rollback left for this lock's; none where no rollback chose it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolled_back_from: Option<String>,
    /// ComfyUI itself.
    pub comfy: LockedRepo,
    /// Custom nodes, in the spec's order.
    pub custom_nodes: Vec<LockedNode>,
    /// Digest of the commits and of what the spec says about packages: as long as it is the same, the
    /// packages stay without a look at the requirements.
    #[serde(default)]
    pub packages_digest: String,
    /// The one Python environment.
    pub python: LockedPython,
    /// Models, in the spec's order.
    pub models: Vec<LockedModel>,
}

/// A repository at one commit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LockedRepo {
    /// The repository's URL, as the spec gives it.
    pub repo: String,
    /// The ref that was asked for; none where the spec gives a commit or neither (then `HEAD`).
    #[serde(rename = "ref", default, skip_serializing_if = "Option::is_none")]
    pub git_ref: Option<String>,
    /// The commit it is pinned to.
    pub commit: CommitId,
    /// The commit's committer date: packages are resolved as of the newest of them.
    pub committed_at: Moment,
}

/// A custom node at one commit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LockedNode {
    /// Its directory under `custom_nodes`.
    pub dir: NodeDir,
    /// Where it comes from.
    #[serde(flatten)]
    pub repo: LockedRepo,
    /// Whether it brings an `install.py`, which is run after the packages are installed.
    pub install_script: bool,
}

/// The Python environment of a version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LockedPython {
    /// Interpreter version that the packages were resolved for, `major.minor`.
    pub version: String,
    /// Digest of everything that went into the resolution; the same digest keeps the packages.
    pub inputs_digest: String,
    /// Packages were resolved as if this moment were now; none when no such limit was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclude_newer: Option<Moment>,
    /// The packages, by name.
    pub packages: Vec<LockedPackage>,
    /// Requirements that were left out, each with its reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
}

/// One Python package.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LockedPackage {
    /// Normalised name.
    pub name: String,
    /// Version; none for a package that is pinned by a link to a commit or an archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The requirement line that installs it, without hashes: `numpy==2.1.0` or `x @ git+https://…@<commit>`.
    pub requirement: String,
    /// Accepted hashes, `sha256:<hex>`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hashes: Vec<String>,
    /// Bytes of the file that would be downloaded here, where the index tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
}

/// A requirement that did not go into the environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LeftOut {
    /// The requirement as written.
    pub requirement: String,
    /// Where it stands: owner, file and line, such as `ComfyUI-KJNodes requirements.txt:3`.
    pub origin: String,
    /// Why, as a short sentence.
    pub reason: String,
}

/// A model and where it comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LockedModel {
    /// Its place under the models directory.
    pub target: RelPath,
    /// The link, without signatures or tokens. It is the key of the cache: nothing else identifies a model.
    pub source: ModelSource,
    /// Checksum as the spec gives it. Recorded, never verified (the link is the key).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
}
