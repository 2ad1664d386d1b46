//! What killed processes left unfinished, swept: by whoever writes in a directory, and at the daemon's start from
//! every place that its configuration names.

use super::commit::{STAGING, staging_path};
use super::owner::{self, Maker};
use super::places::{self, HIDDEN, Home, generation};
use crate::config::Config;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// An unfinished thing of someone who cannot be seen from here is nobody's after this.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

/// Removes what killed processes left unfinished in a directory: at once what a process of this machine
/// left, after a day what someone unseen did. What a living process of this machine makes stays. Best effort, for
/// it costs space only. Blocks.
pub fn sweep(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(STAGING)) else { continue };
        let path = entry.path();
        let is_left = match owner::maker(rest.split('-').next().unwrap_or_default()) {
            Maker::Ended => true,
            Maker::Lives => false,
            Maker::Unseen => age(&path).is_some_and(|age| age > ABANDONED),
        };
        if is_left && let Err(error) = std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir_all(&path))
        {
            tracing::debug!(path = %path.display(), %error, "cannot remove what a killed process left");
        }
    }
}

/// Returns how long ago something was changed, by the clock that stamps the files beside it. On a network volume that
/// is not this machine's, so a jump of the own clock makes nothing old there. Blocks, for a file that is made and
/// removed.
pub fn age(path: &Path) -> Option<Duration> {
    let modified = std::fs::symlink_metadata(path).and_then(|metadata| metadata.modified()).ok()?;
    let probe = staging_path(path);
    let now = File::create_new(&probe).and_then(|file| file.metadata()?.modified());
    std::fs::remove_file(&probe).ok();
    now.ok()?.duration_since(modified).ok()
}

/// Directories below a models directory that are looked into. Who nests deeper is swept by the next realize only.
const DEPTH: usize = 6;

/// Sweeps every place that `config` names, as [`sweep`] does: what living processes make stays. Homes elsewhere, which
/// clients name, are swept by the realizes there. Best effort. Blocks, for a look at each directory.
pub fn sweep_all(config: &Config) {
    let nodes = &config.nodes_cache;
    let lfs = config.git_cache.join("lfs");
    sweep(&places::lock_files(config));
    sweep(&places::shadows(config));
    for dir in
        [&config.homes, &config.cache_root.join("uv"), nodes, &nodes.join(HIDDEN), &config.git_cache, &lfs]
    {
        sweep(dir);
    }
    sweep(&config.git_cache.join("locks"));
    sweep_tree(&config.state_dir, 2);
    for root in places::homes(config) {
        sweep_home(&Home { root, models: PathBuf::new() });
    }
    let models = config.models_dir.clone().unwrap_or_else(|| config.homes.join("models"));
    sweep_tree(&models, DEPTH);
}

/// Sweeps what realizes make in a home.
fn sweep_home(home: &Home) {
    sweep(&home.root);
    sweep(&home.uses());
    sweep(&home.generations());
    for name in super::tree::published(&home.generations()).unwrap_or_default() {
        let dir = home.generation(&name);
        let comfy = dir.join(generation::COMFY);
        let venv = dir.join(generation::VENV);
        sweep(&dir);
        sweep(&venv);
        sweep(&venv.join("bin"));
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    #[test]
    fn what_ended_processes_left_is_swept_and_what_living_ones_make_stays() {
        let dir = tempfile::tempdir().unwrap();
        let mut gone = std::process::Command::new("true").spawn().unwrap();
        let ended = owner::token().replace(&format!(".{}.", std::process::id()), &format!(".{}.", gone.id()));
        gone.wait().unwrap();
        let named = |token: &str| dir.path().join(format!("{STAGING}{token}-1-x"));
        let [killed, foreign, old] = [&*ended, "0123456789abcdef.1.2", "0f3b"].map(named);
        let [mine, published] = [staging_path(&dir.path().join("x")), dir.path().join("x")];
        for path in [&killed, &foreign, &old, &mine, &published] {
            std::fs::create_dir(path).unwrap();
            std::fs::write(path.join("y"), "y").unwrap();
        }
        let long_ago = SystemTime::now() - 2 * ABANDONED;
        for path in [&old, &mine, &published] {
            File::open(path).unwrap().set_modified(long_ago).unwrap();
        }
        sweep(dir.path());
        let left = [&killed, &foreign, &old, &mine, &published].map(|path| path.exists());
        assert_eq!(left, [false, true, false, true, true]);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3, "nothing was added");
    }

    #[test]
    fn every_place_of_a_configuration_is_swept_and_nothing_is_followed_out_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let vars = [
            ("HOME", "home"),
            ("COMFY_VOLUME", "vol"),
            ("XDG_STATE_HOME", "state"),
            ("XDG_RUNTIME_DIR", "run"),
        ];
        let vars = vars.map(|(name, place)| {
            let place = dir.path().join(place);
            std::fs::create_dir_all(&place).unwrap();
            (name.to_owned(), place.display().to_string())
        });
        let config = Config::from_vars(&vars.into()).unwrap();
        // A process of this machine that ended: no process starts that late after the boot.
        let ended = owner::token().rsplit_once('.').unwrap().0.to_owned() + ".18446744073709551615";
        let generation = config.homes.join("comfy-x/generations/g");
        let places = [
            config.cache_root.join("resolved"),
            config.cache_root.join("uv"),
            config.cache_root.join("shadows"),
            config.nodes_cache.join(HIDDEN),
            config.git_cache.join("lfs"),
            config.git_cache.join("locks"),
            config.state_dir.join("instances/x-1"),
            config.homes.join("models/.comfyd/parts"),
            config.homes.join("models/loras/sub"),
            config.homes.join("comfy-x/generations"),
            generation.join("ComfyUI/custom_nodes"),
        ];
        let outside = dir.path().join("outside");
        let left: Vec<_> = places
            .iter()
            .chain([&outside])
            .map(|place| place.join(format!("{STAGING}{ended}-1-x")))
            .collect();
        for name in &left {
            std::fs::create_dir_all(name).unwrap();
        }
        std::os::unix::fs::symlink(&outside, config.homes.join("models/linked")).unwrap();
        sweep_all(&config);
        let stand: Vec<_> = left.iter().filter(|name| name.exists()).collect();
        assert_eq!(stand, [left.last().unwrap()]);
    }
}
