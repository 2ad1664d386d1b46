//! Where things are and what the environment says. The only reader of the environment.
//!
//! [`VARIABLES`] is the one table of all variables; the README shows it and a test keeps the two equal.

mod hosts;

pub use hosts::ModelHosts;

use proto::places::{self, PlaceError};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A variable: name, what it means, what holds when it is not set.
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What it means.
    pub meaning: &'static str,
    /// What holds when it is not set.
    pub default: &'static str,
}

const fn variable(name: &'static str, meaning: &'static str, default: &'static str) -> Variable {
    Variable { name, meaning, default }
}

/// An id that goes with a secret: listed, and its value shown to nobody.
const AWS_KEY: &str = "AWS_ACCESS_KEY_ID";

/// Every variable that comfyd or comfyctl reads.
pub const VARIABLES: &[Variable] = &[
    variable(
        "COMFY_VOLUME",
        "the volume that holds versions, models and caches",
        "the first writable one of `/runpod-volume`, `/workspace`; else the home directory",
    ),
    variable(
        "COMFY_HOME",
        "home of a version, read from comfyctl's environment; may hold `{version_id}`",
        "`<volume>/comfy-<id>`, else `~/comfy-<id>`",
    ),
    variable(
        "COMFY_VERSIONS_DIR",
        "where specs are sought first; `./versions` of comfyctl's directory comes second",
        "`<volume>/versions`",
    ),
    variable(
        "MODELS_DIR",
        "the one place of the models",
        "`$COMFY_HOME/models` where COMFY_HOME names one home, else `models` beside the versions' homes",
    ),
    variable(
        "COMFY_CACHE_NODES",
        "checkouts of custom nodes, `<repo>@<commit>`",
        "`<volume>/custom_nodes/workspace`, else `~/.comfy-cache/custom_nodes`",
    ),
    variable("COMFY_CACHE_ROOT", "locks (`resolved/<id>.lock.json`) and uv itself", "`~/.comfy-cache`"),
    variable(
        "COMFY_WHEELS_DIR",
        "a directory of wheels that uv looks into (`--find-links`)",
        "`/wheels` where it exists",
    ),
    variable("COMFY_OFFLINE", "`1`: use only what is cached", "off"),
    variable("HF_TOKEN", "sent to Hugging Face only", "the token that `hf auth login` left"),
    variable("HF_ENDPOINT", "a mirror of Hugging Face", "the Hub itself"),
    variable("CIVITAI_TOKEN", "sent to Civitai only", "none"),
    variable(
        AWS_KEY,
        "for `s3://`, with `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`; roles of containers and web \
         identities work too",
        "objects are asked for anonymously",
    ),
    variable("AWS_REGION", "where the buckets lie", "`AWS_DEFAULT_REGION`, else `us-east-1`"),
    variable("AWS_ENDPOINT_URL", "a store that speaks S3's language", "S3 itself"),
    variable(
        "GOOGLE_APPLICATION_CREDENTIALS",
        "a file of credentials, for `gs://`",
        "those that gcloud left; else objects are asked for anonymously",
    ),
    variable(
        "HF_HUB_CACHE",
        "a cache of huggingface_hub: what lies in it is linked, not fetched (`HUGGINGFACE_HUB_CACHE` too)",
        "`$HF_HOME/hub`, `${XDG_CACHE_HOME:-~/.cache}/huggingface/hub` and `huggingface-cache/hub` on the volume are looked into anyway",
    ),
    variable(
        "COMFY_VOLUME_QUOTA",
        "what may be stored on the volume where `df` tells of a larger disk: bytes, or `200GB`, `200GiB`, `0.5TB`",
        "the disk decides",
    ),
    variable(
        "COMFYD_SOCKET",
        "the control socket",
        "`$XDG_RUNTIME_DIR/comfyd.sock`, else `comfyd.sock` in the state directory",
    ),
    variable(
        "COMFYD_STATE_DIR",
        "logs of ComfyUI and of the daemon, the socket where there is no runtime directory",
        "`$XDG_STATE_HOME/comfyd`, else `~/.local/state/comfyd`",
    ),
    variable("COMFYD_LOG", "what the daemon logs, such as `comfyd=debug`", "`info`"),
    variable("COMFYD_BIN", "the daemon that comfyctl starts", "`comfyd` beside comfyctl, else on PATH"),
    variable("COMFYD_UV", "the uv to use", "`uv` on PATH, else one installed into the cache by pip"),
    variable(
        "UV_CACHE_DIR",
        "uv's cache; hard links need it on the volume's filesystem",
        "`<volume>/.comfy-cache/uv`, else `~/.comfy-cache/uv`",
    ),
];

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
    /// Use only what is cached.
    pub offline: bool,
    /// Tokens, mirrors and credentials of model hosts.
    pub hosts: ModelHosts,
    /// Caches of `huggingface_hub` that models may lie in already. They need not exist.
    pub hub_caches: Vec<PathBuf>,
    /// `COMFY_VOLUME_QUOTA`, in bytes.
    pub volume_quota: Option<u64>,
    /// `COMFYD_UV`, where set.
    pub uv: Option<PathBuf>,
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
    /// A volume was named that cannot be written.
    #[error("COMFY_VOLUME is `{0}`, which is not a writable directory")]
    Volume(PathBuf),
    /// A quota that is no size.
    #[error(
        "COMFY_VOLUME_QUOTA is `{0}`, which is no size (write bytes, or a size such as `200GB` or `200GiB`)"
    )]
    Quota(String),
}

impl Config {
    /// Reads the environment of this process.
    ///
    /// # Errors
    /// A variable that cannot be followed.
    #[allow(clippy::disallowed_methods, reason = "this is the one reader of the environment")]
    pub fn from_env() -> Result<Self, ConfigError> {
        let vars = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self::from_vars(&vars.collect())
    }

    /// Makes a configuration from the given variables. Looks at the disk for volumes, `/wheels`
    /// and saved tokens.
    ///
    /// # Errors
    /// A variable that cannot be followed.
    pub fn from_vars(vars: &BTreeMap<String, String>) -> Result<Self, ConfigError> {
        let get = |name: &str| vars.get(name).cloned();
        let path = |name: &str| places::path(get, name);
        let volume = volume(path("COMFY_VOLUME")?)?;
        let home = path("HOME")?;
        let homes = volume.clone().or_else(|| home.clone()).ok_or(PlaceError::NoHome)?;
        let user = home.unwrap_or_else(|| homes.clone());
        let cache_root = path("COMFY_CACHE_ROOT")?.unwrap_or_else(|| user.join(".comfy-cache"));
        let big_cache =
            volume.as_ref().map_or_else(|| cache_root.clone(), |volume| volume.join(".comfy-cache"));
        let default_nodes = volume
            .as_ref()
            .map_or_else(|| cache_root.join("custom_nodes"), |volume| volume.join("custom_nodes/workspace"));
        Ok(Self {
            models_dir: path("MODELS_DIR")?,
            versions_dir: path("COMFY_VERSIONS_DIR")?.unwrap_or_else(|| homes.join("versions")),
            nodes_cache: path("COMFY_CACHE_NODES")?.unwrap_or(default_nodes),
            git_cache: big_cache.join("git"),
            uv_cache: path("UV_CACHE_DIR")?.unwrap_or_else(|| big_cache.join("uv")),
            wheels_dir: path("COMFY_WHEELS_DIR")?
                .or_else(|| Some(PathBuf::from("/wheels")))
                .filter(|dir| dir.is_dir()),
            offline: places::flag(get, "COMFY_OFFLINE"),
            hosts: ModelHosts::from_vars(vars, &user),
            hub_caches: hub_caches(get, &user, volume.as_deref()),
            volume_quota: places::text(get, "COMFY_VOLUME_QUOTA").map(|text| size(&text)).transpose()?,
            uv: path("COMFYD_UV")?,
            child_env: child_env(vars),
            seen_env: seen_env(vars),
            state_dir: places::state_dir(get, || volume.clone())?,
            socket: places::socket(get, || volume.clone())?,
            volume,
            homes,
            cache_root,
        })
    }
}

/// Returns the volume: the one that was named, else the first mount point of a RunPod volume.
fn volume(named: Option<PathBuf>) -> Result<Option<PathBuf>, ConfigError> {
    match named {
        Some(volume) if is_writable_dir(&volume) => Ok(Some(volume)),
        Some(volume) => Err(ConfigError::Volume(volume)),
        None => Ok(places::VOLUMES.map(PathBuf::from).into_iter().find(|path| is_writable_dir(path))),
    }
}

/// Where RunPod puts the models that an endpoint asks it to cache (docs: serverless/endpoints/model-caching).
const RUNPOD_HUB_CACHE: &str = "huggingface-cache/hub";

/// Returns where caches of `huggingface_hub` may lie: where its own variables say (its `constants.py`),
/// and where RunPod puts one. All of them are looked into: whoever filled one had other variables.
/// A variable of another program is no reason to refuse: a value that names no absolute path is passed over.
fn hub_caches(
    get: impl Fn(&str) -> Option<String> + Copy,
    user: &Path,
    volume: Option<&Path>,
) -> Vec<PathBuf> {
    let path = |name: &str| {
        let text = places::text(get, name)?;
        let path = text.strip_prefix("~/").map_or_else(|| PathBuf::from(&text), |rest| user.join(rest));
        path.is_absolute().then_some(path)
    };
    let cache = path("XDG_CACHE_HOME").unwrap_or_else(|| user.join(".cache"));
    let all = [
        path("HF_HUB_CACHE"),
        path("HUGGINGFACE_HUB_CACHE"),
        path("HF_HOME").map(|dir| dir.join("hub")),
        Some(cache.join("huggingface/hub")),
        volume.map(|volume| volume.join(RUNPOD_HUB_CACHE)),
        Some(Path::new(places::VOLUMES[0]).join(RUNPOD_HUB_CACHE)),
    ];
    let mut dirs: Vec<PathBuf> = Vec::new();
    for dir in all.into_iter().flatten() {
        if !dirs.contains(&dir) {
            dirs.push(dir);
        }
    }
    dirs
}

/// Reads a size: bytes, or a decimal number with a unit of 1000 or 1024.
fn size(text: &str) -> Result<u64, ConfigError> {
    let wrong = || ConfigError::Quota(text.to_owned());
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = (text[..split].trim(), text[split..].trim().to_ascii_lowercase());
    let (base, power) = match unit.strip_suffix('b').unwrap_or(&unit) {
        "" => (1000, 0),
        "k" => (1000_u64, 1),
        "m" => (1000, 2),
        "g" => (1000, 3),
        "t" => (1000, 4),
        "ki" => (1024, 1),
        "mi" => (1024, 2),
        "gi" => (1024, 3),
        "ti" => (1024, 4),
        _ => return Err(wrong()),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    // Nine digits behind the point are more than any disk is sold by.
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || fraction.len() > 9 || !is_digits(whole) || !is_digits(fraction) {
        return Err(wrong());
    }
    let unit = base.pow(power);
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    let digits = u32::try_from(fraction.len()).map_err(|_| wrong())?;
    let part = u128::from(fraction.parse::<u64>().unwrap_or(0)) * u128::from(unit) / 10_u128.pow(digits);
    let bytes = whole.checked_mul(unit).zip(u64::try_from(part).ok());
    bytes.and_then(|(whole, part)| whole.checked_add(part)).filter(|bytes| *bytes > 0).ok_or_else(wrong)
}

/// Other secrets of RunPod's containers, which are nobody's business here.
const OTHER_SECRETS: &[&str] = &["RUNPOD_API_KEY", "RUNPOD_AI_API_KEY"];

/// Secrets are read here and passed to no child. Credentials of buckets are: git's credential helpers, uv's
/// indexes and custom nodes that store images work with them.
fn is_secret(name: &str) -> bool {
    hosts::is_token(name) || OTHER_SECRETS.contains(&name)
}

fn child_env(vars: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    vars.iter().filter(|(name, _)| !is_secret(name)).map(|(k, v)| (k.clone(), v.clone())).collect()
}

fn seen_env(vars: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    VARIABLES
        .iter()
        .filter_map(|variable| Some((variable.name, vars.get(variable.name)?)))
        .map(|(name, value)| {
            let hidden = is_secret(name) || name == AWS_KEY;
            (name.to_owned(), if hidden { String::new() } else { value.clone() })
        })
        .collect()
}

fn is_writable_dir(path: &Path) -> bool {
    path.is_dir() && nix::unistd::access(path, nix::unistd::AccessFlags::W_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("1", 1),
            ("214748364800", 214_748_364_800),
            ("200GB", 200_000_000_000),
            ("200 gb", 200_000_000_000),
            ("200GiB", 200 << 30),
            ("200Gi", 200 << 30),
            ("0.5TB", 500_000_000_000),
            ("1.5k", 1500),
            ("3MiB", 3 << 20),
        ] {
            assert_eq!(size(text).unwrap(), bytes, "{text}");
        }
        for text in [
            "",
            "0",
            "GB",
            "-1GB",
            "1e9",
            "10 gigs",
            "1.2.3GB",
            "99999999999999999999",
            "9999999999TB",
            "٣GB",
        ] {
            assert!(matches!(size(text), Err(ConfigError::Quota(_))), "{text}");
        }
    }

    #[test]
    fn caches_of_the_hub_are_sought_where_its_variables_and_runpod_have_them() {
        let volume = tempfile::tempdir().unwrap();
        let root = volume.path().display().to_string();
        let vars = [
            ("HOME", "/u"),
            ("COMFY_VOLUME", root.as_str()),
            ("HF_HUB_CACHE", "~/h"),
            ("HUGGINGFACE_HUB_CACHE", "no/path"),
            ("HF_HOME", "/f"),
        ];
        let config = Config::from_vars(&vars.map(|(k, v)| (k.to_owned(), v.to_owned())).into()).unwrap();
        let expected = [
            PathBuf::from("/u/h"),
            "/f/hub".into(),
            "/u/.cache/huggingface/hub".into(),
            volume.path().join("huggingface-cache/hub"),
            "/runpod-volume/huggingface-cache/hub".into(),
        ];
        assert_eq!(config.hub_caches, expected);
    }
}
