//! Records a start: puts `recorder.py` into it as Python's `sitecustomize`, and reads what that wrote.
//!
//! The script takes itself out of the environment before anything else runs, and writes once, when ComfyUI
//! binds its port. What it wrote is bounded and looked at before it becomes a `StartRecord`: custom nodes run
//! in the same process.

use super::record::{OpenedFile, StartRecord};
use crate::store::commit::{StoreError, remove_file, write_file};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Component, Path, PathBuf};

const SCRIPT: &str = include_str!("recorder.py");

/// Tells the script what to record, in lines: ComfyUI's port, the generation, where to write.
const VARIABLE: &str = "COMFYD_RECORD";

const PYTHONPATH: &str = "PYTHONPATH";

/// The largest report that is read, in bytes. One of the real ComfyUI has half a megabyte.
const LARGEST: u64 = 16 << 20;

/// The most modules, and the most files, that a record keeps.
const MOST: usize = 50_000;

/// Variables that choose a device: each start has its own.
const DEVICES: &[&str] =
    &["CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "HIP_VISIBLE_DEVICES", "ASCEND_RT_VISIBLE_DEVICES"];

/// A start that is being recorded.
#[derive(Debug)]
pub struct Recording {
    report: PathBuf,
}

impl Recording {
    /// Prepares the environment of a start, from `tree` on `port`, so that it reports to the file `report`. The
    /// script is kept below `state_dir`. Blocks shortly.
    ///
    /// # Errors
    /// When the script cannot be written, or an older report not be removed. `env` is as it was then.
    pub fn begin(
        state_dir: &Path,
        report: PathBuf,
        (tree, port): (&Path, u16),
        env: &mut BTreeMap<String, String>,
    ) -> Result<Self, StoreError> {
        let script = keep_script(&state_dir.join("recorder"), "sitecustomize.py", SCRIPT)?;
        let dir = script.parent().unwrap_or(state_dir);
        if report.exists() {
            remove_file(&report)?;
        }
        let path = match env.get(PYTHONPATH).filter(|path| !path.is_empty()) {
            Some(path) => format!("{}:{path}", dir.display()),
            None => dir.display().to_string(),
        };
        env.insert(PYTHONPATH.to_owned(), path);
        env.insert(VARIABLE.to_owned(), format!("{port}\n{}\n{}", tree.display(), report.display()));
        Ok(Self { report })
    }

    /// Makes the record of a start that has become ready; none if it did not report, or nothing of sense. Takes
    /// the report away. Blocks.
    pub fn end(self, generation: &str, settings: String, took_ms: u64) -> Option<StartRecord> {
        let report = read(&self.report);
        // One that stays is removed by the next start.
        std::fs::remove_file(&self.report).ok();
        let report =
            report.inspect_err(|error| tracing::info!(error = %error, "a start was not recorded")).ok()?;
        let mut record = StartRecord::new(generation.to_owned(), settings);
        record.modules = report.modules.into_iter().filter(|name| is_module(name)).take(MOST).collect();
        record.environ = report.environ;
        record.environ.retain(|name, _| !DEVICES.contains(&name.as_str()));
        let files = report.files.into_iter().map(|(path, mapped)| OpenedFile { path, mapped });
        record.files = files.filter(|file| is_plain(Path::new(&file.path))).take(MOST).collect();
        record.took_ms = took_ms;
        Some(record)
    }
}

/// Writes a script of comfyd's own below a directory, unless it is there, and returns its place: it is named by
/// its content, for what an older daemon started may be reading its own. Blocks shortly.
///
/// # Errors
/// When it cannot be written.
pub fn keep_script(dir: &Path, name: &str, script: &str) -> Result<PathBuf, StoreError> {
    let path = dir.join(crate::store::digest(&script)).join(name);
    if std::fs::read(&path).ok().as_deref() != Some(script.as_bytes()) {
        write_file(&path, script.as_bytes())?;
    }
    Ok(path)
}

/// What the script writes.
#[derive(Debug, Deserialize)]
struct Report {
    modules: Vec<String>,
    environ: BTreeMap<String, Option<String>>,
    files: Vec<(String, bool)>,
}

fn read(path: &Path) -> std::io::Result<Report> {
    let mut text = Vec::new();
    File::open(path)?.take(LARGEST).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

fn is_module(name: &str) -> bool {
    let is_part = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || c == '_');
    name.len() < 256 && name.split('.').all(is_part)
}

/// Tells whether a path leads where it seems to.
fn is_plain(path: &Path) -> bool {
    let is_plain = |part| matches!(part, Component::RootDir | Component::Normal(_));
    path.components().next().is_some() && path.components().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_report_holds_is_bounded_and_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let report = dir.path().join("report");
        let end = |text: &str| {
            std::fs::write(&report, text).unwrap();
            Recording { report: report.clone() }.end("g", "s".to_owned(), 7)
        };
        assert_eq!(end("{}"), None, "not of the form");
        assert_eq!(
            Recording { report: report.clone() }.end("g", "s".to_owned(), 7),
            None,
            "it was taken away"
        );
        let text = r#"{"modules": ["torch", "a.b_c", "a..b", "import os;", ""],
            "environ": {"A": "1", "B": null, "CUDA_VISIBLE_DEVICES": "3"},
            "files": [["ComfyUI/main.py", false], ["../x", false], ["", false], ["/usr/lib/a.so", true]]}"#;
        let record = end(text).unwrap();
        assert_eq!((record.modules, record.took_ms), (vec!["torch".to_owned(), "a.b_c".to_owned()], 7));
        let environ =
            [("A", Some("1".to_owned())), ("B", None)].map(|(name, value)| (name.to_owned(), value));
        assert_eq!(record.environ, environ.into());
        let files: Vec<_> = record.files.iter().map(|file| (file.path.as_str(), file.mapped)).collect();
        assert_eq!(files, [("ComfyUI/main.py", false), ("/usr/lib/a.so", true)]);
    }

    #[test]
    fn what_the_start_had_in_its_environment_is_put_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut env = BTreeMap::from([(PYTHONPATH.to_owned(), "/mine".to_owned())]);
        Recording::begin(dir.path(), dir.path().join("report"), (Path::new("/g"), 8188), &mut env).unwrap();
        let path = env[PYTHONPATH].strip_suffix(":/mine").unwrap();
        assert_eq!(std::fs::read_to_string(Path::new(path).join("sitecustomize.py")).unwrap(), SCRIPT);
        assert!(env[VARIABLE].starts_with("8188\n/g\n"));
    }
}
