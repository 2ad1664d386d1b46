//! ARCHITECTURE.md says who may know whom; here its own table is read and held against the code.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Words that only some files may hold, and why. Paths are below the repository's root; a path that
/// ends in `/` stands for all below it.
const RESERVED: &[(&[&str], &[&str], &str)] = &[
    (
        &["proto::rpc", "RpcError", "PARSE_ERROR", "METHOD_NOT_FOUND"],
        &["daemon/src/rpc/"],
        "only rpc knows JSON-RPC",
    ),
    (
        &["env::var", "env::temp_dir", "env::home_dir", "env::current_dir"],
        &["daemon/src/config.rs"],
        "only config reads the environment",
    ),
    // The log must work before there is a configuration: a wrong one is told there.
    (&["try_from_env", "from_default_env"], &["daemon/src/main.rs"], "only config reads the environment"),
    (
        &["nix::sys::signal", "pidfd", "killpg(", "kill(", "tokio::process", "process::Command::", "Stdio"],
        // Built for tests alone: there, this process may be made to end as by a crash.
        &["daemon/src/process.rs", "daemon/src/process/", "daemon/src/failpoint.rs"],
        "only process spawns and signals",
    ),
    (&["fs::rename"], &["daemon/src/store/commit.rs"], "only store::commit renames"),
    (
        &["object_store"],
        &["daemon/src/source/model/hosts/keys.rs", "daemon/src/source/bucket.rs"],
        "only source::model::hosts::keys and source::bucket sign",
    ),
    (&["gix::"], &["daemon/src/source/git/"], "only source::git knows gix"),
    (
        &["sd_notify", "listenfd"],
        &["daemon/src/service.rs"],
        "only service knows the service manager's protocols",
    ),
    (
        &["reqwest::", "tokio_tungstenite", "TcpStream"],
        &["daemon/src/source/", "daemon/src/comfy/"],
        "only source and comfy open connections",
    ),
];

/// Files that decide and touch nothing: time and state are parameters.
const PURE: &[&str] = &[
    "daemon/src/import/classes.rs",
    "daemon/src/import/extra_paths.rs",
    "daemon/src/import/found.rs",
    "daemon/src/import/models_named.rs",
    "daemon/src/import/picture.rs",
    "daemon/src/import/sidecar.rs",
    "daemon/src/import/snapshot.rs",
    "daemon/src/import/workflow.rs",
    "daemon/src/import/write.rs",
    "daemon/src/realize/plan.rs",
    "daemon/src/realize/layout.rs",
    "daemon/src/supervise/placement.rs",
    "daemon/src/supervise/policy.rs",
    "daemon/src/supervise/health.rs",
    "daemon/src/doctor/cuda.rs",
    "daemon/src/doctor/speed.rs",
    "daemon/src/prefetch/plan.rs",
    "daemon/src/prefetch/predict.rs",
    "daemon/src/prefetch/predict/counts.rs",
    "daemon/src/prefetch/predict/experts.rs",
    "daemon/src/run/graph.rs",
    "daemon/src/run/recovery.rs",
    "daemon/src/resolve/changes.rs",
    "daemon/src/source/http/tokens.rs",
    "daemon/src/source/model/hosts/address.rs",
    "daemon/src/source/model/hosts/bucket.rs",
    "daemon/src/source/model/hosts/civitai.rs",
    "daemon/src/source/model/hosts/hub.rs",
    "daemon/src/source/model/hosts/signed.rs",
];

const IMPURE: &[&str] = &[
    "async ",
    ".await",
    "tokio",
    "std::fs",
    "fs::",
    "std::env",
    "Instant",
    "SystemTime",
    "Timestamp::now",
    ".exists()",
    ".is_file()",
    ".is_dir()",
    ".metadata()",
    ".canonicalize()",
    ".read_link()",
    "Ctx",
];

#[test]
fn rooms_know_only_what_architecture_md_says() {
    let table = Table::read(&architecture());
    let mut rooms = BTreeSet::new();
    let mut used = BTreeSet::new();
    for (file, code) in sources("daemon/src") {
        let module = module(&file);
        let Some(room) = module.first().filter(|room| *room != "lib") else { continue };
        rooms.insert(room.clone());
        for known in rooms_named(&module, &code) {
            assert!(
                table.allows(room, &known),
                "`{file}` uses `{known}`, which {room} may not know (ARCHITECTURE.md, \"Who may know whom\")"
            );
            used.insert((room.clone(), known));
        }
    }
    let listed: BTreeSet<String> = table.layers.keys().filter(|room| *room != "proto").cloned().collect();
    assert_eq!(rooms, listed, "rooms of the code, and of ARCHITECTURE.md");
    let idle: Vec<_> = table.neighbours.difference(&used).collect();
    assert!(idle.is_empty(), "ARCHITECTURE.md names neighbours that do not meet: {idle:?}");
}

#[test]
fn an_upward_look_is_found() {
    let table = Table::read("```layers\nL2  rpc  daemon\nL1  store\n\nrpc → daemon\n```");
    let module = vec!["store".to_owned(), "commit".to_owned()];
    let code =
        "use crate::{rpc, daemon::{Daemon, run}};\nuse super::super::rpc;\nlet x = crate::daemon::run();";
    assert_eq!(rooms_named(&module, code), ["daemon", "rpc"].map(str::to_owned).into());
    assert!(!table.allows("store", "rpc") && !table.allows("daemon", "rpc"));
    assert!(table.allows("rpc", "store") && table.allows("rpc", "daemon"));
}

#[test]
fn some_words_belong_to_one_room() {
    let files = sources("daemon/src");
    for (words, homes, why) in RESERVED {
        let holders = files.iter().filter(|(_, code)| words.iter().any(|word| code.contains(word)));
        let (inside, outside): (Vec<_>, Vec<_>) = holders.map(|(file, _)| file.as_str()).partition(|file| {
            homes.iter().any(|home| file == home || home.ends_with('/') && file.starts_with(home))
        });
        assert!(outside.is_empty(), "{why}, and {outside:?} hold one of {words:?}");
        assert!(!inside.is_empty(), "{why}: the rule has nothing left to say");
    }
}

#[test]
fn decisions_are_pure() {
    let files: BTreeMap<String, String> = sources("daemon/src").into_iter().collect();
    for file in PURE {
        let code = &files[*file];
        let found: Vec<_> = IMPURE.iter().filter(|word| code.contains(**word)).collect();
        assert!(found.is_empty(), "`{file}` is pure, and holds {found:?}");
    }
}

#[test]
fn the_client_knows_proto_alone_and_proto_touches_nothing() {
    let table = [
        ("client/src", &["comfyd::", "tokio", "reqwest"][..]),
        (
            "proto/src",
            &["tokio", "std::fs", "std::net", "std::env", "std::process", "Instant", "Timestamp::now"],
        ),
    ];
    for (dir, words) in table {
        for (file, code) in sources(dir) {
            let found: Vec<_> = words.iter().filter(|word| code.contains(**word)).collect();
            assert!(found.is_empty(), "`{file}` holds {found:?}");
        }
    }
    let client = std::fs::read_to_string(repository("client/Cargo.toml")).unwrap();
    let dependencies = client.split("[dependencies]").nth(1).unwrap().split("\n[").next().unwrap();
    assert!(
        dependencies.contains("proto") && !dependencies.contains("comfyd") && !dependencies.contains("tokio")
    );
}

/// The table of ARCHITECTURE.md: a layer of each room, and pairs of one layer (or upwards) that know
/// each other.
struct Table {
    layers: BTreeMap<String, u32>,
    neighbours: BTreeSet<(String, String)>,
}

impl Table {
    fn read(text: &str) -> Self {
        let block = text.split("```layers\n").nth(1).expect("a block of layers").split("```").next().unwrap();
        let (mut layers, mut neighbours) = (BTreeMap::new(), BTreeSet::new());
        for line in block.lines() {
            if let Some((room, others)) = line.split_once('→') {
                let others = others.split(',').map(|other| (room.trim().to_owned(), other.trim().to_owned()));
                neighbours.extend(others);
            } else if let Some((number, rooms)) =
                line.trim().strip_prefix('L').and_then(|l| l.split_once(' '))
            {
                let number = number.parse().unwrap();
                layers.extend(rooms.split_whitespace().map(|room| (room.to_owned(), number)));
            }
        }
        Self { layers, neighbours }
    }

    fn allows(&self, room: &str, known: &str) -> bool {
        let layer = |room: &str| self.layers.get(room);
        room == known
            || layer(known) < layer(room) && layer(known).is_some()
            || self.neighbours.contains(&(room.to_owned(), known.to_owned()))
    }
}

fn architecture() -> String {
    std::fs::read_to_string(repository("ARCHITECTURE.md")).unwrap()
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// Returns every Rust file below a directory, by its path in the repository, without comments and
/// without unit tests: those may know anything.
fn sources(dir: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(repository(dir)).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{dir}/{}", entry.file_name().into_string().unwrap());
        if entry.file_type().unwrap().is_dir() {
            found.extend(sources(&path));
        } else if entry.path().extension().is_some_and(|kind| kind == "rs") {
            let text = std::fs::read_to_string(entry.path()).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
            let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
            found.push((path, lines.collect::<Vec<_>>().join("\n")));
        }
    }
    found
}

/// Returns the module of a file of the daemon, from the crate's root on.
fn module(file: &str) -> Vec<String> {
    let path = file.trim_start_matches("daemon/src/").trim_end_matches(".rs");
    path.split('/').filter(|part| *part != "mod").map(str::to_owned).collect()
}

/// Returns the rooms that code names: `crate::room`, `comfyd::room` (in `main`), `crate::{a, b::c}`, and
/// `super::` as often as it takes to leave the room.
fn rooms_named(module: &[String], code: &str) -> BTreeSet<String> {
    let out = "super::".repeat(module.len());
    let mut found = BTreeSet::new();
    for prefix in ["crate::", "comfyd::", out.as_str()] {
        for (at, _) in code.match_indices(prefix) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let rest = &code[at + prefix.len()..];
            match rest.strip_prefix('{') {
                Some(group) => found.extend(group_heads(group)),
                None => found.extend(head(rest)),
            }
        }
    }
    found
}

/// Returns the first name of each item of a `{…}` group whose bracket is open already.
fn group_heads(group: &str) -> Vec<String> {
    let (mut depth, mut heads, mut item) = (1, Vec::new(), 0);
    for (at, char) in group.char_indices() {
        match char {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 || depth == 1 && char == ',' {
            heads.extend(head(group[item..at].trim()));
            item = at + 1;
        }
        if depth == 0 {
            break;
        }
    }
    heads
}

fn head(path: &str) -> Option<String> {
    let name: String = path.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!name.is_empty()).then_some(name)
}
