//! The link is the key of a model: one link is fetched once, wherever its file is wanted.

use crate::client::machine;
use serde_json::json;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use support::TestEnv;
use support::file_server::safetensors;

/// Writes a version with one model.
fn version(env: &TestEnv, id: &str, source: &str, folder: &str) {
    let mut spec = env.spec();
    spec["models"] = json!([{ "source": source, "target_subdir": folder, "name": "m.safetensors" }]);
    env.write_spec(id, &spec);
}

/// Realizes a version that finds its model on the disk; returns its warnings.
fn found(env: &TestEnv, id: &str) -> Vec<String> {
    let before = env.files.seen().len();
    let answer = env.json(&["realize", id]);
    assert_eq!(env.files.seen().len(), before, "{id} asks no host");
    serde_json::from_value(answer["warnings"].clone()).unwrap()
}

fn model(env: &TestEnv, folder: &str) -> std::path::PathBuf {
    env.volume("models").join(folder).join("m.safetensors")
}

fn index(env: &TestEnv) -> std::path::PathBuf {
    env.volume("models/.comfyd/links.json")
}

#[test]
fn one_link_at_several_targets_is_fetched_once_with_and_without_the_index() {
    let env = machine();
    let link = env.model("/m.safetensors");
    for (id, folder) in [("a", "loras"), ("b", "unet"), ("c", "vae"), ("d", "clip")] {
        version(&env, id, &link, folder);
    }
    env.json(&["realize", "a"]);
    env.json(&["resolve", "b"]);
    let plan = env.json(&["realize", "b", "--dry-run", "--offline"]);
    assert_eq!(plan["models"][0]["action"], json!({ "kind": "link", "from": "loras/m.safetensors" }));
    assert_eq!(found(&env, "b"), [""; 0]);
    fs::remove_file(index(&env)).unwrap();
    assert_eq!(found(&env, "c"), [""; 0]);
    // Another machine has the volume, but neither the index nor the user's locks.
    fs::remove_file(index(&env)).unwrap();
    fs::remove_dir_all(env.path("home/.comfy-cache/resolved")).unwrap();
    assert_eq!(found(&env, "d"), [""; 0]);
    let inode = |folder| fs::metadata(model(&env, folder)).unwrap().ino();
    assert!(["unet", "vae", "clip"].iter().all(|folder| inode(folder) == inode("loras")));
    assert_eq!(env.json(&["realize", "a"])["outcome"], "ready");
}

#[test]
fn a_damaged_index_is_named_and_written_anew() {
    let env = machine();
    let link = env.model("/m.safetensors");
    version(&env, "a", &link, "loras");
    version(&env, "b", &link, "unet");
    env.json(&["realize", "a"]);
    let whole = fs::read_to_string(index(&env)).unwrap();
    fs::write(index(&env), &whole[..whole.len() / 2]).unwrap();
    let warnings = found(&env, "b");
    assert!(warnings[0].contains("links.json` is rebuilt"), "{warnings:?}");
    fs::write(index(&env), "[]").unwrap();
    assert!(found(&env, "a")[0].contains("links.json` is rebuilt"), "a ready version tells it, too");
    assert_eq!(found(&env, "a"), [""; 0]);
}

#[test]
fn a_changed_link_is_fetched_anew_and_both_links_are_named() {
    let env = machine();
    let (one, two) = (env.model("/one.safetensors"), env.model("/two.safetensors"));
    version(&env, "v", &one, "loras");
    env.json(&["realize", "v"]);
    version(&env, "v", &two, "loras");
    let answer = env.json(&["realize", "v"]);
    let warning = answer["warnings"][0].as_str().unwrap();
    assert!(
        warning.contains(&format!("of `{one}`")) && warning.contains(&format!("of `{two}`")),
        "{warning}"
    );
    assert_eq!(fs::read(model(&env, "loras")).unwrap(), safetensors("/two.safetensors"));
    assert_eq!(found(&env, "v"), [""; 0]);
    // Both files have one size: only the index tells them apart.
    version(&env, "old", &one, "loras");
    assert_eq!(env.json(&["realize", "old", "--dry-run"])["models"][0]["action"]["kind"], "download");
}

#[test]
fn two_models_that_change_places_are_not_fetched_again() {
    let env = machine();
    let links = [env.model("/one.safetensors"), env.model("/two.safetensors")];
    let write = |first: &str, second: &str| {
        let mut spec = env.spec();
        spec["models"] = json!([
            { "source": first, "target_subdir": "loras", "name": "1.safetensors" },
            { "source": second, "target_subdir": "loras", "name": "2.safetensors" },
        ]);
        env.write_spec("v", &spec);
    };
    write(&links[0], &links[1]);
    env.json(&["realize", "v"]);
    write(&links[1], &links[0]);
    assert_eq!(found(&env, "v").len(), 2, "each replacement is told");
    let content = |name: &str| fs::read(env.volume("models/loras").join(name)).unwrap();
    assert_eq!(content("1.safetensors"), safetensors("/two.safetensors"));
    assert_eq!(content("2.safetensors"), safetensors("/one.safetensors"));
    assert_eq!(found(&env, "v"), [""; 0]);
}

#[test]
fn a_file_that_lies_there_is_adopted_and_a_new_signature_is_no_new_link() {
    let env = machine();
    let link = env.model("/m.safetensors");
    fs::create_dir_all(env.volume("models/loras")).unwrap();
    fs::write(model(&env, "loras"), "put here by hand").unwrap();
    version(&env, "v", &format!("{link}?sig=one"), "loras");
    assert_eq!(found(&env, "v"), [""; 0]);
    version(&env, "v", &format!("{link}?sig=two"), "loras");
    assert_eq!(found(&env, "v"), [""; 0]);
    version(&env, "other", &link, "unet");
    assert_eq!(found(&env, "other"), [""; 0]);
    assert_eq!(fs::read(model(&env, "unet")).unwrap(), b"put here by hand");
}

#[test]
fn a_link_that_leads_nowhere_is_no_model() {
    let env = machine();
    version(&env, "v", &env.model("/m.safetensors"), "loras");
    fs::create_dir_all(env.volume("models/loras")).unwrap();
    std::os::unix::fs::symlink("gone", model(&env, "loras")).unwrap();
    env.json(&["realize", "v"]);
    assert!(model(&env, "loras").symlink_metadata().unwrap().is_file());
    assert_eq!(fs::read(model(&env, "loras")).unwrap(), safetensors("/m.safetensors"));
}
