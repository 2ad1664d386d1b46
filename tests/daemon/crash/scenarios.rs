//! What daemons are doing when they die.

use super::invariants::Broken;
use super::process::{Daemon, Said};
use super::world::{BIG, VERSION, World};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// Work that a trial interrupts, and that the next daemon is asked for again.
pub(super) struct Scenario {
    pub(super) name: &'static str,
    /// The disk to begin with: one that [`World::keep`] keeps.
    pub(super) from: &'static str,
    /// Makes of it the disk that each trial begins with.
    pub(super) prepare: fn(&World),
    /// Makes what cannot be kept on a disk: processes.
    pub(super) begin: fn(&World),
    /// The work.
    pub(super) work: fn(&World, &mut Daemon<'_>) -> Said,
    /// What the next daemon is asked for.
    pub(super) again: fn(&World, &mut Daemon<'_>) -> Said,
    /// What is true of its answer, beside the invariants.
    pub(super) check: fn(&World, &Value, &mut Broken),
    /// What is published is damaged at first.
    pub(super) is_damaged: bool,
}

/// A disk without anything.
pub(super) const EMPTY: &str = "empty";

/// A disk with a version that was realized twice, so that an update leaves a generation to be removed.
pub(super) const REALIZED: &str = "realized";

const REALIZE: Scenario = Scenario {
    name: "",
    from: REALIZED,
    prepare: nothing,
    begin: nothing,
    work: realize,
    again: realize,
    check: is_realized,
    is_damaged: false,
};

/// All of them.
pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "cold", from: EMPTY, prepare: cold, ..REALIZE },
    Scenario { name: "update", prepare: update, ..REALIZE },
    Scenario { name: "slow", prepare: slow, check: has_resumed, ..REALIZE },
    Scenario { name: "repair", prepare: damage, is_damaged: true, ..REALIZE },
    Scenario { name: "rollback", work: rollback, ..REALIZE },
    Scenario { name: "run", work: run, again: run, check: has_run_once, ..REALIZE },
    Scenario { name: "adoption", begin: started, work: run, again: run, check: has_run_once, ..REALIZE },
];

fn nothing(_: &World) {}

/// Nothing but the spec.
fn cold(world: &World) {
    world.wants(1);
}

/// Makes the disk that [`REALIZED`] names.
pub(super) fn realized(world: &World) {
    for spec in [0, 1] {
        world.wants(spec);
        realize_now(world);
    }
}

/// The spec has changed: other commits, other models, the same packages. It is pinned.
fn update(world: &World) {
    world.wants(2);
    Daemon::start(&world.env, "").result("resolve", &json!({ "version": VERSION }));
}

/// The version wants a model that comes slowly. It is pinned.
fn slow(world: &World) {
    world.wants(3);
    Daemon::start(&world.env, "").result("resolve", &json!({ "version": VERSION }));
}

/// What stands of the updated version is damaged.
fn damage(world: &World) {
    world.wants(2);
    realize_now(world);
    // Code: a changed file, one that is gone, a checkout that is gone and whose node has an `install.py`.
    fs::write(world.home("current/ComfyUI/nodes.py"), "changed").unwrap();
    fs::remove_file(world.home("current/ComfyUI/custom_nodes/alpha/sub/a.txt")).unwrap();
    let beta = fs::canonicalize(world.home("current/ComfyUI/custom_nodes/beta")).unwrap();
    fs::remove_dir_all(beta).unwrap();
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

fn rollback(_: &World, daemon: &mut Daemon<'_>) -> Said {
    daemon.call("rollback", &json!({ "version": VERSION }))
}

fn is_realized(_: &World, answer: &Value, broken: &mut Broken) {
    let outcome = &answer["outcome"];
    if !["ready", "repaired", "realized"].iter().any(|good| outcome == good) {
        broken.0.push(format!("realize ended with {outcome}"));
    }
}

/// Bytes that had come are not fetched again, but for the last moment's.
fn has_resumed(world: &World, answer: &Value, broken: &mut Broken) {
    is_realized(world, answer, broken);
    let sent = world.sent();
    if sent > BIG * 7 / 4 {
        broken.0.push(format!("{sent} bytes were sent of {BIG}"));
    }
}

/// Its ComfyUI runs, and the daemon that started it was killed.
fn started(world: &World) {
    let mut daemon = Daemon::start(&world.env, "");
    daemon.result("ui", &json!({ "version": VERSION }));
    daemon.kill();
}

fn run(world: &World, daemon: &mut Daemon<'_>) -> Said {
    let image = json!({ "width": 8, "height": 8, "batch_size": 1, "color": 255 });
    let graph = json!({
        "1": { "class_type": "EmptyImage", "inputs": image },
        "2": { "class_type": "FakeSlow", "inputs": { "image": ["1", 0], "steps": 5, "ms": 20 } },
        "3": { "class_type": "LoadImage", "inputs": { "image": "pic.png" } },
        "4": { "class_type": "SaveImage", "inputs": { "images": ["2", 0], "filename_prefix": "made" } },
        "5": { "class_type": "PreviewImage", "inputs": { "images": ["3", 0] } },
    });
    let outputs = world.env.path("home/outputs").display().to_string();
    let inputs = json!([{ "name": "pic.png", "data": "cGljdHVyZQ==" }]);
    daemon.call(
        "run",
        &json!({ "version": VERSION, "workflow": graph, "job_id": "j", "inputs": inputs, "output_dir": outputs }),
    )
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
    for file in fs::read_dir(world.env.path("home/outputs")).into_iter().flatten().flatten() {
        if file.metadata().is_ok_and(|found| found.len() == 0) {
            broken.0.push(format!("{} is empty", file.path().display()));
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
