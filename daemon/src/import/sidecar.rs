//! What download programs leave beside a model, and what paths of caches tell. Pure, but for the names of files.
//!
//! `x.civitai.info` is Civitai's own answer about a model version, as its helpers save it; `x.metadata.json` (LoRA
//! Manager) holds it under `civitai`, and `x.cm-info.json` (Stability Matrix) names it `VersionId`.

use serde_json::Value;
use std::path::{Path, PathBuf};

/// What a file beside a model tells.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) link: Option<String>,
    pub(super) sha256: Option<String>,
}

/// Returns the files that may tell of a model.
pub(super) fn paths(model: &Path) -> Vec<PathBuf> {
    ["civitai.info", "metadata.json", "cm-info.json"].map(|end| model.with_extension(end)).to_vec()
}

/// Reads such a file of the model called `name`.
pub(super) fn read(text: &str, name: &str) -> Option<Told> {
    let told: Value = serde_json::from_str(text).ok()?;
    let version = if told["civitai"].is_object() { &told["civitai"] } else { &told };
    // Zero and below stand for models that Civitai does not know.
    let id = ["VersionId", "id"].iter().find_map(|field| version[*field].as_u64()).filter(|id| *id > 0);
    let is_civitai = version["modelId"].is_u64() || version["ModelId"].is_u64();
    let files = version["files"].as_array();
    let own = files.and_then(|files| files.iter().find(|file| file["name"] == name));
    // A version may have several files: the address of this one says which.
    let address = own.and_then(|file| file["downloadUrl"].as_str()).map(str::to_owned);
    let link = address.or_else(|| Some(format!("civitai://models/{}", id.filter(|_| is_civitai)?)));
    let sha256 = own.and_then(|file| file["hashes"]["SHA256"].as_str()).or(told["sha256"].as_str());
    let told = Told { link, sha256: sha256.filter(|hash| !hash.is_empty()).map(str::to_owned) };
    (told != Told::default()).then_some(told)
}

/// Reads a path of a cache of huggingface_hub: `…/models--owner--name/snapshots/<commit>/<path>`.
pub(super) fn hub_path(path: &str) -> Option<String> {
    let (before, rest) = path.split_once("/snapshots/")?;
    let repo = before.rsplit('/').next()?.strip_prefix("models--")?.replacen("--", "/", 1);
    let (commit, file) = rest.split_once('/')?;
    let is_commit = commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_commit && repo.contains('/') && !file.is_empty()).then(|| format!("hf://{repo}@{commit}/{file}"))
}

/// An entry of the list of models that ComfyUI-Manager brings.
#[derive(Debug, Clone, serde::Deserialize)]
struct Listed {
    filename: String,
    url: String,
    #[serde(default)]
    save_path: String,
}

/// The list of models that ComfyUI-Manager brings (`model-list.json`).
#[derive(Debug, Default)]
pub(super) struct ModelList(Vec<Listed>);

impl ModelList {
    /// Reads its text; entries that are none are passed over.
    pub(super) fn read(text: &str) -> Self {
        let root: Value = serde_json::from_str(text).unwrap_or_default();
        let entries = root["models"].as_array().into_iter().flatten();
        Self(entries.filter_map(|entry| serde::Deserialize::deserialize(entry).ok()).collect())
    }

    /// Returns the link of a model by its name; where several have it, by its folder too.
    pub(super) fn link(&self, folder: &str, name: &str) -> Option<&str> {
        let file = name.rsplit('/').next().unwrap_or(name);
        let named: Vec<&Listed> = self.0.iter().filter(|listed| listed.filename == file).collect();
        let first = named.first()?;
        if named.iter().all(|listed| listed.url == first.url) {
            return Some(&first.url);
        }
        let place = format!("{folder}/{name}");
        let place = place.rsplit_once('/').map_or("", |(place, _)| place);
        let here: Vec<_> =
            named.iter().filter(|listed| listed.save_path.trim_matches('/') == place).collect();
        here.first().filter(|_| here.len() == 1).map(|listed| listed.url.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(value: &Value) -> Option<Told> {
        read(&value.to_string(), "a.safetensors")
    }

    #[test]
    fn a_version_of_civitai_is_known_by_its_id_or_its_file() {
        let link = |value: &Value| told(value).and_then(|told| told.link);
        assert_eq!(link(&json!({ "id": 7, "modelId": 3 })).as_deref(), Some("civitai://models/7"));
        assert_eq!(link(&json!({ "VersionId": 8, "ModelId": 3 })).as_deref(), Some("civitai://models/8"));
        assert_eq!(
            link(&json!({ "civitai": { "id": 9, "modelId": 3 } })).as_deref(),
            Some("civitai://models/9")
        );
        let url = "https://civitai.com/api/download/models/7?type=Model&format=SafeTensor";
        let file = json!({ "name": "a.safetensors", "downloadUrl": url, "hashes": { "SHA256": "AB" } });
        let expected = Told { link: Some(url.to_owned()), sha256: Some("AB".to_owned()) };
        assert_eq!(told(&json!({ "id": 7, "modelId": 3, "files": [file] })), Some(expected));
        for nothing in
            [json!({ "id": 7 }), json!({ "id": 0, "modelId": 3 }), json!([]), json!({ "files": 3 })]
        {
            assert_eq!(told(&nothing), None, "{nothing}");
        }
    }

    #[test]
    fn a_path_of_a_cache_tells_repository_and_commit() {
        let commit = "ab".repeat(20);
        let path = format!("/c/hub/models--o--n--m/snapshots/{commit}/d/x.safetensors");
        assert_eq!(hub_path(&path), Some(format!("hf://o/n--m@{commit}/d/x.safetensors")));
        assert_eq!(hub_path("/c/models--o/snapshots/main/x"), None);
    }

    #[test]
    fn the_list_decides_by_name_and_where_that_is_not_enough_by_folder() {
        let entry =
            |name: &str, url: &str, path: &str| json!({ "filename": name, "url": url, "save_path": path });
        let list = ModelList::read(
            &json!({ "models": [
                entry("a.pth", "https://h/a", "upscale_models"), 3,
                entry("m.safetensors", "https://h/1", "controlnet/one"),
                entry("m.safetensors", "https://h/2", "controlnet/two"),
            ] })
            .to_string(),
        );
        assert_eq!(list.link("upscale_models", "x/a.pth"), Some("https://h/a"));
        assert_eq!(list.link("controlnet", "two/m.safetensors"), Some("https://h/2"));
        assert_eq!(list.link("controlnet", "m.safetensors"), None);
        assert_eq!(list.link("loras", "b.pth"), None);
        assert!(ModelList::read("[").0.is_empty());
    }
}
