//! Where everything lies. The only builder of paths.

use super::digest;
use crate::config::Config;
use proto::{CommitId, RelPath, VersionId};
use std::path::{Component, Path, PathBuf};

/// What a client's `COMFY_HOME` may hold in place of a version's id.
const ID_MARK: &str = "{version_id}";

/// A version's places on disk, for one client's `COMFY_HOME`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Home {
    /// The version's home.
    pub root: PathBuf,
    /// The one place of its models.
    pub models: PathBuf,
}

const GENERATIONS: &str = "generations";

/// Why a home cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("COMFY_HOME is `{0}`, which is not an absolute path without `..`")]
pub struct HomeError(String);

impl Home {
    /// Finds the home of a version. `comfy_home` is the client's `COMFY_HOME`.
    ///
    /// Models lie in `MODELS_DIR`; else in `$COMFY_HOME/models` where `COMFY_HOME` names the home of
    /// one version; else beside the homes, so that all versions share them.
    ///
    /// # Errors
    /// A relative `COMFY_HOME`, or one with `..`.
    pub fn find(config: &Config, id: &VersionId, comfy_home: Option<&str>) -> Result<Self, HomeError> {
        let Some(template) = comfy_home.filter(|text| !text.is_empty()) else {
            let root = config.homes.join(format!("{HOME_PREFIX}{id}"));
            return Ok(Self {
                root,
                models: config.models_dir.clone().unwrap_or_else(|| config.homes.join("models")),
            });
        };
        let root = PathBuf::from(template.replace(ID_MARK, id.as_str()));
        if !root.is_absolute() || root.components().any(|part| part == Component::ParentDir) {
            return Err(HomeError(template.to_owned()));
        }
        let models = match &config.models_dir {
            Some(dir) => dir.clone(),
            None if template.contains(ID_MARK) => homes_of(template).join("models"),
            None => root.join("models"),
        };
        Ok(Self { root, models })
    }

    /// Parent of the generations.
    pub fn generations(&self) -> PathBuf {
        self.root.join(GENERATIONS)
    }

    /// Directory of one generation.
    pub fn generation(&self, name: &str) -> PathBuf {
        self.generations().join(name)
    }

    /// The link that names the current generation.
    pub fn current(&self) -> PathBuf {
        self.root.join("current")
    }

    /// The link that names the generation that was current before: what a rollback goes to.
    pub fn previous(&self) -> PathBuf {
        self.root.join("previous")
    }

    /// Directory of what says who uses which generation.
    pub fn uses(&self) -> PathBuf {
        self.root.join(".comfyd.uses")
    }

    /// What a link to a generation holds, relative to the home.
    pub fn link_to(name: &str) -> PathBuf {
        Path::new(GENERATIONS).join(name)
    }

    /// The lock file that whoever changes this home holds.
    pub fn lock(&self) -> PathBuf {
        self.root.join(".comfyd.lock")
    }

    /// Place of a model.
    pub fn model(&self, target: &RelPath) -> PathBuf {
        self.models.join(target.as_str())
    }
}

/// Directory in a models directory that ComfyUI lists nothing of: unfinished files, and the index of links.
pub const HIDDEN: &str = ".comfyd";

/// The index of a models directory: which file came from which link.
pub fn links_file(models: &Path) -> PathBuf {
    models.join(HIDDEN).join("links.json")
}

/// The lock file that whoever changes that index holds.
pub fn links_lock(models: &Path) -> PathBuf {
    models.join(HIDDEN).join("links.lock")
}

/// Where the unfinished file of a link lies in a directory for such things. The link is without secrets.
pub fn parts(hidden: &Path, link: &str) -> PathBuf {
    hidden.join("parts").join(digest(&link))
}

/// The directories that may hold the unfinished file of a model: that of the models directory, or that of
/// the model's folder where the folder is a link to another disk.
pub fn hidden(models: &Path, target: &RelPath) -> [PathBuf; 2] {
    let place = models.join(target.as_str());
    [models.join(HIDDEN), place.parent().unwrap_or(models).join(HIDDEN)]
}

/// Name of a home without its version's id.
const HOME_PREFIX: &str = "comfy-";

/// Returns the homes that lie where homes lie; one that a client's `COMFY_HOME` names is not among them. Blocks.
pub fn homes(config: &Config) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(&config.homes).into_iter().flatten().flatten();
    let homes = entries.filter(|entry| is_home_name(&entry.file_name().to_string_lossy()));
    homes.map(|entry| entry.path()).collect()
}

/// Tells whether a directory beside the homes has the name of one.
pub fn is_home_name(name: &str) -> bool {
    name.starts_with(HOME_PREFIX)
}

/// Parent of the homes that a template with [`ID_MARK`] names.
fn homes_of(template: &str) -> PathBuf {
    let before = template.split(ID_MARK).next().unwrap_or_default();
    let parent = Path::new(before);
    // `/data/comfy-{version_id}` has its homes in `/data`, `/data/{version_id}` too.
    if before.ends_with('/') { parent.to_owned() } else { parent.parent().unwrap_or(parent).to_owned() }
}

/// Names inside a generation.
pub mod generation {
    /// Checkout of ComfyUI.
    pub const COMFY: &str = "ComfyUI";
    /// The Python environment.
    pub const VENV: &str = ".venv";
    /// Model folders that ComfyUI does not know by itself.
    pub const MODEL_PATHS: &str = "extra_model_paths.yaml";
    /// The record, written last.
    pub const RECORD: &str = "realization.json";
    /// What git knows of ComfyUI's files, for keeping them clean.
    pub const COMFY_INDEX: &str = "comfyui.index";
    /// A copy of the lock, for machines that share the volume but not the user's cache.
    pub const LOCK: &str = "lock.json";
    /// Says that its bytecode was compiled. A cache, too: without it that is done again.
    pub const BYTECODE: &str = "bytecode.json";
    /// What a start of it opens and imports. A cache: comes after the record, and counts only if whole.
    pub const START: &str = "start.json";
    /// The files of a start, packed for machines to which this volume is far away. A cache, too.
    pub const START_IMAGE: &str = "start.image";
}

/// Place of a version's lock.
pub fn lock_file(config: &Config, id: &VersionId) -> PathBuf {
    lock_files(config).join(format!("{id}.lock.json"))
}

/// Directory of the local copies of what starts read from a slow volume.
pub fn shadows(config: &Config) -> PathBuf {
    config.cache_root.join("shadows")
}

/// Directory of all versions' locks.
pub fn lock_files(config: &Config) -> PathBuf {
    config.cache_root.join("resolved")
}

/// Place of a custom node's checkout, `<repo>@<commit>`. The commit names the content, so two owners'
/// repositories of one name lie side by side.
pub fn node_checkout(config: &Config, repo: &str, commit: &CommitId) -> PathBuf {
    config.nodes_cache.join(format!("{}@{commit}", repository_name(repo)))
}

/// Place of the index of a custom node's checkout: what git knows of its files.
pub fn node_index(checkout: &Path) -> PathBuf {
    let name = checkout.file_name().unwrap_or_default().to_string_lossy();
    checkout.with_file_name(".comfyd").join(format!("{name}.index"))
}

/// The lock file that whoever makes a custom node's checkout holds.
pub fn node_lock(checkout: &Path) -> PathBuf {
    let name = checkout.file_name().unwrap_or_default().to_string_lossy();
    checkout.with_file_name(".comfyd").join(format!("{name}.lock"))
}

/// Last component of a repository's URL without `.git`, as a safe file name.
pub fn repository_name(repo: &str) -> String {
    let path = repo.trim_end_matches('/').split(['?', '#']).next().unwrap_or_default();
    let name = path.rsplit(['/', ':']).next().unwrap_or_default();
    let name = name.strip_suffix(".git").unwrap_or(name);
    let safe: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '_' })
        .collect();
    let safe = safe.trim_start_matches(['.', '-']);
    if safe.is_empty() { "repository".to_owned() } else { safe.to_owned() }
}

/// Returns the path that leads from the directory `from` to `to`; both absolute. Links on a volume are
/// written this way, because the volume has two mount points.
pub fn relative(from: &Path, to: &Path) -> PathBuf {
    let from: Vec<_> = from.components().collect();
    let to: Vec<_> = to.components().collect();
    let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let up = std::iter::repeat_n(Component::ParentDir, from.len() - shared);
    up.chain(to[shared..].iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn config(volume: &Path, vars: &[(&str, &str)]) -> Config {
        let mut all = BTreeMap::from([("HOME".to_owned(), "/home/u".to_owned())]);
        all.insert("COMFY_VOLUME".to_owned(), volume.display().to_string());
        all.extend(vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        Config::from_vars(&all).unwrap()
    }

    #[test]
    fn models_have_one_place_for_all_versions_unless_one_home_is_named() {
        let volume = tempfile::tempdir().unwrap();
        let config = config(volume.path(), &[]);
        let id = VersionId::new("wan").unwrap();
        let find = |home: Option<&str>| Home::find(&config, &id, home).unwrap();
        assert_eq!(
            find(None),
            Home { root: volume.path().join("comfy-wan"), models: volume.path().join("models") }
        );
        assert_eq!(find(Some("/d/x")), Home { root: "/d/x".into(), models: "/d/x/models".into() });
        assert_eq!(
            find(Some("/d/c-{version_id}")),
            Home { root: "/d/c-wan".into(), models: "/d/models".into() }
        );
        assert_eq!(find(Some("/d/{version_id}")), Home { root: "/d/wan".into(), models: "/d/models".into() });
        assert!(Home::find(&config, &id, Some("d/x")).is_err());
        assert!(Home::find(&config, &id, Some("/d/../x")).is_err());
    }

    #[test]
    fn models_dir_wins() {
        let volume = tempfile::tempdir().unwrap();
        let config = config(volume.path(), &[("MODELS_DIR", "/m")]);
        let home = Home::find(&config, &VersionId::new("a").unwrap(), Some("/d/x")).unwrap();
        assert_eq!(home.models, Path::new("/m"));
    }

    #[test]
    fn repository_names_are_safe_file_names() {
        for (url, name) in [
            ("https://github.com/o/ComfyUI-KJNodes.git", "ComfyUI-KJNodes"),
            ("https://github.com/o/r/", "r"),
            ("git@host:o/r.git", "r"),
            ("git@host:r", "r"),
            ("file:///a/b c", "b_c"),
            ("https://h/..", "repository"),
        ] {
            assert_eq!(repository_name(url), name, "{url}");
        }
    }

    #[test]
    fn relative_paths_lead_from_a_directory_to_a_place() {
        for (from, to, expected) in [
            ("/v/comfy-a/generations/d/ComfyUI", "/v/models", "../../../../models"),
            ("/v/a", "/v/a/b", "b"),
            ("/v/a", "/w", "../../w"),
        ] {
            assert_eq!(relative(Path::new(from), Path::new(to)), Path::new(expected));
        }
    }
}
