//! `comfy` and `custom_nodes`: URLs, refs, commits, directories.

use crate::spec::{clean, parse, refused, warned, with};
use serde_json::{Value, json};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

fn node(fields: Value) -> Value {
    let mut node = json!({"repo": "https://git.example/a/Some-Node.git"});
    let Value::Object(fields) = fields else { panic!("no object") };
    node.as_object_mut().unwrap().extend(fields);
    json!({"custom_nodes": [node]})
}

#[test]
fn urls_that_git_takes_are_kept_as_written() {
    for url in [
        "https://github.com/comfyanonymous/ComfyUI",
        "https://github.com/comfyanonymous/ComfyUI.git",
        "https://git.example:8443/tree/releases/",
        "http://127.0.0.1:3000/a.git",
        "ssh://git@git.example:22/a/b",
        "ssh://git@[::1]/a/b",
        "git://git.example/a",
        "git@github.com:a/b.git",
        "file:///srv/git/a b@c".replace(' ', "%20").as_str(),
        "/srv/git/a b@c",
    ] {
        assert_eq!(clean(json!({"comfy": {"repo": url}})).comfy.repo, url);
    }
}

#[test]
fn other_urls_are_refused() {
    for (url, says) in [
        ("", "empty"),
        ("comfyanonymous/ComfyUI", "not the URL of a repository"),
        ("./ComfyUI", "absolute path"),
        ("~/ComfyUI", "absolute path"),
        ("C:\\ComfyUI", "absolute path"),
        ("--upload-pack=touch x", "dash"),
        ("-oProxyCommand=x:y", "dash"),
        ("ssh://-oProxyCommand=x/a", "names no host"),
        ("ssh://-o@git.example/a", "names no host"),
        ("git@-oProxyCommand=x:a", "user@host:path"),
        ("git@git.example:-a", "user@host:path"),
        ("git@git.example:", "user@host:path"),
        ("ext::sh -c x", "has a space"),
        ("ext::sh%20-c%20x", "`ext::` starts a program"),
        ("fd::7", "`fd::` starts a program"),
        ("ext::https://git.example/a", "`ext::` starts a program"),
        ("ftp://git.example/a", "`ftp://` is not supported"),
        ("git+https://git.example/a", "`git+https://` is not supported"),
        ("https://", "cannot be parsed"),
        ("https://git.example", "names no repository"),
        ("https://git.example/", "names no repository"),
        ("file://elsewhere/a", "names another host"),
        ("https://git.example/a/b@v1", "into `ref`"),
        ("git@git.example:a/b@v1", "into `ref`"),
        ("https://github.com/a/b/tree/main", "page of the repository"),
        ("https://gitlab.example/a/b/c/-/tree/main", "page of the repository"),
        ("https://git.example/a?x=1", "only the repository's URL"),
        ("https://git.example/a#main", "only the repository's URL"),
        ("https://git.example/a\nb", "control character"),
        (" https://git.example/a", "space at an end"),
        ("https://git.example/a b", "has a space"),
        ("https://user:s3cr3t@git.example/a", "credential helper"),
        ("https://s3cr3t@git.example/a", "credential helper"),
        ("http://user:s3cr3t@git.example/a", "credential helper"),
        ("ssh://git:s3cr3t@git.example/a", "credential helper"),
        ("user:s3cr3t@git.example/a", "not the URL of a repository"),
    ] {
        refused(json!({"comfy": {"repo": url}}), "comfy.repo", says);
        let found = parse(&with(json!({"comfy": {"repo": url}}))).diagnostics;
        assert!(!format!("{found:?}").contains("s3cr3t"), "{found:?}");
    }
    refused(json!({"comfy": {}}), "comfy.repo", "missing");
    refused(json!({"comfy": null}), "comfy", "missing");
}

#[test]
fn refs_and_commits_go_where_they_belong() {
    let read = |spec: proto::Spec| (spec.comfy.git_ref, spec.comfy.commit.map(String::from));
    let comfy = |fields: Value| {
        let mut comfy = json!({"repo": "/c"});
        comfy.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        json!({"comfy": comfy})
    };
    let name = |text: &str| Some(text.to_owned());
    let upper = COMMIT.to_uppercase();
    assert_eq!(read(clean(comfy(json!({})))), (None, None));
    assert_eq!(read(clean(comfy(json!({"ref": "v1"})))), (name("v1"), None));
    assert_eq!(read(clean(comfy(json!({"ref": "20240101"})))), (name("20240101"), None));
    assert_eq!(read(clean(comfy(json!({"commit": upper})))), (None, name(COMMIT)));
    assert_eq!(read(clean(comfy(json!({"ref": "v1", "commit": COMMIT})))), (name("v1"), name(COMMIT)));
    let table = [
        (json!({"commit": "main"}), "comfy.commit", "taken as the ref", (name("main"), None)),
        (json!({"commit": "feed"}), "comfy.commit", "taken as the ref", (name("feed"), None)),
        (json!({"ref": "main", "commit": "main"}), "comfy.commit", "taken as the ref", (name("main"), None)),
        (
            json!({"ref": "v1", "commit": "main"}),
            "comfy.commit",
            "differs from `ref` (`v1`)",
            (name("main"), None),
        ),
        (json!({"ref": COMMIT}), "comfy.ref", "move it into `commit`", (None, name(COMMIT))),
    ];
    for (fields, field, says, expected) in table {
        assert_eq!(read(warned(comfy(fields), field, says)), expected);
    }
    for bad in ["0123456", &COMMIT[..39], &"a".repeat(41)] {
        refused(comfy(json!({"commit": bad})), "comfy.commit", "all 40 digits");
    }
    for bad in ["", "-x", "a b", "a..b", "a:b", "a\n", "x.lock"] {
        refused(comfy(json!({"ref": bad})), "comfy.ref", "");
        refused(comfy(json!({"commit": bad})), "comfy.commit", "");
    }
}

#[test]
fn all_spellings_of_a_directory() {
    let table = [
        (json!({}), "Some-Node"),
        (json!({"repo": "https://git.example/a/b/"}), "b"),
        (json!({"repo": "git@git.example:b.git"}), "b"),
        (json!({"repo": "/srv/git/b.git"}), "b"),
        (json!({"name": "X"}), "X"),
        (json!({"path": "X"}), "X"),
        (json!({"path": "custom_nodes/X"}), "X"),
        (json!({"target_dir": "$COMFY_HOME/ComfyUI/custom_nodes/X"}), "X"),
        (json!({"target_dir": "${COMFY_HOME}/ComfyUI/custom_nodes/X/"}), "X"),
        (json!({"target_dir": "$COMFY_HOME/custom_nodes/X"}), "X"),
        (json!({"target_dir": "ComfyUI/custom_nodes/X"}), "X"),
        (json!({"target_dir": "X", "name": "X", "path": "custom_nodes/X"}), "X"),
    ];
    for (fields, dir) in table {
        assert_eq!(clean(node(fields.clone())).custom_nodes[0].dir.as_str(), dir, "{fields}");
    }
}

#[test]
fn directories_outside_custom_nodes_are_refused() {
    for (fields, field) in [
        (json!({"path": "../X"}), "custom_nodes[0].path"),
        (json!({"path": "a/b"}), "custom_nodes[0].path"),
        (json!({"path": ""}), "custom_nodes[0].path"),
        (json!({"path": "/etc"}), "custom_nodes[0].path"),
        (json!({"target_dir": "$HOME/X"}), "custom_nodes[0].target_dir"),
        (json!({"target_dir": "$COMFY_HOME/models/X"}), "custom_nodes[0].target_dir"),
        (json!({"target_dir": "$COMFY_HOME/ComfyUI/custom_nodes/.."}), "custom_nodes[0].target_dir"),
        (json!({"name": "-x"}), "custom_nodes[0].name"),
        (json!({"name": "x\0"}), "custom_nodes[0].name"),
        (json!({"name": "x.disabled"}), "custom_nodes[0].name"),
        (json!({"name": "X", "path": "Y"}), "custom_nodes[0].path"),
        (json!({"target_dir": "X", "path": "Y"}), "custom_nodes[0].path"),
        (json!({"repo": "https://git.example/a/.."}), "custom_nodes[0]"),
    ] {
        let parsed = parse(&with(node(fields.clone())));
        assert!(parsed.spec.is_none(), "{fields}");
        assert!(
            parsed.diagnostics.len() == 1 && parsed.diagnostics[0].field.starts_with(field),
            "{fields}: {parsed:?}"
        );
    }
}

#[test]
fn two_nodes_never_share_a_directory() {
    let (a, b) = ("https://git.example/a/Node", "https://git.example/b/node");
    let two = |first: Value, second: Value| json!({"custom_nodes": [first, second]});
    refused(
        two(json!({"repo": a}), json!({"repo": b})),
        "custom_nodes[1]",
        "`custom_nodes[0]` has the same directory",
    );
    refused(
        two(json!({"repo": a, "ref": "v1"}), json!({"repo": a, "ref": "v2"})),
        "custom_nodes[1]",
        "same directory",
    );
    refused(
        two(json!({"repo": a}), json!({"repo": a, "install_requirements": false})),
        "custom_nodes[1]",
        "same directory",
    );
    let again = json!({"repo": format!("{a}.git")});
    let spec = warned(two(json!({"repo": a}), again), "custom_nodes[1]", "`custom_nodes[0]` again");
    assert_eq!(spec.custom_nodes.len(), 1);
    // Two commits of one repository side by side are fine under two names.
    let spec = clean(two(json!({"repo": a}), json!({"repo": a, "ref": "v2", "path": "Node-v2"})));
    assert_eq!(spec.custom_nodes.len(), 2);
}

#[test]
fn requirements_are_installed_unless_the_spec_says_no() {
    assert!(clean(node(json!({}))).custom_nodes[0].install_requirements);
    assert!(!clean(node(json!({"install_requirements": false}))).custom_nodes[0].install_requirements);
}
