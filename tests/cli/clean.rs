//! Checkouts stay what git says, whatever was done to them while nobody ran them.

use crate::client::machine;
use serde_json::json;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use support::TestEnv;
use support::lfs::pointer;

const FILES: &[(&str, &str)] = &[("web/a.js", "a"), ("web/b.js", "b"), ("lib/c.py", "c"), ("d.txt", "d")];

/// A machine with versions that share the custom node `kj`, realized.
fn realized(ids: &[&str]) -> (TestEnv, PathBuf) {
    let env = machine();
    let node = env.node("kj", FILES);
    let mut spec = env.spec();
    spec["custom_nodes"] = json!([{ "repo": node.url() }]);
    for id in ids {
        env.write_spec(id, &spec);
        env.json(&["realize", id]);
    }
    let checkout = env.volume(format!("custom_nodes/workspace/kj@{}", node.head()));
    (env, checkout)
}

/// Starts a version anew and returns what it told.
fn started(env: &TestEnv, id: &str, args: &[&str]) -> String {
    let stopped = env.comfyctl(&["stop", id]);
    assert_eq!(stopped.status, Some(0), "{}", stopped.stderr);
    let ended = env.comfyctl(&[&["ui", id, "--detach"], args].concat());
    assert_eq!(ended.status, Some(0), "{}", ended.stderr);
    ended.stderr
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path.as_ref()).unwrap_or_else(|error| format!("{}: {error}", path.as_ref().display()))
}

#[test]
fn tracked_files_are_put_back_before_a_start_and_untracked_ones_are_left() {
    let (env, node) = realized(&["v"]);
    let comfy = env.home("v").join("current/ComfyUI");
    fs::write(node.join("d.txt"), "changed").unwrap();
    // Of the same length: only the time tells.
    fs::write(node.join("web/a.js"), "x").unwrap();
    fs::remove_file(node.join("lib/c.py")).unwrap();
    fs::set_permissions(node.join("web/b.js"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(node.join("mine.txt"), "mine").unwrap();
    fs::write(comfy.join("main.py"), "").unwrap();
    fs::write(comfy.join("custom_nodes/mine.py"), "").unwrap();
    let told = started(&env, "v", &[]);
    assert!(told.contains("put back 4 files of kj (`d.txt`, `lib/c.py`, `web/a.js` and 1 more)"), "{told}");
    assert!(told.contains("put back 1 file of ComfyUI (`main.py`)"), "{told}");
    for (name, content) in FILES {
        assert_eq!(read(node.join(name)), *content);
    }
    assert_eq!(fs::metadata(node.join("web/b.js")).unwrap().permissions().mode() & 0o111, 0);
    assert_eq!(read(node.join("mine.txt")), "mine");
    assert!(comfy.join("custom_nodes/mine.py").exists());
    let told = started(&env, "v", &[]);
    assert!(!told.contains("put back"), "once is enough: {told}");
}

#[test]
fn what_another_version_runs_is_left_alone_and_told() {
    let (env, node) = realized(&["a", "b"]);
    started(&env, "a", &[]);
    fs::write(node.join("d.txt"), "changed").unwrap();
    let told = started(&env, "b", &[]);
    assert!(told.contains("1 file of kj (`d.txt`) differ from git and are left alone, since `a`"), "{told}");
    assert_eq!(read(node.join("d.txt")), "changed");
    env.comfyctl(&["stop", "a"]);
    assert!(started(&env, "b", &[]).contains("put back 1 file of kj"));
    assert_eq!(read(node.join("d.txt")), "d");
}

#[test]
fn a_realize_that_has_something_to_do_cleans_as_well() {
    let (env, node) = realized(&["v"]);
    fs::write(node.join("d.txt"), "changed").unwrap();
    assert_eq!(env.json(&["realize", "v"])["outcome"], "ready");
    assert_eq!(read(node.join("d.txt")), "changed", "a look at what is ready walks through no files");
    fs::remove_file(env.home("v").join("ComfyUI")).unwrap();
    assert_eq!(env.json(&["realize", "v"])["outcome"], "repaired");
    assert_eq!(read(node.join("d.txt")), "d");
}

#[test]
fn nothing_is_written_through_a_link_and_nothing_untracked_is_lost() {
    let (env, node) = realized(&["v"]);
    let outside = env.path("outside");
    fs::create_dir_all(&outside).unwrap();
    fs::write(outside.join("a.js"), "precious").unwrap();
    fs::write(outside.join("d.txt"), "precious").unwrap();
    fs::remove_dir_all(node.join("web")).unwrap();
    symlink(&outside, node.join("web")).unwrap();
    fs::remove_file(node.join("d.txt")).unwrap();
    symlink(outside.join("d.txt"), node.join("d.txt")).unwrap();
    fs::remove_file(node.join("lib/c.py")).unwrap();
    fs::create_dir_all(node.join("lib/c.py")).unwrap();
    fs::write(node.join("lib/c.py/mine"), "mine").unwrap();
    let told = started(&env, "v", &[]);
    assert!(told.contains("put back 4 files of kj") && told.contains("c.py.aside-1"), "{told}");
    for (name, content) in FILES {
        assert_eq!(read(node.join(name)), *content);
    }
    assert!(node.join("web").symlink_metadata().unwrap().is_dir());
    assert!(node.join("d.txt").symlink_metadata().unwrap().is_file());
    assert_eq!(read(node.join("lib/c.py.aside-1/mine")), "mine");
    assert_eq!([read(outside.join("a.js")), read(outside.join("d.txt"))], ["precious", "precious"]);
    assert!(!outside.join("b.js").exists());
}

#[test]
fn a_lost_cache_is_fetched_again_and_offline_it_is_told() {
    let (env, node) = realized(&["v"]);
    fs::remove_dir_all(env.volume(".comfy-cache/git")).unwrap();
    fs::write(node.join("d.txt"), "changed").unwrap();
    let told = started(&env, "v", &["--offline"]);
    assert!(told.contains("files of kj were changed and cannot be put back (`d.txt`)"), "{told}");
    assert_eq!(read(node.join("d.txt")), "changed");
    assert!(started(&env, "v", &[]).contains("put back 1 file of kj"));
    assert_eq!(read(node.join("d.txt")), "d");
}

#[test]
fn a_git_lfs_file_is_kept_and_comes_back_from_the_cache() {
    let env = machine();
    let node = env.node("kj", &[("a.bin", &env.git.lfs().put(b"content")), ("b.bin", &pointer(b"later"))]);
    let mut spec = env.spec();
    spec["custom_nodes"] = json!([{ "repo": node.url() }]);
    env.write_spec("v", &spec);
    let told = env.comfyctl(&["realize", "v"]).stderr;
    assert!(told.contains("`b.bin` are only pointers to Git LFS"), "{told}");
    let checkout = env.volume(format!("custom_nodes/workspace/kj@{}", node.head()));
    assert!(!started(&env, "v", &["--offline"]).contains("put back"));
    assert_eq!(read(checkout.join("a.bin")), "content");
    // Of the same length.
    fs::write(checkout.join("a.bin"), "CONTENT").unwrap();
    env.git.lfs().put(b"later");
    let told = started(&env, "v", &[]);
    assert!(told.contains("put back 2 files of kj (`a.bin`, `b.bin`)"), "{told}");
    assert_eq!([read(checkout.join("a.bin")), read(checkout.join("b.bin"))], ["content", "later"]);
    fs::remove_dir_all(env.volume(".comfy-cache/git/lfs")).unwrap();
    fs::write(checkout.join("a.bin"), "content").unwrap();
    let told = started(&env, "v", &["--offline"]);
    assert!(!told.contains("kj"), "by another time it is the same file: {told}");
}

#[test]
fn a_checkout_without_an_index_gets_one() {
    let (env, node) = realized(&["v"]);
    let name = node.file_name().unwrap().to_string_lossy().into_owned();
    let indices =
        [node.with_file_name(format!(".comfyd/{name}.index")), env.home("v").join("current/comfyui.index")];
    for index in &indices {
        fs::remove_file(index).unwrap();
    }
    fs::write(&indices[0], "garbage").unwrap();
    fs::write(node.join("d.txt"), "changed").unwrap();
    assert!(started(&env, "v", &[]).contains("put back 1 file of kj (`d.txt`)"));
    assert!(indices.iter().all(|index| fs::read(index).unwrap().starts_with(b"DIRC")));
}
