//! Repositories that want to be executed: each way leaves a file of its own, and none may appear.

use crate::client::machine;
use serde_json::json;
use std::collections::BTreeSet;
use std::fs;
use support::TestEnv;

/// Returns the marks that something was executed, by the way in which it was.
fn marks(env: &TestEnv) -> BTreeSet<String> {
    let entries = fs::read_dir(env.path("marks")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Python that leaves a mark.
fn python(env: &TestEnv, way: &str) -> String {
    format!("open({:?}, 'w').close()\n", env.path("marks").join(way).display().to_string())
}

/// A shell's command that leaves a mark.
fn shell(env: &TestEnv, way: &str) -> String {
    format!("touch {}", env.path("marks").join(way).display())
}

/// Files that some program would execute, or be led by, if it looked at them; `of` tells repositories apart.
fn traps(env: &TestEnv, of: &str) -> Vec<(String, String)> {
    let py = |way: &str| python(env, &format!("{of}-{way}"));
    let sh = |way: &str| format!("#!/bin/sh\n{}\n", shell(env, &format!("{of}-{way}")));
    let index = env.files.url(&format!("/{of}-index/simple/"));
    let mut files: Vec<(String, String)> =
        ["setup.py", "sitecustomize.py", "usercustomize.py", "conftest.py", "pip.py"]
            .iter()
            .map(|name| ((*name).to_owned(), py(name)))
            .collect();
    let hooks = ["post-checkout", "post-merge", "reference-transaction", "fsmonitor-watchman"];
    for dir in ["hooks", ".githooks", ".husky"] {
        files.extend(hooks.iter().map(|hook| (format!("{dir}/{hook}"), sh(hook))));
    }
    let filter = format!("[filter \"trap\"]\n\tsmudge = {}\n", shell(env, &format!("{of}-gitconfig")));
    let backend = "[build-system]\nrequires = []\nbuild-backend = \"backend\"\nbackend-path = [\".\"]\n";
    let project =
        "[project]\nname = \"x\"\nversion = \"1\"\nrequires-python = \">=3.9\"\ndependencies = []\n";
    let uv = format!("index-url = \"{index}\"\nfind-links = [\"{index}\"]\n");
    files.extend(
        [
            (".gitattributes", "* filter=trap diff=trap merge=trap\n".to_owned()),
            (".gitconfig", filter.clone()),
            ("config", filter),
            (".lfsconfig", format!("[lfs]\n\turl = {index}\n")),
            ("backend.py", py("backend")),
            ("pyproject.toml", format!("{project}{backend}[tool.uv]\n{uv}")),
            ("uv.toml", uv),
            ("pip.conf", format!("[global]\nindex-url = {index}\n")),
            (".env", format!("UV_DEFAULT_INDEX={index}\nUV_INDEX={index}\n")),
            (".python-version", "./python\n".to_owned()),
            ("python", sh("python")),
            ("git", sh("git")),
            ("Makefile", format!("all:\n\t{}\n", shell(env, &format!("{of}-make")))),
        ]
        .map(|(name, text)| (name.to_owned(), text)),
    );
    files
}

#[test]
fn nothing_of_a_repository_is_executed_but_install_scripts_and_those_can_be_turned_off() {
    let mut env = machine();
    fs::create_dir(env.path("marks")).unwrap();
    // uv reads its settings here, and the user has a filter driver, hooks and a module path of his own.
    env.unset("UV_NO_CONFIG");
    let own = env.path("own");
    fs::create_dir_all(own.join("hooks")).unwrap();
    fs::write(own.join("sitecustomize.py"), python(&env, "own-sitecustomize")).unwrap();
    let driver = shell(&env, "driver");
    let config = format!(
        "[filter \"trap\"]\n\tsmudge = {driver}; cat\n\tclean = {driver}; cat\n\tprocess = {driver}\n\trequired\n\
         [core]\n\thooksPath = {0}/hooks\n\tfsmonitor = {driver}\n[init]\n\ttemplateDir = {0}\n",
        own.display()
    );
    fs::write(env.path("home/.gitconfig"), config).unwrap();
    env.set("PYTHONPATH", &own.display().to_string());
    env.set("PYTHONSTARTUP", &own.join("sitecustomize.py").display().to_string());

    let comfy = traps(&env, "comfy");
    let texts: Vec<(&str, &str)> = comfy.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    env.comfy.commit(&texts);
    let mut node = traps(&env, "node");
    let lines = "tiny\n-e .\n.\n./\nx @ file:.\n--index-url http://127.0.0.1:9/\n";
    node.push(("requirements.txt".to_owned(), lines.to_owned()));
    node.push(("install.py".to_owned(), python(&env, "install")));
    let texts: Vec<(&str, &str)> = node.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let repository = env.node("kj", &texts);
    let mut spec = env.spec();
    spec["custom_nodes"] = json!([{ "repo": repository.url() }]);
    env.write_spec("v", &spec);

    env.json(&["resolve", "v"]);
    env.json(&["realize", "v", "--dry-run", "--no-install-scripts"]);
    let answer = env.json(&["realize", "v", "--no-install-scripts"]);
    assert_eq!(answer["skipped_install_scripts"], json!(["kj"]));
    assert_eq!(marks(&env), BTreeSet::new());
    let place = env.home("v").join("ComfyUI");
    for (dir, text) in [(place.clone(), "comfy-setup.py"), (place.join("custom_nodes/kj"), "node-setup.py")] {
        let setup = fs::read_to_string(dir.join("setup.py")).unwrap();
        assert!(setup.contains(text), "it is there, and as git has it: {setup}");
    }
    // A file that was changed is put back, which no filter sees either.
    fs::write(place.join("setup.py"), "changed").unwrap();
    env.json(&["warm", "v", "--no-install-scripts"]);
    assert!(fs::read_to_string(place.join("setup.py")).unwrap().contains("comfy-setup.py"));
    assert!(
        !marks(&env).iter().any(|mark| mark.contains("driver") || mark.contains("install")),
        "{:?}",
        marks(&env)
    );
    env.json(&["stop", "v"]);
    let before = marks(&env);
    env.json(&["realize", "v"]);
    let now = marks(&env);
    assert_eq!(now.difference(&before).collect::<Vec<_>>(), ["install"]);
    assert!(env.files.seen().is_empty(), "no index of a repository was asked: {:?}", env.files.seen());
}
