//! Files of comfyd's own that are not what they should be: each is found out, named, and made anew.

use super::invariants::{Broken, settled};
use super::process::{Daemon, Said};
use super::world::{VERSION, World};
use super::{in_parallel, scenarios};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// What is wrong with a file.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Damage {
    Truncated,
    Empty,
    Garbage,
    /// Well-formed, and something else.
    WrongType,
    /// Well-formed, and of a format to come.
    OtherVersion,
    Directory,
    Dangling,
    Outside,
}

use Damage::{Dangling, Directory, Empty, Garbage, OtherVersion, Outside, Truncated, WrongType};

const BYTES: &[Damage] = &[Truncated, Empty, Garbage, Directory];
const RECORD: &[Damage] = &[Truncated, Empty, Garbage, WrongType, Directory];
const VERSIONED: &[Damage] = &[Truncated, Empty, Garbage, WrongType, OtherVersion, Directory];
const LINK: &[Damage] = &[Dangling, Outside, Directory, Empty];

/// A file, what may be wrong with it, and the spec whose realize needs it.
struct Row {
    place: fn(&World) -> PathBuf,
    damages: &'static [Damage],
    spec: usize,
    is_told: bool,
}

/// A record that is read each time.
const fn record(place: fn(&World) -> PathBuf, damages: &'static [Damage]) -> Row {
    Row { place, damages, spec: 1, is_told: true }
}

/// A link, or a lock, which tells nothing that must be known.
const fn link(place: fn(&World) -> PathBuf, damages: &'static [Damage]) -> Row {
    Row { place, damages, spec: 1, is_told: false }
}

/// An index, which is read when there is something to do.
const fn index(place: fn(&World) -> PathBuf) -> Row {
    Row { place, damages: BYTES, spec: 3, is_told: true }
}

/// A file of a git cache, which is needed where something new is to be had from it.
const fn git(place: fn(&World) -> PathBuf, damages: &'static [Damage]) -> Row {
    Row { place, damages, spec: 2, is_told: false }
}

const TABLE: &[Row] = &[
    record(|world| world.env.lock_path(VERSION), VERSIONED),
    record(|world| world.home("current/realization.json"), RECORD),
    record(|world| world.home("current/lock.json"), RECORD),
    record(|world| world.env.volume("models/.comfyd/links.json"), VERSIONED),
    index(|world| world.home("current/comfyui.index")),
    index(|world| only(&world.env.volume("custom_nodes/workspace/.comfyd"), "alpha")),
    link(|world| world.home(".comfyd.lock"), &[Empty, Garbage]),
    link(|world| world.env.volume("models/.comfyd/links.lock"), &[Empty, Garbage]),
    link(|world| world.home("current"), LINK),
    link(|world| world.home("previous"), LINK),
    link(|world| world.home(".venv"), LINK),
    link(|world| world.home("ComfyUI"), LINK),
    link(|world| world.home("current/ComfyUI/models"), &[Dangling, Outside]),
    link(|world| world.home("current/ComfyUI/custom_nodes/alpha"), &[Dangling, Outside]),
    git(|world| cache(world).join("HEAD"), BYTES),
    git(|world| cache(world).join("config"), &[Garbage, Directory]),
    git(|world| cache(world).join("shallow"), BYTES),
    git(|world| only(&cache(world).join("refs/comfyd/pin"), ""), BYTES),
    git(|world| only(&cache(world).join("objects/pack"), ".pack"), BYTES),
    git(|world| only(&cache(world).join("objects/pack"), ".idx"), BYTES),
];

fn cache(world: &World) -> PathBuf {
    only(&world.env.volume(".comfy-cache/git"), "alpha")
}

/// Returns the first of a directory's entries whose name holds a text.
fn only(dir: &Path, holds: &str) -> PathBuf {
    let entries = fs::read_dir(dir).unwrap().flatten().map(|entry| entry.path());
    entries.into_iter().find(|path| path.to_string_lossy().contains(holds)).unwrap()
}

fn apply(damage: Damage, path: &Path) {
    let content = fs::read(path).unwrap_or_default();
    if fs::remove_file(path).is_err() {
        fs::remove_dir_all(path).ok();
    }
    match damage {
        Truncated => fs::write(path, &content[..content.len() / 2]),
        Empty => fs::write(path, ""),
        Garbage => fs::write(path, [0, 159, 146, 150, b'{']),
        WrongType => fs::write(path, "[1]"),
        OtherVersion => {
            let mut value: Value = serde_json::from_slice(&content).unwrap();
            value["schema_version"] = json!(999);
            fs::write(path, value.to_string())
        }
        Directory => fs::create_dir(path).and_then(|()| fs::write(path.join("x"), "")),
        Dangling => symlink("nowhere", path),
        Outside => symlink("/etc", path),
    }
    .unwrap();
}

/// Realizes with a damaged file; the version must be ready after that. A directory in the place of a link may
/// be someone's own, so it is refused by its name.
fn survives(world: &World, row: &Row, damage: Damage) -> Broken {
    let mut broken = Broken::default();
    let path = (row.place)(world);
    apply(damage, &path);
    let mut daemon = Daemon::start(&world.env, "");
    let answer = match daemon.call("realize", &json!({ "version": VERSION })) {
        Said::Done(answer) => answer,
        Said::Refused(error) if damage == Directory && !row.is_told => {
            let names_it =
                error["message"].as_str().is_some_and(|text| text.contains(&*path.to_string_lossy()));
            if !names_it {
                broken.0.push(format!("it is refused without a name: {error}"));
            }
            return broken;
        }
        other => {
            broken.0.push(format!("{other:?}"));
            return broken;
        }
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let log = fs::read_to_string(world.env.path("daemon.log")).unwrap();
    if row.is_told && !answer["warnings"].to_string().contains(&*name) && !log.contains(&*name) {
        broken.0.push(format!("nobody is told: {answer}"));
    }
    let again = daemon.result("realize", &json!({ "version": VERSION }));
    if again["outcome"] != "ready" {
        broken.0.push(format!("it is {}", again["outcome"]));
    }
    broken.0.extend(settled(world).0);
    broken
}

#[test]
fn a_damaged_file_is_named_and_made_anew() {
    let rows = TABLE.iter().flat_map(|row| row.damages.iter().map(move |damage| (row, *damage)));
    let rows: Vec<_> = rows.collect();
    let parts = rows.chunks(rows.len().div_ceil(super::MACHINES)).collect();
    let broken = in_parallel(parts, |rows: &[(&Row, Damage)]| {
        let world = World::new();
        scenarios::realized(&world);
        world.keep(scenarios::REALIZED);
        let mut found = Vec::new();
        for (row, damage) in rows {
            world.put_back(scenarios::REALIZED);
            world.wants(row.spec);
            let broken = survives(&world, row, *damage);
            if !broken.0.is_empty() {
                let path = (row.place)(&world);
                found.push(format!("{damage:?} {}:\n    {}", path.display(), broken.0.join("\n    ")));
            }
        }
        found
    });
    let broken: Vec<_> = broken.into_iter().flatten().collect();
    assert!(broken.is_empty(), "{} of {}:\n{}", broken.len(), rows.len(), broken.join("\n"));
}
