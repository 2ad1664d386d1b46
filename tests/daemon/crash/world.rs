//! A machine for crashes: what it is asked to make, what that must come to byte for byte, and a disk that
//! can be put back to where a trial begins.

use serde_json::{Value, json};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::TestEnv;
use support::file_server::{Content, Fault, safetensors};
use support::git_remote::Repository;

/// The version that all trials are about.
pub(super) const VERSION: &str = "v";

/// Files of a commit, by path, as they must stand in a checkout.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

/// A machine and what is true of it whatever dies.
pub(super) struct World {
    pub(super) env: TestEnv,
    /// Each commit's files. Git LFS files are there as themselves.
    pub(super) commits: BTreeMap<String, Files>,
    /// What each link gives.
    pub(super) models: BTreeMap<String, Vec<u8>>,
    /// The specs that the version has one after another: see [`World::wants`].
    specs: Vec<Value>,
    /// Bytes of the slow model that were sent before the trial began.
    sent: Cell<u64>,
}

/// Bytes of the models that take several writes.
pub(super) const BIG: u64 = 3 << 20;

/// A model that comes so slowly that its parts are synced on the way.
const SLOW: &str = "/slow.safetensors";

const LFS_FILE: &[u8] = b"a file that git has only a pointer to";

/// Adds a line to a file of the environment, as scripts of custom nodes add packages to it.
const INSTALL: &str = "\
import os, sysconfig
with open(os.path.join(sysconfig.get_paths()['purelib'], 'installed.txt'), 'w') as file:
    file.write('whole')
";

impl World {
    /// Makes the machine and its hosts. Nothing is realized on it.
    pub(super) fn new() -> Self {
        // The programs lie in one directory, and only the daemon is used here.
        let comfyctl = Path::new(env!("CARGO_BIN_EXE_comfyd")).with_file_name("comfyctl");
        let env = TestEnv::new(&comfyctl.display().to_string());
        let mut world = Self {
            env,
            commits: BTreeMap::new(),
            models: BTreeMap::new(),
            specs: Vec::new(),
            sent: Cell::default(),
        };
        let pointer = world.env.git.lfs().put(LFS_FILE);
        let lfs = [("big.bin", pointer.as_str())];
        let init = |text: &str| format!("NODE_CLASS_MAPPINGS = {{}}\n# {text}\n");
        let [alpha, beta] = ["alpha", "beta"].map(|name| world.env.git.repository(name));
        for tag in ["one", "two"] {
            world.env.comfy.commit(&[("version.txt", tag)]);
            world.env.comfy.tag(tag);
            alpha.commit(&[&[("__init__.py", init(tag).as_str()), ("sub/a.txt", tag)], &lfs[..]].concat());
            alpha.tag(tag);
        }
        beta.commit(&[("__init__.py", &init("beta")), ("install.py", INSTALL)]);
        for repository in [&world.env.comfy, &alpha, &beta] {
            world.commits.extend(history(repository));
        }
        let [small, other] = ["/small.safetensors", "/other.safetensors"].map(|path| {
            let link = world.env.model(path);
            world.models.insert(link.clone(), safetensors(path));
            link
        });
        let [big, slow] = ["/big.safetensors", SLOW].map(|path| {
            let content = Content::synthetic(7, BIG);
            world.env.files.put(path, content.clone());
            world.models.insert(world.env.files.url(path), content.to_vec());
            world.env.files.url(path)
        });
        world.env.files.always(SLOW, Fault::Trickle(BIG / 3));
        let spec = |[comfy, node]: [&str; 2], models: &[(&str, &str)]| {
            let models = models.iter().map(
                |(link, name)| json!({ "source": link, "target_path": format!("loras/{name}.safetensors") }),
            );
            json!({
                "schema_version": 2,
                "comfy": { "repo": world.env.comfy.url(), "ref": comfy },
                "custom_nodes": [{ "repo": alpha.url(), "ref": node }, { "repo": beta.url() }],
                "models": models.collect::<Vec<_>>(),
            })
        };
        world.specs = vec![
            spec(["two", "one"], &[]),
            spec(["one", "one"], &[(&small, "a")]),
            // The first place gets another link's file, and the first link another place.
            spec(["two", "two"], &[(&other, "a"), (&small, "b"), (&big, "c")]),
            spec(["one", "one"], &[(&small, "a"), (&slow, "d")]),
        ];
        world
    }

    /// Makes the version's spec one of four: 1 is what 2 updates, 0 came before both, and 3 adds a slow model
    /// to 1.
    pub(super) fn wants(&self, spec: usize) {
        self.env.write_spec(VERSION, &self.specs[spec]);
    }

    /// Returns how much of the slow model was sent since the trial began, in bytes.
    pub(super) fn sent(&self) -> u64 {
        self.env.files.sent(SLOW) - self.sent.get()
    }

    /// Keeps the disk as it is, under a name.
    pub(super) fn keep(&self, name: &str) {
        let kept = self.env.path("kept").join(name);
        fs::create_dir_all(&kept).unwrap();
        for place in PLACES {
            copy(&self.env.path(place), &kept.join(place));
        }
    }

    /// Ends all processes and puts the disk back as it was kept.
    pub(super) fn put_back(&self, name: &str) {
        self.env.kill_all();
        let kept = self.env.path("kept").join(name);
        for place in PLACES {
            let path = self.env.path(place);
            fs::remove_dir_all(&path).unwrap();
            copy(&kept.join(place), &path);
        }
        fs::remove_file(self.env.path("daemon.log")).ok();
        self.sent.set(self.env.files.sent(SLOW));
        // The socket of a daemon that is no more.
        fs::remove_dir_all(self.env.path("run")).unwrap();
        fs::create_dir(self.env.path("run")).unwrap();
    }

    /// Returns a path in the home of the version.
    pub(super) fn home(&self, name: &str) -> PathBuf {
        self.env.home(VERSION).join(name)
    }
}

/// What a trial may change.
const PLACES: [&str; 3] = ["vol", "home", "state"];

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("--archive").args([from, to]).status().unwrap();
    assert!(copied.success(), "{} cannot be copied", from.display());
}

/// Returns the files of every commit of a repository.
fn history(repository: &Repository) -> BTreeMap<String, Files> {
    let commits = repository.git(&["rev-list", "--all"]);
    let files = |commit: &str| {
        let names = repository.git(&["ls-tree", "-r", "--name-only", commit]);
        let read = |name: &str| {
            let mut git = Command::new("git");
            git.args(["show", &format!("{commit}:{name}")]).current_dir(repository.path());
            let output = git.output().unwrap().stdout;
            let is_pointer = output.starts_with(b"version https://git-lfs");
            (name.to_owned(), if is_pointer { LFS_FILE.to_vec() } else { output })
        };
        names.lines().map(read).collect()
    };
    commits.lines().map(|commit| (commit.to_owned(), files(commit))).collect()
}
