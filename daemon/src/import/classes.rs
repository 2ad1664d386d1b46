//! Classes of nodes that need no pack, and the folders that ComfyUI's loaders read. Pure.
//!
//! A workflow in API format says nothing but classes, so ComfyUI's own must be told from those of packs. The list
//! holds those of ComfyUI 0.3.75, its extras and its nodes for paid services; a class that ComfyUI got later is asked
//! about like one of a pack.

use std::collections::HashSet;
use std::sync::LazyLock;

static CORE: LazyLock<HashSet<&str>> = LazyLock::new(|| include_str!("core_classes.txt").lines().collect());

/// What only the browser knows: no node of these is ever run.
const OF_THE_BROWSER: [&str; 4] = ["Note", "MarkdownNote", "Reroute", "PrimitiveNode"];

/// Returns whether a class needs no pack. Group nodes are called `workflow>name`, in older files `workflow/name`.
pub(super) fn is_core(class: &str) -> bool {
    CORE.contains(class)
        || OF_THE_BROWSER.contains(&class)
        || class.starts_with("workflow>")
        || class.starts_with("workflow/")
}

/// Returns whether a node is a text for people.
pub(super) fn is_note(class: &str) -> bool {
    matches!(class, "Note" | "MarkdownNote")
}

/// Returns the model folder that a loader reads (`folder_paths.get_filename_list` in ComfyUI's nodes.py and
/// comfy_extras).
pub(super) fn folder(class: &str) -> Option<&'static str> {
    Some(match class {
        "CheckpointLoader"
        | "CheckpointLoaderSimple"
        | "unCLIPCheckpointLoader"
        | "ImageOnlyCheckpointLoader" => "checkpoints",
        "UNETLoader" | "UnetLoaderGGUF" => "diffusion_models",
        "CLIPLoader"
        | "DualCLIPLoader"
        | "TripleCLIPLoader"
        | "QuadrupleCLIPLoader"
        | "CLIPLoaderGGUF"
        | "DualCLIPLoaderGGUF" => "text_encoders",
        "LoraLoader" | "LoraLoaderModelOnly" => "loras",
        "VAELoader" => "vae",
        "ControlNetLoader" | "DiffControlNetLoader" => "controlnet",
        "CLIPVisionLoader" => "clip_vision",
        "StyleModelLoader" => "style_models",
        "UpscaleModelLoader" => "upscale_models",
        "LatentUpscaleModelLoader" => "latent_upscale_models",
        "HypernetworkLoader" => "hypernetworks",
        "GLIGENLoader" => "gligen",
        "PhotoMakerLoader" => "photomaker",
        "AudioEncoderLoader" => "audio_encoders",
        "ModelPatchLoader" => "model_patches",
        _ => return None,
    })
}

/// Ends of models' names: those that ComfyUI lists (folder_paths.py, `supported_pt_extensions`), and two that many
/// packs add.
const MODEL_ENDS: [&str; 10] =
    [".safetensors", ".sft", ".ckpt", ".pt", ".pt2", ".pth", ".bin", ".pkl", ".gguf", ".onnx"];

/// Returns whether a name is that of a model.
pub(super) fn is_model(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    MODEL_ENDS.iter().any(|end| lower.len() > end.len() && lower.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_one_name_a_line() {
        assert!(CORE.len() > 300 && CORE.iter().all(|name| !name.is_empty() && name.trim() == *name));
        for class in ["KSampler", "WanImageToVideo", "Reroute", "workflow>mine"] {
            assert!(is_core(class), "{class}");
        }
        assert!(!is_core("ImageResizeKJ"));
    }

    #[test]
    fn models_are_known_by_their_ends() {
        assert!(is_model("a/B.SafeTensors") && is_model("x.gguf"));
        assert!(!is_model(".pt") && !is_model("photo.png") && !is_model(""));
    }
}
