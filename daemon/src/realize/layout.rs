//! How a lock lies on disk: the generation's name and every link. Pure.
//!
//! A generation holds what changes with the code: ComfyUI's tree and the Python environment. Models and
//! the version's own data lie outside, so that adding a model neither builds a generation nor restarts
//! a running ComfyUI.

use super::model_paths::STANDARD;
use super::plan::scripts;
use crate::config::Config;
use crate::store::digest;
use crate::store::places::{Home, generation, node_checkout, relative};
use proto::Lock;
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Counts up when comfyd arranges generations differently: old ones are built anew.
const LAYOUT: u32 = 1;

/// Where the parts of one lock lie, or will.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    /// The version's home.
    pub home: Home,
    /// Name of the generation: a digest of everything that changes its content.
    pub generation: String,
    /// Digest of everything that changes the Python environment.
    pub venv: String,
    /// Checkout of each custom node, in the lock's order.
    pub checkouts: Vec<PathBuf>,
    /// Every link, in the order they are made.
    pub links: Vec<Link>,
    /// Model folders of the version beyond those that ComfyUI has by itself.
    pub folders: BTreeSet<String>,
}

/// A symbolic link of a home.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// Where it stands.
    pub path: PathBuf,
    /// What it holds, relative to where it stands.
    pub target: PathBuf,
    /// The custom node it belongs to, by index.
    pub node: Option<usize>,
}

impl Layout {
    /// Lays a lock out under a home. An environment in which no `install.py` was run is another one, where there
    /// is any; it is installed anew, for what a script has left in one may be anything.
    pub fn new(config: &Config, home: Home, lock: &Lock, no_install_scripts: bool) -> Self {
        let folders = lock.models.iter().filter_map(|model| model.target.folder());
        let folders: BTreeSet<String> =
            folders.filter(|name| !STANDARD.contains(name)).map(str::to_owned).collect();
        let checkouts: Vec<PathBuf> = lock
            .custom_nodes
            .iter()
            .map(|node| node_checkout(config, &node.repo.repo, &node.repo.commit))
            .collect();
        let venv = venv_digest(lock, no_install_scripts);
        let nodes: Vec<_> =
            lock.custom_nodes.iter().map(|n| (&n.dir, &n.repo.repo, &n.repo.commit)).collect();
        let name = digest(&(LAYOUT, &lock.comfy.repo, &lock.comfy.commit, nodes, &venv, &folders));
        let links = links(&home, &name, &checkouts, lock);
        Self { generation: name, venv, checkouts, links, folders, home }
    }

    /// Returns the generation's directory.
    pub fn generation_dir(&self) -> PathBuf {
        self.home.generation(&self.generation)
    }

    /// Tells whether a link belongs into the generation, not beside it.
    pub fn is_inside(&self, link: &Link) -> bool {
        link.path.starts_with(self.generation_dir())
    }
}

/// The environment depends on the packages and on what `install.py` files do to it.
fn venv_digest(lock: &Lock, no_install_scripts: bool) -> String {
    #[derive(Serialize)]
    struct Inputs<'a> {
        layout: u32,
        python: &'a str,
        packages: Vec<(&'a str, &'a [String])>,
        install_scripts: Vec<(&'a str, &'a str)>,
    }
    let scripts = scripts(lock).filter(|_| !no_install_scripts);
    digest(&Inputs {
        layout: LAYOUT,
        python: &lock.python.version,
        packages: lock
            .python
            .packages
            .iter()
            .map(|p| (p.requirement.as_str(), p.hashes.as_slice()))
            .collect(),
        install_scripts: scripts.map(|node| (node.repo.repo.as_str(), node.repo.commit.as_str())).collect(),
    })
}

fn links(home: &Home, name: &str, checkouts: &[PathBuf], lock: &Lock) -> Vec<Link> {
    let comfy = home.generation(name).join(generation::COMFY);
    let link = |path: PathBuf, to: &Path, node| {
        let target = relative(path.parent().unwrap_or(Path::new("/")), to);
        Link { path, target, node }
    };
    let plain = |path: PathBuf, target: String| Link { path, target: target.into(), node: None };
    let nodes = lock.custom_nodes.iter().zip(checkouts).enumerate();
    let mut links: Vec<Link> = vec![link(comfy.join("models"), &home.models, None)];
    links.extend(nodes.map(|(at, (node, checkout))| {
        link(comfy.join("custom_nodes").join(node.dir.as_str()), checkout, Some(at))
    }));
    // For people: comfyd itself goes by the generation's real path.
    links.push(plain(home.root.join(generation::COMFY), format!("current/{}", generation::COMFY)));
    links.push(plain(home.root.join(generation::VENV), format!("current/{}", generation::VENV)));
    // Last: this one makes the generation current.
    links.push(Link { path: home.current(), target: Home::link_to(name), node: None });
    links
}
