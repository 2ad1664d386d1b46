//! Where things are and what the environment says. The only reader of the environment.
//!
//! [`VARIABLES`] is the one table of all variables; docs/reference.md shows it and a test keeps the two equal.

mod group;
mod hosts;
mod hub_caches;
mod prefetch;
mod saved;
mod size;
mod variables;
mod volume;

pub use group::UserGroup;
pub use hosts::ModelHosts;
pub use prefetch::{Budgets, Share};
pub use variables::{VARIABLES, Variable};

use hub_caches::hub_caches;
use proto::VersionId;
use proto::places::{self, PlaceError};
use size::{size, size_or_none};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Workflows that may wait for one version, where nobody says otherwise.
const MAX_QUEUE: usize = 64;

/// Where things are and what the environment says. Built once.
#[derive(Debug, Clone)]
pub struct Config {
    /// The volume, where there is one.
    pub volume: Option<PathBuf>,
    /// Parent of the versions' homes: the volume, else the home directory.
    pub homes: PathBuf,
    /// `MODELS_DIR`, where set.
    pub models_dir: Option<PathBuf>,
    /// Where specs are sought first.
    pub versions_dir: PathBuf,
    /// Checkouts of custom nodes.
    pub nodes_cache: PathBuf,
    /// Small things that belong to the user: locks, uv.
    pub cache_root: PathBuf,
    /// Git objects, by repository.
    pub git_cache: PathBuf,
    /// uv's cache.
    pub uv_cache: PathBuf,
    /// Extra wheels.
    pub wheels_dir: Option<PathBuf>,
    /// Instances' logs and records.
    pub state_dir: PathBuf,
    /// The control socket.
    pub socket: PathBuf,
    /// `COMFYD_GROUP`: whose members may use the daemon too.
    pub group: Option<UserGroup>,
    /// Use only what is cached.
    pub offline: bool,
    /// Run no custom node's `install.py`.
    pub no_install_scripts: bool,
    /// Tokens, mirrors and credentials of model hosts.
    pub hosts: ModelHosts,
    /// Caches of `huggingface_hub` that models may lie in already. They need not exist.
    pub hub_caches: Vec<PathBuf>,
    /// `COMFY_VOLUME_QUOTA`, in bytes.
    pub volume_quota: Option<u64>,
    /// `COMFYD_MAX_INSTANCES`, where set.
    pub max_instances: Option<usize>,
    /// `COMFYD_GPU_RESERVE` in bytes, where set.
    pub gpu_reserve: Option<u64>,
    /// `COMFYD_PINNED`.
    pub pinned: BTreeSet<VersionId>,
    /// What idle time may take.
    pub prefetch: Budgets,
    /// `COMFYD_MAX_QUEUE`: workflows that may wait for one version.
    pub max_queue: usize,
    /// `COMFYD_UV`, where set.
    pub uv: Option<PathBuf>,
    /// `COMFYD_SHADOW_BUDGET`: bytes of local disk for copies of what starts read from a slow volume; 0: none.
    pub shadow_budget: u64,
    /// What git, uv and ComfyUI get to see: the daemon's environment without tokens.
    pub child_env: BTreeMap<String, String>,
    /// The whole environment as the daemon saw it, for telling clients what differs. Tokens read `""`.
    pub seen_env: BTreeMap<String, String>,
}

/// Why no configuration could be made.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A variable that cannot be followed.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// A volume was named that is not there.
    #[error("COMFY_VOLUME is `{0}`, which is not a directory (COMFYD_VOLUME_WAIT waits until it is mounted)")]
    Volume(PathBuf),
    /// A volume was waited for in vain.
    #[error("no volume was mounted at {sought} within {seconds} s")]
    NotMounted {
        /// Where, in words.
        sought: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// A size that is none.
    #[error("{variable} is `{text}`, which is no size (write bytes, or a size such as `200GB` or `200GiB`)")]
    Size {
        /// The variable.
        variable: &'static str,
        /// What it holds.
        text: String,
    },
    /// A rung that idle time cannot lift to.
    #[error("COMFYD_PREFETCH is `{0}`, which is none of off, fetched, realized, primed and running")]
    Prefetch(String),
    /// A group that is none.
    #[error("COMFYD_GROUP is `{0}`, and there is no such group")]
    Group(String),
    /// A number that is none.
    #[error("{variable} is `{text}`, which is no number from {least} on")]
    Count {
        /// The variable.
        variable: &'static str,
        /// What it holds.
        text: String,
        /// The smallest that it may hold.
        least: usize,
    },
    /// A version that is none.
    #[error("COMFYD_PINNED is no list of version ids with commas")]
    Pinned(#[source] proto::ids::InvalidName),
}

impl Config {
    /// Reads the environment of this process; [`Config::from_vars`] says what else it does. The control socket is the
    /// one that was `passed`, if any.
    ///
    /// # Errors
    /// A variable that cannot be followed, or a volume that does not come.
    #[allow(clippy::disallowed_methods, reason = "this is the one reader of the environment")]
    pub fn from_env(passed: Option<&Path>) -> Result<Self, ConfigError> {
        let vars = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let socket = passed.map(|path| ("COMFYD_SOCKET".to_owned(), path.display().to_string()));
        Self::from_vars(&vars.chain(socket).collect())
    }

    /// Makes a configuration from the given variables. Looks at the disk for volumes, `/wheels`,
    /// saved tokens and groups of users. Blocks for at most `COMFYD_VOLUME_WAIT` until the volume is mounted.
    ///
    /// # Errors
    /// A variable that cannot be followed.
    pub fn from_vars(vars: &BTreeMap<String, String>) -> Result<Self, ConfigError> {
        let get = |name: &str| vars.get(name).cloned();
        let path = |name: &str| places::path(get, name);
        let volume = volume::find(get)?;
        let home = path("HOME")?;
        let homes = volume.clone().or_else(|| home.clone()).ok_or(PlaceError::NoHome)?;
        let user = home.unwrap_or_else(|| homes.clone());
        let cache_root = path("COMFY_CACHE_ROOT")?.unwrap_or_else(|| user.join(".comfy-cache"));
        let big_cache =
            volume.as_ref().map_or_else(|| cache_root.clone(), |volume| volume.join(".comfy-cache"));
        let default_nodes = volume
            .as_ref()
            .map_or_else(|| cache_root.join("custom_nodes"), |volume| volume.join("custom_nodes/workspace"));
        let socket = places::socket(get, || volume.clone())?;
        Ok(Self {
            models_dir: path("MODELS_DIR")?,
            versions_dir: path("COMFY_VERSIONS_DIR")?.unwrap_or_else(|| homes.join("versions")),
            nodes_cache: path("COMFY_CACHE_NODES")?.unwrap_or(default_nodes),
            git_cache: big_cache.join("git"),
            uv_cache: path("UV_CACHE_DIR")?.unwrap_or_else(|| big_cache.join("uv")),
            wheels_dir: path("COMFY_WHEELS_DIR")?
                .or_else(|| Some(PathBuf::from("/wheels")))
                .filter(|dir| dir.is_dir()),
            group: places::text(get, "COMFYD_GROUP").map(|text| UserGroup::find(&text)).transpose()?,
            offline: places::flag(get, "COMFY_OFFLINE"),
            no_install_scripts: places::flag(get, "COMFYD_NO_INSTALL_SCRIPTS"),
            hosts: ModelHosts::from_vars(vars, &user),
            hub_caches: hub_caches(get, &user, volume.as_deref()),
            volume_quota: places::text(get, "COMFY_VOLUME_QUOTA")
                .map(|text| size("COMFY_VOLUME_QUOTA", &text))
                .transpose()?,
            max_instances: count(get, "COMFYD_MAX_INSTANCES", 1)?,
            gpu_reserve: places::text(get, GPU_RESERVE).map(|text| size(GPU_RESERVE, &text)).transpose()?,
            pinned: pinned(&places::text(get, "COMFYD_PINNED").unwrap_or_default())?,
            prefetch: Budgets::from_vars(get)?,
            max_queue: count(get, "COMFYD_MAX_QUEUE", 0)?.unwrap_or(MAX_QUEUE),
            uv: path("COMFYD_UV")?,
            shadow_budget: places::text(get, SHADOW_BUDGET)
                .map_or(Ok(DEFAULT_SHADOW_BUDGET), |text| size_or_none(SHADOW_BUDGET, &text))?,
            child_env: child_env(vars, &socket),
            seen_env: seen_env(vars),
            state_dir: places::state_dir(get, || volume.clone())?,
            socket,
            volume,
            homes,
            cache_root,
        })
    }
}

const GPU_RESERVE: &str = "COMFYD_GPU_RESERVE";
const SHADOW_BUDGET: &str = "COMFYD_SHADOW_BUDGET";
/// A start reads about 100 MB of small files: that of forty generations.
const DEFAULT_SHADOW_BUDGET: u64 = 4 << 30;

/// Reads the number that a variable holds, if it is set.
fn count(
    get: impl Fn(&str) -> Option<String>,
    variable: &'static str,
    least: usize,
) -> Result<Option<usize>, ConfigError> {
    let Some(text) = places::text(get, variable) else { return Ok(None) };
    match text.parse() {
        Ok(count) if count >= least => Ok(Some(count)),
        _ => Err(ConfigError::Count { variable, text, least }),
    }
}

fn pinned(text: &str) -> Result<BTreeSet<VersionId>, ConfigError> {
    let ids = text.split(',').map(str::trim).filter(|id| !id.is_empty());
    ids.map(VersionId::new).collect::<Result<_, _>>().map_err(ConfigError::Pinned)
}

/// Marks what a daemon starts to do its work, uv and `install.py`, by the daemon's socket: it has no use without it.
pub const CHILD_OF: &str = "COMFYD_CHILD_OF";

/// Other secrets of RunPod's containers, which are nobody's business here.
const OTHER_SECRETS: &[&str] = &["RUNPOD_API_KEY", "RUNPOD_AI_API_KEY"];

/// Secrets are read here and passed to no child. Credentials of buckets are: git's credential helpers, uv's
/// indexes and custom nodes that store images work with them.
fn is_secret(name: &str) -> bool {
    hosts::is_token(name) || OTHER_SECRETS.contains(&name)
}

fn child_env(vars: &BTreeMap<String, String>, socket: &Path) -> BTreeMap<String, String> {
    let is_ours = |name: &str| is_secret(name) || places::SERVICE_VARIABLES.contains(&name);
    let inherited = vars.iter().filter(|(name, _)| !is_ours(name)).map(|(k, v)| (k.clone(), v.clone()));
    let mark = (CHILD_OF.to_owned(), socket.display().to_string());
    inherited.chain([mark]).collect()
}

fn seen_env(vars: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    VARIABLES
        .iter()
        .filter_map(|variable| Some((variable.name, vars.get(variable.name)?)))
        .map(|(name, value)| {
            let hidden = is_secret(name) || name == variables::AWS_KEY;
            (name.to_owned(), if hidden { String::new() } else { value.clone() })
        })
        .collect()
}
