//! Power loss at any moment. What comfyd and all that it starts do to the disk is recorded once; the disks that
//! a power loss may leave are judged by what they promise, and some of them are what a next daemon begins with.

use crate::client::{machine, python};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use support::TestEnv;
use support::file_server::safetensors;
use support::power::{Bytes, Disk, History, Loss, Names, Recording};
use support::process::eventually;

/// Disks that a next daemon begins with.
const RESTARTS: usize = 9;

/// What was asked for and answered while the machine ran.
struct Recorded {
    env: TestEnv,
    history: History,
    /// When each answer came.
    answers: Vec<(&'static str, usize)>,
    /// What each link of a model stands for.
    models: BTreeMap<String, Vec<u8>>,
    spec: Value,
}

/// A version with all kinds of things: made, changed, added to, and run.
fn recorded() -> Recorded {
    let env = machine();
    let node = env.node("node", &[("node.py", "one = 1\n"), ("big.bin", &env.git.lfs().put(b"big"))]);
    let paths = ["/a.safetensors", "/b.safetensors", "/c.safetensors", "/d.safetensors"];
    let models = paths.map(|path| (env.model(path), safetensors(path)));
    let [a, b, c, d] = [0, 1, 2, 3].map(|at| models[at].0.clone());
    let mut spec = env.spec();
    spec["custom_nodes"] = json!([{ "repo": node.url() }]);
    spec["models"] = json!([{ "source": a, "target_path": "loras/m.safetensors" }]);
    env.write_spec("v", &spec);
    let recording = Recording::start(&env.path(""), env.comfyd());
    eventually("the daemon listens", || UnixStream::connect(env.socket()).is_ok());
    let mut answers = Vec::new();
    env.json(&["realize", "v"]);
    answers.push(("realized", recording.now()));
    node.commit(&[("node.py", "two = 2\n")]);
    spec["models"] = json!([
        { "source": b, "target_path": "loras/m.safetensors" },
        { "source": c, "target_path": "checkpoints/c.safetensors" },
    ]);
    env.write_spec("v", &spec);
    env.json(&["realize", "v", "--update"]);
    answers.push(("updated", recording.now()));
    let added = json!({ "source": d, "target_path": "embeddings/sub/d.safetensors" });
    spec["models"].as_array_mut().unwrap().push(added);
    env.write_spec("v", &spec);
    env.json(&["realize", "v"]);
    answers.push(("added to", recording.now()));
    run(&env);
    answers.push(("run", recording.now()));
    env.comfyctl(&["shutdown"]);
    let history = recording.finish(promises);
    Recorded { env, history, answers, models: models.into_iter().collect(), spec }
}

fn run(env: &TestEnv) {
    let image = json!({ "width": 8, "height": 8, "batch_size": 1, "color": 255 });
    let graph = json!({
        "1": { "class_type": "EmptyImage", "inputs": image },
        "2": { "class_type": "SaveImage", "inputs": { "images": ["1", 0], "filename_prefix": "made" } },
    });
    let (path, out) = (env.path("image.json"), env.path("out").display().to_string());
    fs::write(&path, graph.to_string()).unwrap();
    env.json(&["run", "--version-id", "v", "--workflow", path.to_str().unwrap(), "--output", &out]);
}

/// Says what a new name promises: a published one itself and all in it, a pin of a commit its objects.
fn promises(from: &Path, to: &Path) -> Option<PathBuf> {
    let is_staging =
        |path: &Path| path.iter().any(|step| step.to_string_lossy().starts_with(".comfyd-staging-"));
    let is_published = is_staging(from) && !is_staging(to);
    // Written many times a second, or of a process that does not outlive the machine either: not synced, and
    // in pieces they count as none.
    let is_passing =
        ["vol/models/.comfyd/parts", "state"].iter().any(|dir| to.starts_with(dir)) || is_lease(to);
    if let Some((repository, _)) = to.to_str()?.split_once("/refs/comfyd/pin/") {
        return Some(Path::new(repository).join("objects"));
    }
    // An empty cache of a repository: one in pieces is thrown away.
    let is_cache = to.parent() == Some(Path::new("vol/.comfy-cache/git"));
    (is_published && !is_passing && !is_cache).then(|| to.to_owned())
}

/// Tells whether a file says that a process lives.
fn is_lease(path: &Path) -> bool {
    let is_uses = |step: &OsStr| step == ".comfyd.uses";
    path.extension().is_some_and(|end| end == "lease") || path.iter().any(is_uses)
}

/// Returns what is wrong with a disk.
fn wrongs(recorded: &Recorded, moment: usize, disk: &Disk) -> BTreeSet<String> {
    let broken = recorded.history.broken(moment, disk).into_iter();
    let mut wrongs: BTreeSet<_> =
        broken.map(|(path, lack)| format!("`{}` lacks {lack}", path.display())).collect();
    let home = Path::new("vol/comfy-v");
    if disk.entries.contains_key(&home.join("current"))
        && disk.read(home.join("current/realization.json")).is_none_or(<[u8]>::is_empty)
    {
        wrongs.insert("`current` leads to no generation".to_owned());
    }
    let index = disk.read("vol/models/.comfyd/links.json").unwrap_or(b"{}");
    let index: Value = serde_json::from_slice(index).unwrap_or_default();
    for (target, entry) in index["files"].as_object().into_iter().flatten() {
        let bytes = disk.read(Path::new("vol/models").join(target));
        let bytes = bytes.filter(|bytes| entry["size"] == bytes.len());
        let link = entry["source"].as_str().unwrap();
        if bytes.is_some_and(|bytes| bytes != recorded.models[link]) {
            wrongs.insert(format!("`{target}` is not the file of its link {link}"));
        }
    }
    wrongs
}

/// What an answer promises: everything but what is anybody's own or written anew at will.
fn is_promised(path: &Path) -> bool {
    let starts = |dirs: &[&str]| dirs.iter().any(|dir| path.starts_with(dir));
    let is_in = |name: &str| path.iter().any(|step| step == name);
    let own = ["input", "output", "user", "temp", ".comfyd.lock"].map(|name| format!("vol/comfy-v/{name}"));
    let is_own = own.iter().any(|own| path.starts_with(own));
    starts(&["vol/comfy-v", "vol/models", "vol/custom_nodes", "home/.comfy-cache/resolved", "out"])
        && !starts(&["vol/models/.comfyd/parts", "vol/models/.comfyd/links.lock"])
        && !is_own
        && !is_lease(path)
        && !is_in("__pycache__")
}

#[test]
fn no_power_loss_leaves_a_name_without_what_it_promises() {
    let recorded = recorded();
    let history = &recorded.history;
    let (mut disks, mut wrong) = (0, BTreeMap::new());
    for &moment in history.moments() {
        for names in [Names::Synced, Names::All, Names::Some(1), Names::Some(2), Names::Some(3)] {
            for bytes in [Bytes::Old, Bytes::Zeros] {
                let disk = history.disk(moment, Loss { names, bytes });
                disks += 1;
                for text in wrongs(&recorded, moment, &disk) {
                    wrong.entry(text).or_insert((moment, names, bytes));
                }
            }
        }
    }
    for (answer, moment) in &recorded.answers {
        let lost = history.disk(*moment, Loss { names: Names::Synced, bytes: Bytes::Old });
        let live = history.disk(*moment, Loss { names: Names::All, bytes: Bytes::Zeros });
        let promised = live.entries.iter().filter(|(path, _)| is_promised(path));
        for (path, _) in promised.filter(|(path, found)| lost.entries.get(*path) != Some(found)) {
            let text = format!("`{}` was answered for ({answer}) and is lost", path.display());
            wrong.entry(text).or_insert((*moment, Names::Synced, Bytes::Old));
        }
    }
    println!(
        "power losses: {disks} disks at {} moments, violations: {}",
        history.moments().len(),
        wrong.len()
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
    restarts(&recorded);
}

/// Has daemons begin with disks that a power loss left.
fn restarts(recorded: &Recorded) {
    let Recorded { env, history, models, spec, .. } = recorded;
    let moments = history.moments();
    let losses = [Names::Synced, Names::All, Names::Some(4)].map(|names| Loss { names, bytes: Bytes::Old });
    for nth in 0..RESTARTS {
        let (moment, loss) = (moments[moments.len() * (nth + 1) / RESTARTS - 1], losses[nth % 3]);
        history.disk(moment, loss).write_to(&env.path(""));
        for dir in ["vol/versions", "home", "run", "state"] {
            fs::create_dir_all(env.path(dir)).unwrap();
        }
        env.write_spec("v", spec);
        let at = format!("moment {moment}, {loss:?}");
        let answer = env.comfyctl(&["realize", "v", "--update", "--json"]);
        assert_eq!(answer.status, Some(0), "{at}: {}{}", answer.stdout, answer.stderr);
        for model in spec["models"].as_array().unwrap() {
            let place = env.volume("models").join(model["target_path"].as_str().unwrap());
            assert!(fs::read(place).unwrap() == models[model["source"].as_str().unwrap()], "{at}: {model}");
        }
        let node = env.home("v").join("ComfyUI/custom_nodes/node");
        assert_eq!(fs::read_to_string(node.join("node.py")).unwrap(), "two = 2\n", "{at}");
        assert_eq!(fs::read_to_string(node.join("big.bin")).unwrap(), "big", "{at}");
        assert_eq!(python(&env.home("v"), "import tiny; print(tiny.version)"), "1.0\n", "{at}");
        assert_eq!(env.json(&["realize", "v"])["outcome"], "ready", "{at}");
        env.kill_all();
    }
}
