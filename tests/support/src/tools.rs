//! The real tools that tests drive: uv and Python.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The uv that is installed where the machine has none.
const UV: &str = "0.13.9";

/// Returns a real uv: `COMFYD_UV`, else `.tools/uv` of the checkout, else the one on PATH; else it is
/// installed into `.tools/uv` by pip, once for all test processes. Blocks.
///
/// # Panics
/// When there is none and none can be installed.
pub fn uv_path() -> PathBuf {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND.get_or_init(find_uv).clone()
}

/// Returns the program behind `python3` on PATH, no shim and no link. Blocks.
///
/// # Panics
/// When there is none.
pub fn python_path() -> PathBuf {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    let ask = || {
        let script =
            "import os, sys; print(os.path.realpath(getattr(sys, '_base_executable', sys.executable)))";
        let asked = Command::new("python3").args(["-I", "-c", script]).output();
        let asked = asked.expect("python3 is on PATH");
        PathBuf::from(String::from_utf8_lossy(&asked.stdout).trim())
    };
    FOUND.get_or_init(ask).clone()
}

/// Returns a PATH that has [`python_path`] and the system's programs, and no shims.
pub fn plain_path() -> String {
    let python = python_path();
    format!("{}:/usr/local/bin:/usr/bin:/bin", python.parent().unwrap_or(Path::new("/")).display())
}

/// Returns the files, with their content, by which uv's cache knows the interpreters of [`plain_path`]: a cache without
/// them has uv start each, which costs more than most tests do otherwise. Blocks.
///
/// # Panics
/// When uv fails.
pub(crate) fn known_interpreters() -> &'static [(PathBuf, Vec<u8>)] {
    static KNOWN: OnceLock<Vec<(PathBuf, Vec<u8>)>> = OnceLock::new();
    KNOWN.get_or_init(|| {
        let cache = tempfile::tempdir().expect("a temporary directory");
        let mut list = Command::new(uv_path());
        list.env_clear()
            .env("PATH", plain_path())
            .env("UV_NO_CONFIG", "1")
            .env("UV_PYTHON_DOWNLOADS", "never");
        list.args(["python", "list", "--only-installed", "--cache-dir"]).arg(cache.path());
        let listed = list.output().expect("uv runs");
        assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
        let (mut files, mut open) = (Vec::new(), vec![cache.path().to_owned()]);
        while let Some(dir) = open.pop() {
            for entry in dir.read_dir().expect("uv's cache can be read").flatten() {
                let path = entry.path();
                if path.is_dir() {
                    open.push(path);
                } else if path.extension().is_some_and(|extension| extension == "msgpack") {
                    let name = path.strip_prefix(cache.path()).expect("it lies below").to_owned();
                    files.push((name, std::fs::read(&path).expect("uv's cache can be read")));
                }
            }
        }
        files
    })
}

fn find_uv() -> PathBuf {
    if let Some(given) = var("COMFYD_UV") {
        return given.into();
    }
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools");
    let own = tools.join("uv/bin/uv");
    if own.is_file() {
        return own;
    }
    let path = var("PATH").unwrap_or_default();
    // A shim is a script that costs 150 ms a run; the real program is an ELF.
    let is_program = |file: &PathBuf| std::fs::read(file).is_ok_and(|bytes| bytes.starts_with(b"\x7fELF"));
    if let Some(found) = path.split(':').map(|dir| Path::new(dir).join("uv")).find(is_program) {
        return found;
    }
    install_uv(&tools);
    own
}

fn install_uv(tools: &Path) {
    std::fs::create_dir_all(tools).expect("the checkout is writable");
    let lock = std::fs::File::create(tools.join("uv.lock")).expect("the checkout is writable");
    lock.lock().expect("flock works on the checkout");
    if tools.join("uv/bin/uv").is_file() {
        return;
    }
    let target = tools.join("uv");
    let installed = Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--target"])
        .arg(&target)
        .arg(format!("uv=={UV}"))
        .status();
    assert!(installed.is_ok_and(|status| status.success()), "install `uv`, or name one in COMFYD_UV");
}

#[allow(clippy::disallowed_methods, reason = "tests find their tools by the environment")]
fn var(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Returns what comfyctl told people as one line: it is folded at 80 columns.
pub fn unfolded(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
