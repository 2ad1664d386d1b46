//! What daemons are doing when they die.

use super::invariants::Broken;
use super::process::{Daemon, Said};
use super::world::{VERSION, World};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// Work that a trial interrupts, and that the next daemon is asked for again.
pub(super) struct Scenario {
    pub(super) name: &'static str,
    /// Makes the disk that each trial begins with.
    pub(super) prepare: fn(&World),
    /// Makes what cannot be kept on a disk: processes.
    pub(super) begin: fn(&World),
    /// The work.
    pub(super) work: fn(&World, &mut Daemon<'_>) -> Said,
    /// What is true of its answer, beside the invariants.
    pub(super) check: fn(&World, &Value, &mut Broken),
}

/// All of them.
pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "cold", prepare: cold, begin: nothing, work: realize, check: is_realized },
    Scenario { name: "update", prepare: update, begin: nothing, work: realize, check: is_realized },
    Scenario { name: "repair", prepare: repair, begin: nothing, work: realize, check: is_realized },
    Scenario { name: "run", prepare: run_cold, begin: nothing, work: run, check: has_run_once },
    Scenario { name: "adoption", prepare: run_cold, begin: started, work: run, check: has_run_once },
];

fn nothing(_: &World) {}

/// Nothing but the spec.
fn cold(world: &World) {
    world.wants(0);
}

/// A version that is realized and whose spec has changed: other commits, other models, the same packages.
fn update(world: &World) {
    world.wants(0);
    realize_now(world);
    world.wants(1);
}

/// A version that is realized and was damaged.
fn repair(world: &World) {
    update(world);
    realize_now(world);
    // Code: a changed file, one that is gone, a checkout that is gone and whose node has an `install.py`.
    fs::write(world.home("current/ComfyUI/nodes.py"), "changed").unwrap();
    let nodes = fs::read_dir(world.env.volume("custom_nodes/workspace")).unwrap().flatten();
    for node in nodes {
        let name = node.file_name().into_string().unwrap();
        if name.starts_with("beta@") {
            fs::remove_dir_all(node.path()).unwrap();
        } else if name.starts_with("alpha@") {
            fs::remove_file(node.path().join("sub/a.txt")).unwrap();
        }
    }
    // A git cache whose objects are gone: it is thrown away.
    for cache in fs::read_dir(world.env.volume(".comfy-cache/git")).unwrap().flatten() {
        if cache.file_name().to_string_lossy().starts_with("beta") {
            fs::remove_dir_all(cache.path().join("objects/pack")).unwrap();
        }
    }
    // An environment of a machine that has its Python elsewhere.
    let python = world.home("current/.venv/bin/python");
    fs::remove_file(&python).unwrap();
    std::os::unix::fs::symlink("/nowhere/python", &python).unwrap();
    fs::remove_file(world.env.volume("models/loras/c.safetensors")).unwrap();
}

fn realize_now(world: &World) {
    let answer = Daemon::start(&world.env, "").result("realize", &json!({ "version": VERSION }));
    assert_eq!(answer["version_id"], VERSION);
}

fn realize(_: &World, daemon: &mut Daemon<'_>) -> Said {
    daemon.call("realize", &json!({ "version": VERSION }))
}

fn is_realized(_: &World, answer: &Value, broken: &mut Broken) {
    let outcome = &answer["outcome"];
    if !["ready", "repaired", "realized"].iter().any(|good| outcome == good) {
        broken.0.push(format!("realize ended with {outcome}"));
    }
}

/// A version that is realized, and does not run.
fn run_cold(world: &World) {
    world.wants(0);
    realize_now(world);
}

/// Its ComfyUI runs, and the daemon that started it was killed.
fn started(world: &World) {
    let mut daemon = Daemon::start(&world.env, "");
    daemon.result("ui", &json!({ "version": VERSION }));
    daemon.kill();
}

fn run(_: &World, daemon: &mut Daemon<'_>) -> Said {
    let image = json!({ "width": 8, "height": 8, "batch_size": 1, "color": 255 });
    let graph = json!({
        "1": { "class_type": "EmptyImage", "inputs": image },
        "2": { "class_type": "FakeSlow", "inputs": { "image": ["1", 0], "steps": 5, "ms": 20 } },
        "3": { "class_type": "LoadImage", "inputs": { "image": "pic.png" } },
        "4": { "class_type": "SaveImage", "inputs": { "images": ["2", 0], "filename_prefix": "made" } },
        "5": { "class_type": "PreviewImage", "inputs": { "images": ["3", 0] } },
    });
    let outputs = daemon_path(daemon, "home/outputs");
    let inputs = json!([{ "name": "pic.png", "data": "cGljdHVyZQ==" }]);
    daemon.call(
        "run",
        &json!({ "version": VERSION, "workflow": graph, "job_id": "j", "inputs": inputs, "output_dir": outputs }),
    )
}

fn daemon_path(daemon: &Daemon<'_>, name: &str) -> String {
    daemon.env().path(name).display().to_string()
}

/// The workflow was run by ComfyUI once, its outputs are whole, and its inputs are gone.
fn has_run_once(world: &World, answer: &Value, broken: &mut Broken) {
    let count = |dir: &Path| fs::read_dir(dir).into_iter().flatten().flatten().count();
    for (place, wanted) in [("output", 1), ("input", 0)] {
        let found = count(&world.home(place));
        if found != wanted {
            broken.0.push(format!("{found} files in `{place}`, and there should be {wanted}"));
        }
    }
    let outputs = answer["outputs"].as_array().map(Vec::as_slice).unwrap_or_default();
    for output in outputs {
        let path = output["file"]["path"].as_str().unwrap_or_default();
        if !fs::metadata(path).is_ok_and(|file| file.len() > 0) {
            broken.0.push(format!("the output `{path}` is not there"));
        }
    }
    if outputs.len() != 2 {
        broken.0.push(format!("{} outputs, not 2", outputs.len()));
    }
}
