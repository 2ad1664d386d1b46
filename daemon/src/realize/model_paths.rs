//! `extra_model_paths.yaml`: model folders that ComfyUI does not know by itself.
//!
//! `ComfyUI/models` is a link to the one place of the models, so everything that ComfyUI or a node seeks
//! under its models directory is found, and what a node downloads lands there. A folder that this
//! commit of ComfyUI does not register is added through this file. Its `base_path` is relative: ComfyUI
//! resolves it against the file's own directory (utils/extra_config.py, 0.3.75), and the volume has two
//! mount points.

use std::collections::BTreeSet;
use std::path::Path;

/// Model folders of ComfyUI 0.3.75 (`folder_paths.py`). A commit that lacks one of them gets it through
/// the file, so that which of them a version uses makes no difference to its generation.
pub(super) const STANDARD: &[&str] = &[
    "audio_encoders",
    "checkpoints",
    "classifiers",
    "clip",
    "clip_vision",
    "configs",
    "controlnet",
    "diffusers",
    "diffusion_models",
    "embeddings",
    "gligen",
    "hypernetworks",
    "latent_upscale_models",
    "loras",
    "model_patches",
    "photomaker",
    "style_models",
    "t2i_adapter",
    "text_encoders",
    "unet",
    "upscale_models",
    "vae",
    "vae_approx",
];

/// Returns the file's text; none when ComfyUI knows every folder. `own` are the version's folders beyond
/// [`STANDARD`]. `folder_paths` is the text of
/// ComfyUI's `folder_paths.py`, `base` the way from the generation to the models directory.
pub(super) fn model_paths(own: &BTreeSet<String>, folder_paths: &str, base: &Path) -> Option<String> {
    let all: BTreeSet<&str> = STANDARD.iter().copied().chain(own.iter().map(String::as_str)).collect();
    let unknown: Vec<&str> = all.into_iter().filter(|folder| !is_registered(folder, folder_paths)).collect();
    if unknown.is_empty() {
        return None;
    }
    let lines = unknown.iter().map(|folder| format!("  {}: {}\n", quoted(folder), quoted(folder)));
    Some(format!("comfyd:\n  base_path: {}\n{}", quoted(&base.to_string_lossy()), lines.collect::<String>()))
}

/// ComfyUI registers a folder either under its own name, `os.path.join(models_dir, "loras")`, or as an
/// additional place of another name.
fn is_registered(folder: &str, folder_paths: &str) -> bool {
    folder_paths.contains(&format!("models_dir, \"{folder}\""))
}

/// A YAML double-quoted scalar takes JSON's escapes.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A `folder_paths.py` that registers all standard folders but those named.
    fn folder_paths_without(absent: &[&str]) -> String {
        let known = STANDARD.iter().filter(|folder| !absent.contains(folder));
        known.fold(String::new(), |text, folder| {
            text + &format!("x = os.path.join(models_dir, \"{folder}\")\n")
        })
    }

    fn folders(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn known_folders_need_no_file() {
        assert_eq!(model_paths(&folders(&[]), &folder_paths_without(&[]), Path::new("../m")), None);
    }

    #[test]
    fn unknown_folders_are_added_by_relative_path() {
        let text =
            model_paths(&folders(&["ipadapter"]), &folder_paths_without(&["vae"]), Path::new("../../models"));
        let expected =
            "comfyd:\n  base_path: \"../../models\"\n  \"ipadapter\": \"ipadapter\"\n  \"vae\": \"vae\"\n";
        assert_eq!(text.as_deref(), Some(expected));
    }
}
