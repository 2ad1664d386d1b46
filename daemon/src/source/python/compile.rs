//! One run of `uv pip compile`: lines in, pinned packages or "cannot be had together" out.

use super::error::PythonError;
use super::inputs::Line;
use super::interpreter::Interpreter;
use super::requirements::is_wheel;
use super::said::{Said, is_unsatisfiable};
use super::uv::{Uv, failure};
use crate::ctx::Ctx;
use crate::process::run;
use jiff::Timestamp;
use pep508_rs::PackageName;
use proto::ErrorKind;
use proto::lock::LockedPackage;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

/// What all runs of one resolution share.
pub(super) struct Compiler<'a> {
    pub(super) uv: &'a Uv,
    pub(super) ctx: &'a Ctx,
    pub(super) interpreter: &'a Interpreter,
    pub(super) offline: bool,
    /// Versions to keep where nothing speaks against them, as a `pylock.toml`.
    pub(super) preferences: Option<String>,
    pub(super) limit: Limit,
}

/// As of when packages are taken.
#[derive(Debug, Default)]
pub(super) struct Limit {
    /// Nothing that was uploaded later counts.
    pub(super) at: Option<Timestamp>,
    /// Packages whose index gives no dates: the limit is off for them.
    pub(super) undated: BTreeSet<String>,
    /// The limit that had to be given up, because the index gives no dates at all.
    pub(super) given_up: Option<Timestamp>,
}

/// How a run ended.
pub(super) enum Outcome {
    Solved(Vec<Pinned>),
    Unsatisfiable(Said),
}

/// A package and how it is had.
pub(super) struct Pinned {
    pub(super) package: LockedPackage,
    /// No wheel fits: it is built from source on this machine.
    pub(super) from_source: bool,
}

impl Compiler<'_> {
    /// Resolves `lines` under `pins` (`torch==2.9.1`). Packages without upload dates are
    /// exempted from the limit as they turn up, and when more of them turn up after that, the limit
    /// is given up; `limit` tells afterwards.
    pub(super) async fn compile(&mut self, lines: &[&Line], pins: &[String]) -> Result<Outcome, PythonError> {
        loop {
            let mut undated = BTreeSet::new();
            let outcome = self.compile_once(lines, pins, &mut undated, self.offline).await?;
            let found_more = !undated.is_subset(&self.limit.undated);
            if self.limit.at.is_none() || matches!(outcome, Outcome::Solved(_)) || !found_more {
                return Ok(outcome);
            }
            if self.limit.undated.is_empty() {
                self.limit.undated = undated;
            } else {
                self.limit.given_up = self.limit.at.take();
            }
        }
    }

    /// Tells whether `lines` cannot be had together under `pins`. Asked many times after a failed
    /// [`compile`](Self::compile), whose pages uv's cache then holds: where that is enough to
    /// know, no index is asked (75 ms instead of 2 s for ComfyUI's packages).
    pub(super) async fn is_unsatisfiable(
        &mut self,
        lines: &[&Line],
        pins: &[String],
    ) -> Result<bool, PythonError> {
        let cached = self.compile_once(lines, pins, &mut BTreeSet::new(), true).await;
        let outcome = match cached {
            Err(PythonError::Uv { kind: ErrorKind::Offline, .. }) => self.compile(lines, pins).await?,
            known => known?,
        };
        Ok(matches!(outcome, Outcome::Unsatisfiable(_)))
    }

    async fn compile_once(
        &self,
        lines: &[&Line],
        pins: &[String],
        undated: &mut BTreeSet<String>,
        offline: bool,
    ) -> Result<Outcome, PythonError> {
        let dir = tempfile::Builder::new().prefix("comfyd-resolve-").tempdir();
        let dir = dir.map_err(PythonError::io("create a directory in", "TMPDIR"))?;
        let (required, constraints) = render(lines, pins);
        let mut command = self.uv.pip("compile", offline).args(["--no-header", "--no-sources"]);
        command = command.args(["--format", "pylock.toml", "--python"]);
        command = command.arg(&self.interpreter.path);
        command.stdin = Some(required);
        if !constraints.is_empty() {
            let file = write(dir.path(), "constraints.txt", &constraints).await?;
            command = command.arg("--constraints").arg(file);
        }
        if let Some(preferences) = &self.preferences {
            // uv prefers what the file it is about to replace says.
            let file = write(dir.path(), "pylock.toml", preferences).await?;
            command = command.arg("--output-file").arg(file);
        }
        if let Some(at) = self.limit.at {
            command = command.arg("--exclude-newer").arg(at.to_string());
            for name in &self.limit.undated {
                command = command.arg("--exclude-newer-package").arg(format!("{name}=false"));
            }
        }
        let finished = run(self.ctx, &command, |line| undated.extend(undated_package(line))).await?;
        if finished.status.success() {
            return Ok(Outcome::Solved(read_pylock(&finished.stdout)?));
        }
        if is_unsatisfiable(&finished.stderr) {
            return Ok(Outcome::Unsatisfiable(Said::by_uv(&finished.stderr).reasons()));
        }
        Err(failure("resolve the Python packages", &finished.stderr))
    }
}

fn render(lines: &[&Line], pins: &[String]) -> (String, String) {
    let text = |constraint: bool| {
        let of_kind = lines.iter().filter(move |line| line.constraint == constraint);
        of_kind.map(|line| line.text.clone() + "\n").collect::<String>()
    };
    let pins = pins.iter().map(|pin| pin.clone() + "\n").collect::<String>();
    (text(false), text(true) + &pins)
}

async fn write(dir: &Path, name: &str, text: &str) -> Result<std::path::PathBuf, PythonError> {
    let path = dir.join(name);
    tokio::fs::write(&path, text).await.map_err(PythonError::io("write", &path))?;
    Ok(path)
}

/// Reads uv's "warning: `x-1.0-py3-none-any.whl` is missing an upload date, but …"; older ones write
/// no backticks.
fn undated_package(line: &str) -> Option<String> {
    let file = line.strip_prefix("warning: ")?.split_once(" is missing an upload date")?.0.trim_matches('`');
    let name = if is_wheel(file) { file.split('-').next()? } else { file.rsplit_once('-')?.0 };
    Some(PackageName::new(name.to_owned()).ok()?.to_string())
}

#[derive(Deserialize)]
struct Pylock {
    #[serde(default)]
    packages: Vec<PylockPackage>,
}

/// An entry of a `pylock.toml` (PEP 751), as far as it is needed.
#[derive(Deserialize)]
struct PylockPackage {
    name: String,
    version: Option<String>,
    #[serde(default)]
    wheels: Vec<PylockFile>,
    sdist: Option<PylockFile>,
    archive: Option<PylockFile>,
    vcs: Option<PylockVcs>,
}

#[derive(Deserialize)]
struct PylockFile {
    url: Option<String>,
    size: Option<u64>,
    subdirectory: Option<String>,
    #[serde(default)]
    hashes: BTreeMap<String, String>,
}

impl PylockFile {
    fn is_universal(&self) -> bool {
        self.url.as_deref().is_some_and(|url| url.ends_with("-none-any.whl"))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct PylockVcs {
    #[serde(rename = "type")]
    kind: String,
    url: Option<String>,
    commit_id: String,
    subdirectory: Option<String>,
}

fn read_pylock(text: &str) -> Result<Vec<Pinned>, PythonError> {
    let lock: Pylock = toml::from_str(text).map_err(|error| unreadable(error.message()))?;
    lock.packages.into_iter().map(pin).collect()
}

fn unreadable(reason: impl Into<String>) -> PythonError {
    PythonError::Answer { what: "pylock.toml", reason: reason.into() }
}

fn pin(package: PylockPackage) -> Result<Pinned, PythonError> {
    let name = package.name;
    let fragment = |dir: Option<String>| dir.map(|dir| format!("#subdirectory={dir}")).unwrap_or_default();
    if let Some(PylockVcs { kind, url: Some(url), commit_id, subdirectory }) = package.vcs {
        let requirement = format!("{name} @ {kind}+{url}@{commit_id}{}", fragment(subdirectory));
        let (hashes, size_bytes) = (Vec::new(), None);
        let package = LockedPackage { name, version: None, requirement, hashes, size_bytes };
        return Ok(Pinned { package, from_source: true });
    }
    if let Some(archive) = package.archive {
        let hashes = hashes([&archive]);
        let url = archive.url.ok_or_else(|| unreadable(format!("`{name}` is a local file")))?;
        let from_source = !url.split(['#', '?']).next().is_some_and(is_wheel);
        let requirement = format!("{name} @ {url}{}", fragment(archive.subdirectory));
        let package = LockedPackage { name, version: None, requirement, hashes, size_bytes: archive.size };
        return Ok(Pinned { package, from_source });
    }
    let version = package.version.ok_or_else(|| unreadable(format!("`{name}` is pinned to nothing")))?;
    // Without `--universal`, only wheels that work here are listed; one made for this platform wins.
    let own = package.wheels.iter().find(|file| !file.is_universal()).or(package.wheels.first());
    let here = own.or(package.sdist.as_ref());
    let size_bytes = here.and_then(|file| file.size);
    let hashes = hashes(package.wheels.iter().chain(&package.sdist));
    let requirement = format!("{name}=={version}");
    let from_source = package.wheels.is_empty();
    let package = LockedPackage { name, version: Some(version), requirement, hashes, size_bytes };
    Ok(Pinned { package, from_source })
}

fn hashes<'f>(files: impl IntoIterator<Item = &'f PylockFile>) -> Vec<String> {
    files.into_iter().flat_map(|f| f.hashes.iter().map(|(kind, hex)| format!("{kind}:{hex}"))).collect()
}

/// Writes packages as a `pylock.toml` that uv takes preferences from: versions and commits.
pub(super) fn preferences(packages: &[LockedPackage]) -> String {
    let mut text = "lock-version = \"1.0\"\ncreated-by = \"comfyd\"\n".to_owned();
    // Names, versions and links hold no quote: they came from a parsed requirement or from uv.
    for package in packages {
        let git = package.requirement.split_once(" @ git+").and_then(|(_, link)| {
            let (url, commit) = link.split('#').next()?.rsplit_once('@')?;
            Some(format!("vcs = {{ type = \"git\", url = {url:?}, commit-id = {commit:?} }}"))
        });
        let version = package.version.as_ref().map(|version| format!("version = {version:?}"));
        if let Some(pinned) = version.or(git) {
            // Writing to a string cannot fail.
            writeln!(text, "\n[[packages]]\nname = {:?}\n{pinned}", package.name).ok();
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_of_uv_becomes_pinned_lines_without_places() {
        let text = r#"
            lock-version = "1.0"
            [[packages]]
            name = "a"
            version = "1.0"
            sdist = { url = "https://index/a-1.0.tar.gz", hashes = { sha256 = "00" } }
            wheels = [{ url = "file:///wheels/a-1.0-py3-none-any.whl", size = 7, hashes = { sha256 = "11" } }]
            [[packages]]
            name = "b"
            version = "2"
            vcs = { type = "git", url = "https://h/b.git", commit-id = "abc", subdirectory = "x" }
            [[packages]]
            name = "c"
            archive = { url = "https://h/c.zip", hashes = { sha256 = "22" } }
        "#;
        let pinned = read_pylock(text).unwrap();
        let lines: Vec<&str> = pinned.iter().map(|p| p.package.requirement.as_str()).collect();
        assert_eq!(lines, ["a==1.0", "b @ git+https://h/b.git@abc#subdirectory=x", "c @ https://h/c.zip"]);
        assert_eq!(pinned[0].package.hashes, ["sha256:11", "sha256:00"]);
        assert_eq!(pinned[0].package.size_bytes, Some(7));
        assert_eq!(pinned.iter().map(|p| p.from_source).collect::<Vec<_>>(), [false, true, true]);
    }

    #[test]
    fn undated_files_are_told_by_package() {
        let line = |file: &str| format!("warning: `{file}` is missing an upload date, but user provided: x");
        assert_eq!(undated_package(&line("foo_bar-1.0-py3-none-any.whl")), Some("foo-bar".into()));
        assert_eq!(undated_package(&line("foo-bar-1.0.tar.gz")), Some("foo-bar".into()));
        assert_eq!(undated_package("warning: something else"), None);
    }
}
