//! `new` and `export`: specs from what people have, and back.

use crate::client::machine;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::TestEnv;

const COMFYUI: &str = "https://github.com/comfyanonymous/ComfyUI";

/// Returns a machine on which ComfyUI's own address, and these others, lead to repositories of its git host, and
/// whose registry is its host of files.
fn at_github(others: &[(&str, &str)]) -> TestEnv {
    let mut env = machine();
    env.comfy.tag("v0.3.9");
    env.comfy.tag("v0.3.75");
    let host = env.git.url();
    let own = [(COMFYUI, "ComfyUI")];
    let rules = own
        .iter()
        .chain(others)
        .map(|(address, name)| format!("[url \"{host}/{name}.git\"]\n\tinsteadOf = {address}\n"));
    fs::write(env.path("home/.gitconfig"), rules.collect::<String>()).unwrap();
    let registry = env.files.url("");
    env.set("COMFY_REGISTRY_ENDPOINT", &registry);
    env
}

fn pack(env: &TestEnv, id: &str, repository: &str) {
    let answer =
        json!({ "id": id, "name": id, "repository": repository, "latest_version": { "version": "9.9.9" } });
    env.files.put(&format!("/nodes/{id}"), answer.to_string().into_bytes());
}

fn write(env: &TestEnv, name: &str, content: impl AsRef<[u8]>) -> String {
    let path = env.path(name);
    fs::write(&path, content).unwrap();
    path.display().to_string()
}

/// Returns kind and name of what is not in the spec.
fn unknown(answer: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let of = |unknown: &Value| (text(&unknown["kind"]), text(&unknown["name"]));
    answer["unknown"].as_array().unwrap().iter().map(of).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(kind, name)| ((*kind).to_owned(), (*name).to_owned())).collect()
}

#[test]
fn without_an_origin_it_is_the_newest_release_and_nothing_is_replaced() {
    let env = at_github(&[]);
    let ended = env.comfyctl(&["new", "v"]);
    let path = env.volume("versions/v.json");
    assert_eq!((ended.status, ended.stdout), (Some(0), format!("{}\n", path.display())), "{}", ended.stderr);
    assert!(ended.stderr.contains("v: ComfyUI v0.3.75, 0 custom nodes, 0 models"), "{}", ended.stderr);
    assert_eq!(env.json(&["resolve", "v"])["lock"]["comfy"]["commit"], env.comfy.head());
    let text = fs::read_to_string(&path).unwrap();
    let error = env.error(&["new", "v"], 5);
    assert!(error["hint"].as_str().unwrap().contains("--force"), "{error}");
    env.comfy.tag("v0.4.0");
    let shown = env.comfyctl(&["new", "v", "--dry-run", "--force"]);
    assert!(shown.stdout.contains("\"ref\": \"v0.4.0\""), "{shown:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), text, "a dry run writes nothing");
    assert_eq!(env.json(&["new", "v", "--force"])["spec"]["comfy"]["ref"], "v0.4.0");
    assert_ne!(fs::read_to_string(&path).unwrap(), text);
    assert_eq!(env.error(&["new", "../v"], 2)["kind"], "usage");
}

#[test]
fn a_file_of_the_users_own_is_written_by_comfyctl() {
    let env = at_github(&[]);
    let ended = env.comfyctl(&["new", "mine", "--output", "mine.json", "--offline"]);
    assert_eq!((ended.status, ended.stdout.as_str()), (Some(0), "mine.json\n"), "{}", ended.stderr);
    assert!(ended.stderr.contains("warning: ComfyUI: its newest release is not known"), "{}", ended.stderr);
    assert_eq!(env.git.requests().len(), 0, "offline asks nobody");
    assert_eq!(env.json(&["resolve", "mine.json"])["lock"]["version_id"], "mine");
    assert!(!env.volume("versions/mine.json").exists());
    assert_eq!(env.error(&["new", "mine", "-o", "mine.json"], 5)["kind"], "conflict");
}

#[test]
fn a_snapshot_that_was_exported_pins_the_same_commits() {
    let mut env = at_github(&[]);
    let registry = env.files.url("");
    env.set("COMFY_REGISTRY_ENDPOINT", &registry);
    let (one, two) = (env.node("one", &[]), env.node("two", &[]));
    let mut spec = env.spec();
    spec["custom_nodes"] = json!([{ "repo": one.url() }, { "repo": two.url() }]);
    spec["models"] = json!([{ "source": "https://example.org/a.pth", "target_subdir": "loras" }]);
    env.write_spec("v", &spec);
    let error = env.error(&["export", "v", "--snapshot"], 4);
    assert!(error["hint"].as_str().unwrap().contains("comfyctl resolve v"), "{error}");
    let lock = env.json(&["resolve", "v"])["lock"].take();
    let ended = env.comfyctl(&["export", "v", "--snapshot", "--output", "s.json"]);
    assert_eq!(ended.status, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("a snapshot has none"), "{}", ended.stderr);
    for repository in [&env.comfy, &one, &two] {
        repository.commit(&[("later.txt", "1")]);
    }
    let made = env.json(&["new", "again", "--from-snapshot", "s.json"]);
    assert_eq!(made["unknown"], json!([]));
    let again = env.json(&["resolve", "again"])["lock"].take();
    let commits = |lock: &Value| {
        let nodes = lock["custom_nodes"].as_array().unwrap();
        let of = |node: &Value| (node["repo"].clone(), node["commit"].clone());
        (lock["comfy"]["commit"].clone(), nodes.iter().map(of).collect::<Vec<_>>())
    };
    assert_eq!(commits(&again), commits(&lock));
    let printed = env.comfyctl(&["export", "again", "--snapshot"]);
    let printed: Value = serde_json::from_str(&printed.stdout).unwrap();
    assert_eq!(printed["comfyui"], lock["comfy"]["commit"]);
}

#[test]
fn a_snapshot_in_yaml_with_packs_of_the_registry() {
    let env = at_github(&[]);
    let (tagged, plain) = (env.node("tagged", &[]), env.node("plain", &[]));
    tagged.tag("v1.2.3");
    let release = tagged.head();
    tagged.commit(&[("later.txt", "1")]);
    pack(&env, "tagged", tagged.url());
    pack(&env, "plain", &format!("{}/", plain.url()));
    let yaml = format!(
        "custom_nodes:\n  comfyui: {}\n  git_custom_nodes: {{}}\n  cnr_custom_nodes:\n    tagged: 1.2.3\n    plain: 2.0.0\n    \
         gone: 1.0.0\n  file_custom_nodes:\n  - filename: mine.py\n    disabled: false\n  pips: {{}}\n",
        env.comfy.head()
    );
    let file = write(&env, "s.yaml", yaml);
    let made = env.json(&["new", "v", "--from-snapshot", &file]);
    assert_eq!(unknown(&made), pairs(&[("custom_node", "gone"), ("custom_node", "mine.py")]));
    let warnings = made["warnings"].to_string();
    assert!(warnings.contains("`plain`: its version 2.0.0 has no tag"), "{warnings}");
    let lock = env.json(&["resolve", "v"])["lock"].take();
    let node = |dir: &str| {
        let nodes = lock["custom_nodes"].as_array().unwrap();
        nodes.iter().find(|node| node["dir"] == dir).unwrap()["commit"].clone()
    };
    assert_eq!((node("tagged"), node("plain")), (json!(release), json!(plain.head())));
    assert_eq!(lock["comfy"]["commit"], env.comfy.head());
    let offline = env.json(&["new", "o", "--from-snapshot", &file, "--offline"]);
    assert_eq!(unknown(&offline).len(), 4, "without the registry all its packs are unknown: {offline}");
}

/// A workflow as ComfyUI saves it: core nodes, a pack by its id, one by its repository, one by nothing.
fn workflow(commit: &str, model: &str) -> Value {
    let node = |class: &str, properties: Value, values: Value| json!({ "id": 1, "type": class, "properties": properties, "widgets_values": values });
    let hint = json!({ "name": "a.safetensors", "url": model, "directory": "checkpoints" });
    json!({ "version": 0.4, "links": [], "nodes": [
        node("CheckpointLoaderSimple", json!({ "cnr_id": "comfy-core", "ver": "0.3.9", "models": [hint] }), json!(["a.safetensors"])),
        node("LoraLoader", json!({ "cnr_id": "comfy-core", "ver": "0.3.9" }), json!(["mine.safetensors", 1.0])),
        node("Tagged", json!({ "cnr_id": "tagged", "ver": "1.2.3" }), json!([])),
        node("Git", json!({ "aux_id": "owner/by-git", "ver": commit }), json!([])),
        node("ByClass", json!({}), json!([])),
        node("Nobody Knows", json!({}), json!(["other.gguf"])),
    ] })
}

#[test]
fn a_workflow_and_the_picture_it_made_give_the_same_spec() {
    let env = at_github(&[("https://github.com/owner/by-git", "by-git")]);
    let (tagged, by_git, by_class) =
        (env.node("tagged", &[]), env.node("by-git", &[]), env.node("by-class", &[]));
    tagged.tag("1.2.3");
    pack(&env, "tagged", tagged.url());
    let answer = json!({ "id": "by-class", "repository": by_class.url() });
    env.files.put("/comfy-nodes/ByClass/node", answer.to_string().into_bytes());
    // Another version of this machine knows one of the models.
    let mut spec = env.spec();
    spec["models"] = json!([{ "source": "https://example.org/mine.safetensors", "target_subdir": "loras" }]);
    env.write_spec("other", &spec);
    let workflow = workflow(&by_git.head(), &env.model("/a.safetensors")).to_string();
    let saved = write(&env, "wf.json", &workflow);
    let made = env.json(&["new", "v", "--from-workflow", &saved]);
    assert_eq!(
        unknown(&made),
        pairs(&[("node_class", "Nobody Knows"), ("model", "other.gguf (Nobody Knows)")])
    );
    assert_eq!(made["spec"]["comfy"]["ref"], "v0.3.9");
    let targets: Vec<_> =
        made["spec"]["models"].as_array().unwrap().iter().map(|model| &model["target"]).collect();
    assert_eq!(targets, ["checkpoints/a.safetensors", "loras/mine.safetensors"]);
    let repos: Vec<_> =
        made["spec"]["custom_nodes"].as_array().unwrap().iter().map(|node| &node["repo"]).collect();
    assert_eq!(repos, [by_class.url(), "https://github.com/owner/by-git", tagged.url()]);
    assert_eq!(made["spec"]["custom_nodes"][1]["commit"], by_git.head());
    let warnings = made["warnings"].to_string();
    assert!(warnings.contains("`ByClass` is taken to be of `by-class`"), "{warnings}");
    assert!(warnings.contains("mine.safetensors"), "{warnings}");
    let picture = write(&env, "out.png", png(&[("prompt", "{}"), ("workflow", &workflow)]));
    let again = env.json(&["new", "p", "--from-workflow", &picture]);
    assert_eq!(again["text"], made["text"]);
    let ended = env.comfyctl(&["new", "q", "--from-workflow", &saved]);
    for line in [
        "left out: 1 node class, the registry does not know it\n  Nobody Knows\n",
        "left out: 1 model, no link of it is known\n",
    ] {
        assert!(ended.stderr.contains(line), "{line} in {}", ended.stderr);
    }
    let empty = write(&env, "empty.png", png(&[]));
    assert_eq!(
        env.error(&["new", "e", "--from-workflow", &empty], 2)["message"],
        "the picture holds no workflow"
    );
    assert_eq!(env.error(&["new", "e", "--from-workflow", "gone.json"], 4)["kind"], "not_found");
}

/// A picture with texts, and pixels that would not fit into a message.
fn png(texts: &[(&str, &str)]) -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |name: &str, data: &[u8]| {
        file.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
        file.extend([name.as_bytes(), data, b"csum"].concat());
    };
    chunk("IHDR", &[0; 13]);
    for (key, text) in texts {
        chunk("tEXt", &[key.as_bytes(), b"\0", text.as_bytes()].concat());
    }
    chunk("IDAT", &vec![7; 3 << 20]);
    chunk("IEND", b"");
    file
}

/// Clones as people do.
fn clone(url: &str, to: &Path) {
    let status = Command::new("git")
        .args(["clone", "--quiet", url])
        .arg(to)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .status();
    assert!(status.unwrap().success());
}

/// An installation with everything that one has after a while.
fn installation(env: &TestEnv) -> PathBuf {
    let root = env.path("apps/ComfyUI");
    clone(env.comfy.url(), &root);
    for file in ["main.py", "nodes.py", "folder_paths.py"] {
        if !root.join(file).exists() {
            fs::write(root.join(file), "").unwrap();
        }
    }
    let nodes = root.join("custom_nodes");
    for (name, dir) in
        [("clean", "clean"), ("changed", "renamed"), ("off", "off.disabled"), ("private", "private")]
    {
        clone(env.node(name, &[("nodes.py", "x = 1\n")]).url(), &nodes.join(dir));
    }
    fs::write(nodes.join("renamed/nodes.py"), "x = 2\n").unwrap();
    // Touched, and the same as before.
    fs::write(nodes.join("clean/nodes.py"), "x = 1\n").unwrap();
    let config = nodes.join("private/.git/config");
    let text = fs::read_to_string(&config).unwrap().replace("http://", "http://me:s3cr3t@");
    fs::write(config, text).unwrap();
    fs::write(nodes.join("loose.py"), "").unwrap();
    let archive = nodes.join("archived");
    fs::create_dir_all(&archive).unwrap();
    let repository = env.node("archived", &[]);
    repository.tag("v1.2.3");
    let project = format!(
        "[project]\nname = \"archived\"\nversion = \"1.2.3\"\n[project.urls]\nRepository = \"{}\"\n",
        repository.url()
    );
    fs::write(archive.join("pyproject.toml"), project).unwrap();
    fs::write(archive.join(".tracking"), "__init__.py\n").unwrap();
    root
}

fn models(env: &TestEnv, root: &Path) {
    let put = |name: &str, text: &str| {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    put("models/loras/style/a.safetensors", "a");
    put("models/loras/style/a.civitai.info", &json!({ "id": 7, "modelId": 3 }).to_string());
    put("models/vae/nowhere.pth", "b");
    put("models/vae/put_vae_here", "");
    put("../more/checkpoints/c.safetensors", "c");
    put("extra_model_paths.yaml", "more:\n  base_path: ../more\n  checkpoints: checkpoints\n");
    let commit = "ab".repeat(20);
    let cached = env.path("cache/models--o--r/snapshots").join(&commit).join("d.safetensors");
    fs::create_dir_all(cached.parent().unwrap()).unwrap();
    fs::write(&cached, "d").unwrap();
    std::os::unix::fs::symlink(&cached, root.join("models/vae/linked.safetensors")).unwrap();
    put(
        "custom_nodes/ComfyUI-Manager/model-list.json",
        &json!({ "models": [{ "filename": "c.safetensors", "url": "https://example.org/c.safetensors", "save_path": "default" }] }).to_string(),
    );
    put("custom_nodes/ComfyUI-Manager/__init__.py", "");
}

#[test]
fn an_installation_becomes_a_spec_of_its_commits() {
    let env = at_github(&[]);
    let root = installation(&env);
    models(&env, &root);
    let root = root.display().to_string();
    let made = env.json(&["new", "v", "--from-comfyui", &root]);
    let expected = [
        ("custom_node", "ComfyUI-Manager"),
        ("custom_node", "loose.py"),
        ("custom_node", "off"),
        ("model", "vae/nowhere.pth"),
    ];
    assert_eq!(unknown(&made), pairs(&expected));
    let spec = &made["spec"];
    assert_eq!(
        (&spec["comfy"]["repo"], &spec["comfy"]["commit"]),
        (&json!(env.comfy.url()), &json!(env.comfy.head()))
    );
    let nodes = spec["custom_nodes"].as_array().unwrap();
    let dirs: Vec<_> = nodes.iter().map(|node| node["dir"].as_str().unwrap()).collect();
    assert_eq!(dirs, ["archived", "clean", "private", "renamed"]);
    assert_eq!(nodes[0]["ref"], "v1.2.3");
    assert!(nodes[1]["commit"].is_string());
    let sources: Vec<_> =
        spec["models"].as_array().unwrap().iter().map(|model| (&model["target"], &model["source"])).collect();
    let commit = "ab".repeat(20);
    let expected = [
        ("loras/style/a.safetensors", "civitai://models/7".to_owned()),
        ("vae/linked.safetensors", format!("hf://o/r@{commit}/d.safetensors")),
        ("checkpoints/c.safetensors", "https://example.org/c.safetensors".to_owned()),
    ];
    assert_eq!(
        sources,
        expected
            .iter()
            .map(|(target, source)| (json!(target), json!(source)))
            .collect::<Vec<_>>()
            .iter()
            .map(|(a, b)| (a, b))
            .collect::<Vec<_>>()
    );
    let warnings = made["warnings"].to_string();
    assert!(warnings.contains("`renamed` has local changes (1 file)"), "{warnings}");
    assert!(!warnings.contains("`clean`"), "what was only touched has not changed: {warnings}");
    assert!(warnings.contains("holds a password"), "{warnings}");
    assert!(!made.to_string().contains("s3cr3t"), "{made}");
    let lock = env.json(&["resolve", "v"])["lock"].take();
    assert_eq!(lock["comfy"]["commit"], env.comfy.head());
    let error = env.error(&["new", "w", "--from-comfyui", env.path("home").to_str().unwrap()], 4);
    assert!(error["message"].as_str().unwrap().starts_with("there is no ComfyUI in "), "{error}");
}

#[test]
fn a_registry_that_does_not_answer_costs_its_packs_only() {
    let mut env = at_github(&[]);
    env.set("COMFY_REGISTRY_ENDPOINT", "http://127.0.0.1:9");
    let one = env.node("one", &[]);
    let nodes = json!({ one.url(): { "hash": one.head() } });
    let packs: serde_json::Map<String, Value> =
        (0..30).map(|n| (format!("pack-{n}"), json!("1.0.0"))).collect();
    let file = write(
        &env,
        "s.json",
        json!({ "comfyui": env.comfy.head(), "git_custom_nodes": nodes, "cnr_custom_nodes": packs })
            .to_string(),
    );
    let made = env.json(&["new", "v", "--from-snapshot", &file]);
    assert_eq!(made["spec"]["custom_nodes"].as_array().unwrap().len(), 1);
    assert_eq!(unknown(&made).len(), 30);
    assert!(
        made["unknown"][0]["reason"].as_str().unwrap().starts_with("the registry did not answer"),
        "{made}"
    );
}
