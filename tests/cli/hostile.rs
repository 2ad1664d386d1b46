//! Specs and repositories that mean harm: each is refused, or does no harm, and the reason is told.

use crate::client::machine;
use serde_json::{Value, json};
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use support::TestEnv;
use support::file_server::Fault;
use support::git_remote::Repository;

/// Makes a commit of a tree that git itself would not add: lines of `git mktree`. Returns its id.
fn commit_tree(node: &Repository, lines: &str) -> String {
    let tree = mktree(node.path(), lines);
    let commit = node.git(&["commit-tree", "-m", "hostile", &tree]);
    node.git(&["update-ref", "refs/heads/main", &commit]);
    commit
}

fn mktree(repository: &Path, lines: &str) -> String {
    stdin(repository, &["mktree"], lines)
}

fn blob(repository: &Path, text: &str) -> String {
    stdin(repository, &["hash-object", "-w", "--stdin"], text)
}

fn stdin(repository: &Path, args: &[&str], text: &str) -> String {
    let mut git = Command::new("git");
    git.args(args).current_dir(repository).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut git = git.spawn().unwrap();
    git.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = git.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn with_node(env: &TestEnv, node: &Repository) {
    let mut spec = env.spec();
    spec["custom_nodes"] = json!([{ "repo": node.url() }]);
    env.write_spec("v", &spec);
}

/// All that an error says, in one text.
fn said(error: &Value) -> String {
    error.to_string()
}

#[test]
fn specs_that_lead_out_of_their_places_are_refused_with_the_field() {
    let env = machine();
    let (url, model) = (env.comfy.url().to_owned(), env.model("/m.safetensors"));
    let node = |dir: &str| json!({ "custom_nodes": [{ "repo": url, "name": dir }] });
    let place = |subdir: &str, name: &str| json!({ "models": [{ "source": model, "target_subdir": subdir, "name": name }] });
    let repo = |repo: &str| json!({ "custom_nodes": [{ "repo": repo }] });
    let table = [
        ("custom_nodes[0].name", node("..")),
        ("custom_nodes[0].name", node("a/../../b")),
        ("custom_nodes[0].name", node("/etc")),
        ("custom_nodes[0].name", node(".git")),
        ("models[0].target_subdir", place("../../etc", "m.safetensors")),
        ("models[0].target_subdir", place("/etc", "m.safetensors")),
        ("models[0].name", place("loras", "../m.safetensors")),
        ("models[0].name", place("loras", "/dev/null")),
        ("models[0].name", place("loras", "a\u{0}b")),
        ("custom_nodes[0].repo", repo("-uevil")),
        ("custom_nodes[0].repo", repo("ext::sh -c id")),
        (
            "models[0].source",
            json!({ "models": [{ "source": "hf://o/r/../../x", "target_subdir": "loras" }] }),
        ),
        ("models[0].source", json!({ "models": [{ "source": "ftp://h/x", "target_subdir": "loras" }] })),
    ];
    for (field, fields) in table {
        let mut spec = env.spec();
        for (name, value) in fields.as_object().unwrap() {
            spec[name] = value.clone();
        }
        env.write_spec("v", &spec);
        let error = env.error(&["realize", "v"], 3);
        assert!(said(&error["diagnostics"]).contains(field), "{fields}: {error}");
    }
    assert!(!env.home("v").exists(), "nothing was begun");
}

#[test]
fn specs_that_are_bombs_are_refused_at_once() {
    let env = machine();
    let deep = format!("{{\"schema_version\":2,\"models\":{}", "[".repeat(1_000_000));
    let large = format!("{{\"schema_version\":2,\"comfy\":\"{}\"}}", "x".repeat(5 << 20));
    for (text, reason) in [(deep, "64 levels"), (large, "4 MiB")] {
        fs::write(env.volume("versions/v.json"), text).unwrap();
        let begun = std::time::Instant::now();
        let ended = env.comfyctl(&["realize", "v", "--json"]);
        assert!(matches!(ended.status, Some(3 | 8)), "{ended:?}");
        assert!(ended.stdout.contains(reason) && ended.stdout.len() < 5000, "{reason}: {}", ended.stdout);
        assert!(begun.elapsed().as_secs() < 20, "{reason}: {:?}", begun.elapsed());
    }
}

#[test]
fn packages_of_a_spec_are_names_and_links_only() {
    let env = machine();
    for line in
        ["--index-url https://evil.example/", "-e /etc", "-r ../../x", "file:///etc/passwd", "./x", "/etc/x"]
    {
        let mut spec = env.spec();
        spec["python_packages"] = json!([line]);
        env.write_spec("v", &spec);
        let ended = env.comfyctl(&["realize", "v", "--json"]);
        assert!(matches!(ended.status, Some(2 | 3 | 5)), "{line}: {ended:?}");
        assert!(ended.stdout.contains("python_packages"), "{line}: {}", ended.stdout);
    }
}

#[test]
fn requirements_of_a_node_cannot_lead_uv_astray() {
    let env = machine();
    let lines = "--index-url http://evil.example/simple\n--extra-index-url http://evil.example\n-e /etc\n\
                 -r ../../x\n-r /etc/passwd\nfile:///etc/passwd\n./local.whl\n${HOME}/x\ntiny\n";
    let node = env.node("node", &[("requirements.txt", lines)]);
    with_node(&env, &node);
    env.json(&["realize", "v"]);
    let left = env.lock("v")["python"]["left_out"].clone();
    let left = left.as_array().unwrap();
    assert_eq!(left.len(), 8, "{left:#?}");
    for (line, left) in lines.lines().zip(left) {
        let origin = left["origin"].as_str().unwrap();
        assert!(origin.starts_with("node requirements.txt:"), "{line}: {left}");
    }
    assert!(env.index.requests() > 0, "the daemon's own index was asked");
}

#[test]
fn a_password_in_a_repositorys_link_is_shown_nowhere() {
    let env = machine();
    let mut spec = env.spec();
    spec["custom_nodes"] = json!([{ "repo": "https://user:c4n4ry@127.0.0.1:9/x.git" }]);
    env.write_spec("v", &spec);
    let ended = env.comfyctl(&["realize", "v", "--json", "-v"]);
    assert_ne!(ended.status, Some(0));
    for text in [&ended.stdout, &ended.stderr, &env.log()] {
        assert!(!text.contains("c4n4ry"), "{text}");
    }
}

#[test]
fn names_that_git_keeps_for_itself_are_refused() {
    let env = machine();
    let node = env.node("node", &[]);
    let (file, tree) = (blob(node.path(), "x"), mktree(node.path(), ""));
    let script = blob(node.path(), "#!/bin/sh\ntouch /tmp/never\n");
    let hooks = mktree(node.path(), &format!("100755 blob {script}\tpost-checkout\n"));
    let trees = [
        format!("100644 blob {file}\t.git\n"),
        format!("040000 tree {hooks}\t.git\n"),
        format!("040000 tree {hooks}\t.GIT\n"),
        format!("040000 tree {hooks}\tgit~1\n"),
        format!("040000 tree {tree}\t..\n"),
        format!("100644 blob {file}\t..\n"),
    ];
    for lines in trees {
        commit_tree(&node, &lines);
        with_node(&env, &node);
        let ended = env.comfyctl(&["realize", "v", "--update", "--json"]);
        assert_ne!(ended.status, Some(0), "{lines}");
        assert!(ended.stdout.contains("unsafe file name"), "{lines}: {}", ended.stdout);
        assert!(ended.stdout.contains("node.git"), "{lines}: {}", ended.stdout);
    }
}

#[test]
fn names_that_differ_by_case_and_links_to_outside_do_no_harm() {
    let env = machine();
    let node = env.node("node", &[("Case.py", "1"), ("case.py", "2")]);
    std::os::unix::fs::symlink("/etc/passwd", node.path().join("passwd")).unwrap();
    std::os::unix::fs::symlink("../../../../x", node.path().join("up")).unwrap();
    node.commit_all();
    with_node(&env, &node);
    env.json(&["realize", "v"]);
    let dir = env.home("v").join("current/ComfyUI/custom_nodes/node");
    let read = |name: &str| fs::read_to_string(dir.join(name)).unwrap();
    assert_eq!((read("Case.py"), read("case.py")), ("1".to_owned(), "2".to_owned()));
    for link in ["passwd", "up"] {
        assert!(dir.join(link).symlink_metadata().is_err(), "`{link}` leads out");
    }
}

#[test]
fn submodules_that_are_no_repositories_of_hosts_are_refused() {
    let env = machine();
    let victim = env.git.repository("victim");
    let secret = victim.commit(&[("secret", "s")]);
    let file = format!("file://{}", victim.path().display());
    for link in ["-x", "--upload-pack=touch /tmp/never", "ext::sh -c true", &file, "/etc", "../../../../../x"]
    {
        let node = env.git.repository(&format!("node{}", link.len()));
        node.commit(&[("__init__.py", "")]);
        node.submodule("sub", link, &secret);
        with_node(&env, &node);
        let ended = env.comfyctl(&["realize", "v", "--update", "--json"]);
        assert_ne!(ended.status, Some(0), "{link}");
        let error = &ended.json()["error"];
        assert!(said(error).contains(&link.replace('"', "\\\"")), "{link}: {error}");
    }
}

#[test]
fn trees_that_unfold_are_refused_before_they_are_listed() {
    let env = machine();
    let node = env.node("node", &[]);
    let small = blob(node.path(), "x");
    let large = blob(node.path(), &"0".repeat(8 << 20));
    let wide = |of: &str, kind: &str, times: usize| -> String {
        (0..times).map(|at| format!("{kind} {of}\t{at:05}")).collect::<Vec<_>>().join("\n") + "\n"
    };
    // Ten thousand million files.
    let mut many = small;
    for level in 0..10 {
        let kind = if level == 0 { "100644 blob" } else { "040000 tree" };
        many = mktree(node.path(), &wide(&many, kind, 10));
    }
    // Eight MiB, twenty thousand times.
    let heavy = mktree(node.path(), &wide(&large, "100644 blob", 20_000));
    let mut deep = mktree(node.path(), "");
    for _ in 0..300 {
        deep = mktree(node.path(), &wide(&deep, "040000 tree", 1));
    }
    let table = [(many, "11111111111 files"), (heavy, "156 GiB"), (deep, "256 deep")];
    for (tree, reason) in table {
        commit_tree(&node, &format!("040000 tree {tree}\tx\n"));
        with_node(&env, &node);
        let begun = std::time::Instant::now();
        let error = env.comfyctl(&["realize", "v", "--update", "--json"]).json()["error"].take();
        assert!(said(&error).contains(reason), "{reason}: {error}");
        assert!(begun.elapsed().as_secs() < 30, "{reason}: {:?}", begun.elapsed());
    }
}

/// A file's name and place are the spec's and its link's; what a host calls it is of no matter.
#[test]
fn a_name_that_a_host_gives_leads_no_file_anywhere() {
    const TEXT: &str = "model: {}\n";
    let env = machine();
    let name = "attachment; filename=\"../../../evil.yaml\"; filename*=UTF-8''..%2F..%2Fevil.yaml".to_owned();
    env.files.always("/m.yaml", Fault::Status(200, vec![("content-disposition", name)], TEXT));
    let mut spec = env.spec();
    spec["models"] = json!([{ "source": env.files.url("/m.yaml"), "target_subdir": "configs" }]);
    env.write_spec("v", &spec);
    env.json(&["realize", "v"]);
    assert_eq!(fs::read_to_string(env.volume("models/configs/m.yaml")).unwrap(), TEXT);
    let found = Command::new("find").arg(env.path("")).args(["-name", "*evil*"]).output().unwrap();
    assert_eq!(String::from_utf8(found.stdout).unwrap(), "");
}
