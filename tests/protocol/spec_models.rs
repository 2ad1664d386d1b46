//! `models`: links, places, checksums.

use crate::spec::{clean, parse, refused, warned, with};
use serde_json::{Value, json};

const LINK: &str = "hf://owner/repo/dir/file.safetensors";

fn model(fields: Value) -> Value {
    let mut model = json!({"source": LINK});
    let Value::Object(fields) = fields else { panic!("no object") };
    model.as_object_mut().unwrap().extend(fields);
    json!({"models": [model]})
}

fn target(fields: Value) -> String {
    clean(model(fields)).models[0].target.to_string()
}

#[test]
fn all_spellings_of_a_place() {
    let table = [
        (json!({"target_subdir": "loras"}), "loras/file.safetensors"),
        (json!({"target_subdir": "loras/"}), "loras/file.safetensors"),
        (json!({"target_subdir": "$MODELS_DIR/loras/wan"}), "loras/wan/file.safetensors"),
        (json!({"target_subdir": "loras", "name": "x.pt"}), "loras/x.pt"),
        (json!({"target_subdir": "loras", "name": "wan/x.pt"}), "loras/wan/x.pt"),
        (json!({"target_path": "$MODELS_DIR/loras/x.pt"}), "loras/x.pt"),
        (json!({"target_path": "${MODELS_DIR}/loras/x.pt"}), "loras/x.pt"),
        (json!({"target_path": "$COMFY_HOME/models/loras/x.pt"}), "loras/x.pt"),
        (json!({"target_path": "$COMFY_HOME/ComfyUI/models/loras/x.pt"}), "loras/x.pt"),
        (json!({"target_path": "loras/a/x.pt"}), "loras/a/x.pt"),
        (json!({"target_path": "loras/"}), "loras/file.safetensors"),
        (json!({"target_path": "loras/", "name": "x.pt"}), "loras/x.pt"),
        (json!({"target_path": "loras/x.pt", "name": "a label"}), "loras/x.pt"),
        (json!({"target_path": "loras/x.pt", "target_subdir": "loras"}), "loras/x.pt"),
        (json!({"path": "loras/x.pt"}), "loras/x.pt"),
        (json!({"path": "loras/x.pt", "target_path": "loras/x.pt"}), "loras/x.pt"),
        (json!({"source": "civitai://models/5", "target_subdir": "vae", "name": "x.pt"}), "vae/x.pt"),
        (json!({"source": "https://h.example/a%20b.pt?x=1", "target_subdir": "vae"}), "vae/a b.pt"),
        (json!({"source": "/data/x y.pt", "target_subdir": "vae"}), "vae/x y.pt"),
    ];
    for (fields, expected) in table {
        assert_eq!(target(fields.clone()), expected, "{fields}");
    }
}

#[test]
fn places_outside_the_models_directory_are_refused() {
    for (fields, field, says) in [
        (json!({}), "models[0]", "`checkpoints`, `loras`"),
        (json!({"name": "x.pt"}), "models[0]", "folder of the model is missing"),
        (json!({"name": "loras/x.pt"}), "models[0]", "folder of the model is missing"),
        (json!({"target_path": "x.pt"}), "models[0].target_path", "names no folder"),
        (json!({"target_path": "$MODELS_DIR/x.pt"}), "models[0].target_path", "names no folder"),
        (
            json!({"target_path": "/models/loras/x.pt"}),
            "models[0].target_path",
            "not under the models directory",
        ),
        (
            json!({"target_path": "$HOME/loras/x.pt"}),
            "models[0].target_path",
            "not under the models directory",
        ),
        (json!({"target_path": "~/loras/x.pt"}), "models[0].target_path", "not under the models directory"),
        (json!({"target_path": "models/loras/x.pt"}), "models[0].target_path", "models directory itself"),
        (json!({"target_path": "loras/../../x.pt"}), "models[0].target_path", "`..`"),
        (json!({"target_path": "$MODELS_DIR/../x/y.pt"}), "models[0].target_path", "`..`"),
        (json!({"target_path": ""}), "models[0].target_path", "empty"),
        (json!({"target_path": "loras/x\u{0}.pt"}), "models[0].target_path", "control character"),
        (json!({"target_path": "loras/-x.pt"}), "models[0].target_path", "dash"),
        (json!({"target_path": "a/b.pt", "path": "a/c.pt"}), "models[0].path", "differs from `target_path`"),
        (json!({"target_subdir": ""}), "models[0].target_subdir", "empty"),
        (json!({"target_subdir": "../loras"}), "models[0].target_subdir", "`..`"),
        (json!({"target_subdir": "/loras"}), "models[0].target_subdir", "not under the models directory"),
        (json!({"target_subdir": "loras", "name": "../x.pt"}), "models[0].name", "`..`"),
        (json!({"target_subdir": "loras", "name": "/x.pt"}), "models[0].name", "empty"),
        (json!({"target_subdir": "loras", "name": ""}), "models[0].name", "empty"),
        (json!({"target_subdir": "loras", "name": 5}), "models[0].name", "expected a text"),
        (json!({"target_subdir": 5}), "models[0].target_subdir", "expected a text"),
    ] {
        refused(model(fields), field, says);
    }
}

#[test]
fn a_link_that_tells_no_name_needs_one() {
    for (link, says) in [
        ("civitai://models/5", "a Civitai link does not tell"),
        ("https://h.example/download?id=5", "the link does not tell"),
        ("https://h.example/", "the link does not tell"),
    ] {
        refused(model(json!({"source": link, "target_subdir": "vae"})), "models[0]", says);
    }
    warned(model(json!({"target_subdir": "vae", "name": "no-extension"})), "models[0].name", "no extension");
}

#[test]
fn wrong_links_are_refused_with_what_to_write() {
    for (link, says) in [
        ("", "use `https://…`"),
        ("az://b/k", "`az://` links are not supported"),
        ("hf://o/r/*.safetensors", "list each file"),
        ("hf://o/r", "names no file"),
        ("https://u:s3cr3t@h.example/x.pt", "HF_TOKEN"),
        ("civitai://models/5?token=s3cr3t", "CIVITAI_TOKEN"),
    ] {
        let fields = model(json!({"source": link, "target_path": "vae/x.pt"}));
        refused(fields.clone(), "models[0].source", says);
        assert!(!format!("{:?}", parse(&with(fields)).diagnostics).contains("s3cr3t"));
    }
    refused(json!({"models": [{"target_path": "vae/x.pt"}]}), "models[0].source", "missing");
    refused(json!({"models": [{}]}), "models[0]", "empty model");
}

#[test]
fn checksums_are_normalised_and_never_refused() {
    let hex = "AB".repeat(32);
    let expected = format!("sha256:{}", hex.to_lowercase());
    let read = |checksum: &str| model(json!({"target_subdir": "vae", "checksum": checksum}));
    assert_eq!(clean(read(&hex)).models[0].checksum.as_ref(), Some(&expected));
    assert_eq!(clean(read(&format!("sha256:{hex}"))).models[0].checksum.as_ref(), Some(&expected));
    let spec = warned(read("md5:abc"), "models[0].checksum", "no SHA-256");
    assert_eq!(spec.models[0].checksum.as_deref(), Some("md5:abc"));
}

#[test]
fn two_models_never_share_a_place() {
    let two = |a: (&str, &str), b: (&str, &str)| json!({"models": [{"source": a.0, "target_path": a.1}, {"source": b.0, "target_path": b.1}]});
    let other = "https://h.example/x.pt";
    let page = "https://huggingface.co/owner/repo/resolve/main/dir/file.safetensors";
    refused(
        two((LINK, "vae/x.pt"), (other, "$MODELS_DIR/vae/x.pt")),
        "models[1]",
        "`models[0]` has the same target",
    );
    refused(two((LINK, "vae/x"), (other, "vae/x/y.pt")), "models[1]", "`models[0]`");
    refused(two((LINK, "vae/x/y.pt"), (other, "vae/x")), "models[1]", "`models[0]`");
    let spec = warned(two((LINK, "vae/x.pt"), (page, "vae/x.pt")), "models[1]", "`models[0]` again");
    assert_eq!(spec.models.len(), 1);
    assert_eq!(clean(two((LINK, "unet/x.pt"), (page, "diffusion_models/x.pt"))).models.len(), 2);
}

#[test]
fn target_path_wins_over_another_folder() {
    let spec = warned(
        model(json!({"target_path": "unet/x.pt", "target_subdir": "loras"})),
        "models[0].target_subdir",
        "this folder is not used",
    );
    assert_eq!(spec.models[0].target.as_str(), "unet/x.pt");
}
