//! Files that huggingface_hub or RunPod has cached are linked, never fetched.

use crate::client::machine;
use serde_json::json;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use support::TestEnv;
use support::file_server::{Content, safetensors};
use support::hub::{Access, Hub};

const REPO: &str = "o/r";
const FILE: &str = "unet/x.safetensors";

/// A machine with a Hub that has one file, and a version that wants it.
fn with_hub() -> (TestEnv, Hub) {
    let (mut env, hub) = (machine(), Hub::start());
    env.set("HF_ENDPOINT", &hub.endpoint());
    hub.put(REPO, FILE, safetensors("x"));
    let mut spec = env.spec();
    spec["models"] = json!([{ "source": format!("hf://{REPO}/{FILE}"), "target_subdir": "loras" }]);
    env.write_spec("v", &spec);
    (env, hub)
}

/// Fills a cache as huggingface_hub does; returns the blob.
fn fill(cache: &Path, commit: &str) -> PathBuf {
    let repository = cache.join("models--o--r");
    let snapshot = repository.join("snapshots").join(commit).join("unet");
    let sha256 = Content::from(safetensors("x")).sha256();
    for dir in [&snapshot, &repository.join("blobs"), &repository.join("refs")] {
        fs::create_dir_all(dir).unwrap();
    }
    let blob = repository.join("blobs").join(&sha256);
    fs::write(&blob, safetensors("x")).unwrap();
    symlink(format!("../../../blobs/{sha256}"), snapshot.join("x.safetensors")).unwrap();
    fs::write(repository.join("refs/main"), commit).unwrap();
    blob
}

fn adopted(env: &TestEnv) -> PathBuf {
    env.volume("models/loras/x.safetensors")
}

#[test]
fn two_links_to_the_same_content_are_fetched_once() {
    let (env, hub) = with_hub();
    hub.put("other/copy", "y.safetensors", safetensors("x"));
    let mut spec = env.spec();
    spec["models"] = json!([
        { "source": format!("hf://{REPO}/{FILE}"), "target_subdir": "loras" },
        { "source": "hf://other/copy/y.safetensors", "target_subdir": "unet" },
    ]);
    env.write_spec("v", &spec);
    env.json(&["realize", "v"]);
    let inode = |path: &str| fs::metadata(env.volume("models").join(path)).unwrap().ino();
    assert_eq!(inode("loras/x.safetensors"), inode("unet/y.safetensors"));
    assert_eq!(
        hub.storage.seen().iter().filter(|seen| seen.range.as_deref() != Some("bytes=0-0")).count(),
        1
    );
    assert_eq!(env.json(&["realize", "v"])["outcome"], "ready");
}

#[test]
fn a_file_of_the_same_commit_is_hard_linked() {
    let (env, hub) = with_hub();
    let blob = fill(&env.volume("huggingface-cache/hub"), &hub.commit(REPO));
    let plan = env.json(&["realize", "v", "--dry-run"]);
    let real = blob.canonicalize().unwrap();
    assert_eq!(plan["models"][0]["action"], json!({ "kind": "adopt", "from": real.to_str().unwrap() }));
    env.json(&["realize", "v"]);
    assert_eq!(fs::metadata(adopted(&env)).unwrap().ino(), fs::metadata(&blob).unwrap().ino());
    assert!(adopted(&env).symlink_metadata().unwrap().is_file());
    assert_eq!(
        hub.storage.seen().iter().filter(|seen| seen.range.as_deref() != Some("bytes=0-0")).count(),
        0
    );
    let asked = hub.seen().len();
    assert_eq!(env.json(&["realize", "v"])["outcome"], "ready");
    assert_eq!(hub.seen().len(), asked);
}

#[test]
fn a_file_of_the_same_content_is_found_whatever_its_commit() {
    let (mut env, hub) = with_hub();
    let cache = env.path("home/.cache/huggingface/hub");
    let blob = fill(&cache, &"0".repeat(40));
    // The cache has an older commit, whose file was the same.
    env.json(&["realize", "v"]);
    assert_eq!(fs::metadata(adopted(&env)).unwrap().ino(), fs::metadata(&blob).unwrap().ino());
    assert_eq!(
        hub.storage.seen().iter().filter(|seen| seen.range.as_deref() != Some("bytes=0-0")).count(),
        0
    );
    // A file that is not whole, or not the one, is fetched.
    fs::remove_file(adopted(&env)).unwrap();
    fs::remove_dir_all(&cache).unwrap();
    env.set("HF_HUB_CACHE", &cache.display().to_string());
    let blob = fill(&cache, &hub.commit(REPO));
    fs::write(&blob, "cut").unwrap();
    env.json(&["realize", "v"]);
    assert_eq!(fs::read(adopted(&env)).unwrap(), safetensors("x"));
    assert_eq!(fs::read(&blob).unwrap(), b"cut");
}

#[test]
fn offline_the_cache_says_what_a_revision_is() {
    let (env, hub) = with_hub();
    env.json(&["resolve", "v"]);
    let mut bare = env.spec();
    bare["models"] = json!([]);
    env.write_spec("bare", &bare);
    env.json(&["realize", "bare"]);
    let before = hub.seen().len();
    assert_eq!(env.json(&["realize", "v", "--offline"])["missing"].as_array().unwrap().len(), 1);
    let blob = fill(&env.volume("huggingface-cache/hub"), &"0".repeat(40));
    assert_eq!(env.json(&["realize", "v", "--offline"])["missing"], json!([]));
    assert_eq!(fs::metadata(adopted(&env)).unwrap().ino(), fs::metadata(&blob).unwrap().ino());
    assert_eq!(hub.seen().len(), before);
}

#[test]
fn a_cache_on_another_disk_is_linked_by_name() {
    let (mut env, hub) = with_hub();
    let elsewhere = tempfile::tempdir().unwrap();
    let device = |path: &Path| fs::metadata(path).unwrap().dev();
    if device(elsewhere.path()) == device(&env.volume("")) {
        // There is only one disk here.
        return;
    }
    env.set("HF_HUB_CACHE", elsewhere.path().to_str().unwrap());
    let blob = fill(elsewhere.path(), &hub.commit(REPO));
    env.json(&["realize", "v"]);
    assert_eq!(fs::read_link(adopted(&env)).unwrap(), blob.canonicalize().unwrap());
    // A second name of it leads to the file, not to the first name.
    let mut spec = env.spec();
    spec["models"] = json!([{ "source": format!("hf://{REPO}/{FILE}"), "target_subdir": "unet" }]);
    env.write_spec("w", &spec);
    env.json(&["realize", "w"]);
    let second = env.volume("models/unet/x.safetensors");
    assert_eq!(fs::read_link(&second).unwrap(), blob.canonicalize().unwrap());
    // Whoever cleans the cache takes the file away: it counts as absent, and is fetched.
    drop(elsewhere);
    env.json(&["realize", "v"]);
    assert!(adopted(&env).symlink_metadata().unwrap().is_file());
}

#[test]
fn a_worker_without_a_token_takes_what_runpod_has_cached() {
    let (env, hub) = with_hub();
    hub.access(REPO, Access::Gated(Vec::new()));
    assert_eq!(env.error(&["realize", "v"], 7)["kind"], "access");
    fill(&env.volume("huggingface-cache/hub"), &hub.commit(REPO));
    let answer = env.json(&["realize", "v"]);
    let warning = answer["warnings"][0].as_str().unwrap();
    assert!(warning.starts_with("`loras/x.safetensors` is taken from the cache as it is"), "{warning}");
    assert_eq!(fs::read(adopted(&env)).unwrap(), safetensors("x"));
}
