use super::*;
use proptest::prelude::*;
use serde_json::json;

const COMMIT: &str = "3f2a1b0c9d3f2a1b0c9d3f2a1b0c9d3f2a1b0c9d";

fn commit() -> Revision {
    Revision::read(COMMIT)
}

fn names(found: &Found) -> Vec<&str> {
    found.unknown.iter().map(|unknown| unknown.name.as_str()).collect()
}

#[test]
fn a_snapshot_of_the_manager() {
    let found = read(
        &json!({
            "comfyui": COMMIT,
            "git_custom_nodes": {
                "https://github.com/o/a.git": { "hash": COMMIT, "disabled": false },
                "git@github.com:o/off": { "hash": COMMIT, "disabled": true },
                "https://github.com/o/none": { "hash": null },
            },
            "cnr_custom_nodes": { "comfyui-kjnodes": "1.2.3", "odd": null },
            "file_custom_nodes": [{ "filename": "mine.py", "disabled": false }],
            "pips": { "torch==2.6.0": "", "x @ https://h/x.whl": "https://h/x.whl" },
        })
        .to_string(),
    )
    .unwrap();
    assert_eq!(found.comfy.revision, commit());
    let of = |name: &str| found.nodes.iter().find(|node| node.name == name).unwrap();
    assert_eq!(of("https://github.com/o/a.git").repo.revision, commit());
    assert_eq!(of("https://github.com/o/none").repo.revision, Revision::Unknown);
    assert_eq!(of("comfyui-kjnodes").repo.revision, Revision::Version("1.2.3".to_owned()));
    assert_eq!(of("odd").registry_id.as_deref(), Some("odd"));
    assert_eq!(names(&found), ["git@github.com:o/off", "mine.py"]);
    assert!(
        found.warnings[0].starts_with("2 Python packages of it are not taken over"),
        "{:?}",
        found.warnings
    );
}

#[test]
fn the_same_in_yaml_lies_below_one_key() {
    // A commit of digits and one `e` looks like a number to YAML.
    let digits = "12345678901234567890123456789012345678e1";
    let text = format!(
        "custom_nodes:\n  comfyui: {digits}\n  git_custom_nodes:\n    https://github.com/o/a:\n      disabled: false\n      \
         hash: {COMMIT}\n  cnr_custom_nodes:\n    b: 1.2\n  file_custom_nodes: []\n  pips: {{}}\n"
    );
    let found = read(&text).unwrap();
    assert_eq!(found.comfy.revision, Revision::read(digits));
    let revisions: Vec<_> = found.nodes.iter().map(|node| &node.repo.revision).collect();
    assert_eq!(revisions, [&commit(), &Revision::Version("1.2".to_owned())]);
}

#[test]
fn what_comfy_pack_adds() {
    let model = |name: &str, more: Value| {
        let mut model =
            json!({ "filename": name, "sha256": "ab", "source": { "download_url": "https://h/x" } });
        model.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        model
    };
    let models = [
        model("models/loras/x/a.safetensors", json!({})),
        model("models/vae/b.pth", json!({"disabled": true})),
    ];
    let found = read(&json!({ "python": "3.11", "comfyui": COMMIT, "models": models }).to_string()).unwrap();
    assert_eq!(found.python.as_deref(), Some("3.11"));
    let targets: Vec<_> = found.models.iter().map(FoundModel::target).collect();
    assert_eq!(targets, [Some("loras/x/a.safetensors".to_owned())]);
    assert_eq!(found.models[0].link.as_deref(), Some("https://h/x"));
}

#[test]
fn of_the_snapshots_of_the_desktop_the_newest_counts() {
    let snapshot = |at: &str, tag: &str| {
        json!({ "createdAt": at, "comfyui": { "ref": "master", "releaseTag": tag },
        "pythonVersion": "3.12.4", "pipPackages": {"a": "1"}, "customNodes": [
            { "id": "kj", "type": "cnr", "dirName": "comfyui-kjnodes", "enabled": true, "version": "1.2.3" },
            { "id": "x", "type": "git", "dirName": "x", "enabled": true, "url": "https://h/o/x", "commit": COMMIT },
            { "id": "off", "type": "git", "dirName": "off", "enabled": false, "url": "https://h/o/off" },
            { "id": "f.py", "type": "file", "dirName": "f.py", "enabled": true },
        ] })
    };
    let file = json!({ "type": "comfyui-desktop-2-snapshot", "version": 2, "snapshots": [
        snapshot("2026-01-02T00:00:00Z", "v0.3.75"), snapshot("2025-01-02T00:00:00Z", "v0.3.1"),
    ] });
    let found = read(&file.to_string()).unwrap();
    assert_eq!(found.comfy.revision, Revision::Version("0.3.75".to_owned()));
    let nodes: Vec<_> =
        found.nodes.iter().map(|node| (node.dir.as_deref(), node.registry_id.as_deref())).collect();
    assert_eq!(nodes, [(Some("comfyui-kjnodes"), Some("kj")), (Some("x"), None)]);
    assert_eq!(names(&found), ["off", "f.py"]);
}

#[test]
fn other_files_are_told_apart() {
    for text in ["", "{}", "[]", "hello", "{\"nodes\": []}", "{\"comfyui\": 3}", "a: [", "custom_nodes: 3"] {
        let error = read(text).unwrap_err().to_string();
        assert!(error.starts_with("this is no snapshot: ") && error.len() < 400, "{text}: {error}");
    }
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\n\
                d: &d [*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e]\n\
                comfyui: [*f,*f,*f,*f,*f,*f,*f,*f]\n";
    read(bomb).unwrap_err();
}

#[test]
fn a_lock_becomes_a_snapshot_that_says_the_same() {
    let repo = |url: &str| json!({ "repo": url, "commit": COMMIT, "committed_at": "2025-01-02T03:04:05Z" });
    let node = |dir: &str, url: &str| {
        let mut node = repo(url);
        node.as_object_mut()
            .unwrap()
            .extend([("dir".to_owned(), json!(dir)), ("install_script".to_owned(), json!(false))]);
        node
    };
    let lock: Lock = serde_json::from_value(json!({
        "schema_version": 1, "version_id": "x", "spec_digest": "d", "resolved_at": "2025-01-02T03:04:05Z",
        "comfy": repo("https://h/o/comfy"),
        "custom_nodes": [node("a", "https://h/o/a"), node("b", "https://h/o/b"), node("b2", "https://h/o/b")],
        "models": [{ "target": "loras/a.safetensors", "source": "hf://o/r/a.safetensors" }],
        "python": { "version": "3.12", "inputs_digest": "d", "packages": [
            { "name": "numpy", "version": "2.1.0", "requirement": "numpy==2.1.0" },
            { "name": "x", "requirement": "x @ git+https://h/x@abc" } ] },
    }))
    .unwrap();
    let (text, left_out) = write(&lock).unwrap();
    let written: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        written["pips"],
        json!({ "numpy==2.1.0": "", "x @ git+https://h/x@abc": "git+https://h/x@abc" })
    );
    assert_eq!(left_out.len(), 3, "{left_out:?}");
    let found = read(&text).unwrap();
    assert_eq!(found.comfy.revision, commit());
    let nodes: Vec<_> = found.nodes.iter().map(|node| node.repo.url.as_deref()).collect();
    assert_eq!(nodes, [Some("https://h/o/a"), Some("https://h/o/b")]);
}

proptest! {
    #[test]
    fn nothing_makes_it_panic(text in "[ -~\n]{0,120}", json: bool) {
        let text = if json { format!("{{\"comfyui\": null, \"git_custom_nodes\": {{\"{text}\": {{}}}}}}") } else { text };
        read(&text).ok();
    }
}
