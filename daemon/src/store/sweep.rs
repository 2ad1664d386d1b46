//! What killed processes left unfinished, swept from every place that a configuration names.

use super::commit::sweep;
use super::places::{self, HIDDEN, Home, generation};
use crate::config::Config;
use std::path::{Path, PathBuf};

/// Directories below a models directory that are looked into. Who nests deeper is swept by the next realize only.
const DEPTH: usize = 6;

/// Sweeps every place that `config` names, as [`sweep`] does: what living processes make stays. Homes elsewhere, which
/// clients name, are swept by the realizes there. Best effort. Blocks, for a look at each directory.
pub fn sweep_all(config: &Config) {
    let nodes = &config.nodes_cache;
    let lfs = config.git_cache.join("lfs");
    sweep(&places::lock_files(config));
    for dir in
        [&config.homes, &config.cache_root.join("uv"), nodes, &nodes.join(HIDDEN), &config.git_cache, &lfs]
    {
        sweep(dir);
    }
    sweep(&config.git_cache.join("locks"));
    sweep_tree(&config.state_dir, 2);
    let homes = std::fs::read_dir(&config.homes).into_iter().flatten().flatten();
    for entry in homes.filter(|entry| places::is_home_name(&entry.file_name().to_string_lossy())) {
        sweep_home(&Home { root: entry.path(), models: PathBuf::new() });
    }
    let models = config.models_dir.clone().unwrap_or_else(|| config.homes.join("models"));
    sweep_tree(&models, DEPTH);
}

/// Sweeps what realizes make in a home.
fn sweep_home(home: &Home) {
    sweep(&home.root);
    sweep(&home.generations());
    for name in super::tree::published(&home.generations()).unwrap_or_default() {
        let dir = home.generation(&name);
        let comfy = dir.join(generation::COMFY);
        sweep(&dir);
        sweep(&comfy.join("custom_nodes"));
        sweep(&comfy);
    }
}

fn sweep_tree(dir: &Path, depth: usize) {
    sweep(dir);
    let Some(depth) = depth.checked_sub(1) else { return };
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        // Links lead to places of others.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            sweep_tree(&entry.path(), depth);
        }
    }
}
