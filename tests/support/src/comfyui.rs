//! The fake ComfyUI: a tree that any Python from 3.10 on can start. Its `main.py` says how it can be
//! made to misbehave.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

macro_rules! tree {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../fake_comfyui/", $path)))),*]
    };
}

const TREE: &[(&str, &str)] =
    tree!["main.py", "execution.py", "folder_paths.py", "nodes.py", "comfy/cli_args.py"];

/// Returns the files of the fake ComfyUI, by path.
pub fn tree() -> &'static [(&'static str, &'static str)] {
    TREE
}

/// Writes the fake ComfyUI into `dir`, which is created.
pub fn fake_comfyui(dir: &Path) {
    for folder in ["comfy", "custom_nodes", "models/upscale_models"] {
        fs::create_dir_all(dir.join(folder)).unwrap();
    }
    for (path, content) in TREE {
        fs::write(dir.join(path), content).unwrap();
    }
}

/// Makes a generation in `home` that holds the fake ComfyUI and an environment to start it with, which has no
/// packages; returns its directory.
pub fn fake_generation(home: &Path, generation: &str) -> PathBuf {
    let dir = home.join("generations").join(generation);
    fake_comfyui(&dir.join("ComfyUI"));
    fs::create_dir_all(dir.join(".venv/bin")).unwrap();
    symlink(python(), dir.join(".venv/bin/python")).unwrap();
    let home = python().parent().unwrap().display();
    fs::write(dir.join(".venv/pyvenv.cfg"), format!("home = {home}\n")).unwrap();
    fs::create_dir_all(site_packages(&dir)).unwrap();
    dir.canonicalize().unwrap()
}

/// Returns the directory of the packages of a generation made by [`fake_generation`].
pub fn site_packages(generation: &Path) -> PathBuf {
    static VERSION: OnceLock<String> = OnceLock::new();
    let version = VERSION.get_or_init(|| {
        let code = "import sys; print('python%d.%d' % sys.version_info[:2])";
        let asked = Command::new(python()).args(["-c", code]).output();
        String::from_utf8(asked.unwrap().stdout).unwrap().trim().to_owned()
    });
    generation.join(".venv/lib").join(version).join("site-packages")
}

/// Returns the real path of this machine's Python, past wrappers that need an environment.
pub fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let asked = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output();
        PathBuf::from(String::from_utf8(asked.unwrap().stdout).unwrap().trim())
    })
}
