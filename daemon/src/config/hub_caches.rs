//! Caches of `huggingface_hub` that a machine may have.

use proto::places;
use std::path::{Path, PathBuf};

/// Where RunPod puts the models that an endpoint asks it to cache (docs: serverless/endpoints/model-caching).
const RUNPOD_HUB_CACHE: &str = "huggingface-cache/hub";

/// Returns where caches of `huggingface_hub` may lie: where its own variables say (its `constants.py`),
/// and where RunPod puts one. All of them are looked into: whoever filled one had other variables.
/// A variable of another program is no reason to refuse: a value that names no absolute path is passed over.
pub(super) fn hub_caches(
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

#[cfg(test)]
mod tests {
    use super::super::Config;
    use std::path::PathBuf;

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
