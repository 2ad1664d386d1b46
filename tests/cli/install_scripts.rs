//! `--no-install-scripts`: no custom node's `install.py` is run, whoever says so.

use crate::client::machine;
use serde_json::{Value, json};
use std::fs;
use support::TestEnv;

/// Leaves a mark in the home directory and a module in the environment.
const SCRIPT: &str = "\
import os, sysconfig
open(os.environ['HOME'] + '/ran', 'a').write('one\\n')
open(sysconfig.get_paths()['purelib'] + '/by_script.py', 'w').close()
";

/// A machine with a spec `v` that has a custom node with a script, and the spec.
fn scripted() -> (TestEnv, Value) {
    let env = machine();
    let mut spec = env.spec();
    spec["custom_nodes"] = json!([{ "repo": env.node("kj", &[("install.py", SCRIPT)]).url() }]);
    env.write_spec("v", &spec);
    (env, spec)
}

fn runs(env: &TestEnv) -> usize {
    fs::read_to_string(env.path("home/ran")).unwrap_or_default().lines().count()
}

fn has_module(env: &TestEnv) -> bool {
    let lib = fs::read_dir(env.home("v").join("current/.venv/lib")).unwrap().next().unwrap().unwrap();
    lib.path().join("site-packages/by_script.py").exists()
}

#[test]
fn a_build_without_scripts_is_another_generation_and_says_what_it_skips() {
    let (env, _) = scripted();
    let plan = env.json(&["realize", "v", "--dry-run", "--no-install-scripts"]);
    assert_eq!((&plan["install_scripts"], &plan["skipped_install_scripts"]), (&json!([]), &json!(["kj"])));
    let people = env.comfyctl(&["realize", "v", "--dry-run", "--no-install-scripts"]);
    assert!(people.stdout.contains("SKIP  kj/install.py"), "{}", people.stdout);
    let without = env.json(&["realize", "v", "--no-install-scripts"]);
    assert_eq!(without["skipped_install_scripts"], json!(["kj"]));
    assert_eq!((runs(&env), has_module(&env)), (0, false));
    assert_eq!(env.json(&["realize", "v", "--no-install-scripts"])["outcome"], "ready");

    let with = env.json(&["realize", "v"]);
    assert_ne!(with["generation"], without["generation"]);
    assert_eq!(with["skipped_install_scripts"], Value::Null);
    assert_eq!((runs(&env), has_module(&env)), (1, true));

    let again = env.json(&["realize", "v", "--no-install-scripts"]);
    assert_eq!((&again["generation"], &again["outcome"]), (&without["generation"], &json!("realized")));
    assert_eq!((runs(&env), has_module(&env)), (1, false), "nothing of what the script did is in it");
}

#[test]
fn the_spec_and_the_daemon_may_say_so_and_every_verb() {
    let (mut env, mut spec) = scripted();
    let skipped = |env: &TestEnv| env.json(&["realize", "v"])["skipped_install_scripts"].take();
    spec["options"] = json!({ "no_install_scripts": true });
    env.write_spec("v", &spec);
    assert_eq!(skipped(&env), json!(["kj"]));
    assert_eq!(env.json(&["show", "v"])["state"], "realized");
    spec["options"] = json!({});
    env.write_spec("v", &spec);
    env.json(&["shutdown"]);
    env.set("COMFYD_NO_INSTALL_SCRIPTS", "1");
    assert_eq!(skipped(&env), json!(["kj"]));
    assert_eq!(env.json(&["show", "v"])["lacks"], json!([]));
    env.json(&["shutdown"]);
    env.unset("COMFYD_NO_INSTALL_SCRIPTS");
    env.json(&["warm", "v", "--no-install-scripts"]);
    assert_eq!(env.json(&["test", "v", "--no-install-scripts"])["passed"], true);
    env.json(&["ui", "v", "--no-install-scripts", "--detach"]);
    assert_eq!(runs(&env), 0);
}

#[test]
fn without_any_script_the_generation_is_the_same() {
    let env = machine();
    let mut spec = env.spec();
    spec["custom_nodes"] = json!([{ "repo": env.node("kj", &[]).url() }]);
    env.write_spec("v", &spec);
    env.json(&["realize", "v"]);
    let answer = env.json(&["realize", "v", "--no-install-scripts"]);
    assert_eq!((&answer["outcome"], &answer["skipped_install_scripts"]), (&json!("ready"), &Value::Null));
}
