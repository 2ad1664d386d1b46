//! Proving an environment: every file of every package is there, and the packages fit together.
//!
//! uv (like pip) writes a package's RECORD before its files, so an interrupted installation looks
//! complete to every tool that reads metadata only. The files themselves are looked at here.

use super::TORCH_STACK;
use super::blocking;
use super::error::PythonError;
use super::said::Said;
use super::uv::Uv;
use crate::ctx::Ctx;
use crate::process::run;
use pep508_rs::PackageName;
use proto::lock::LockedPython;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    /// Installed packages.
    pub packages: usize,
    /// Files of theirs.
    pub files: usize,
}

/// Threads that look at files: a network volume answers many questions at once, each slowly.
const THREADS: usize = 8;

/// Proves that `venv` is whole and is what `python` says: each file of each RECORD exists with its
/// size, each locked package is installed, the torch stack in its very version, and `uv pip check` is
/// content. Other packages may have been changed by a node's `install.py`.
///
/// # Errors
/// [`PythonError::Damaged`], [`PythonError::Differs`] or [`PythonError::Check`] name what is wrong.
pub async fn prove(ctx: &Ctx, uv: &Uv, venv: &Path, python: &LockedPython) -> Result<Proof, PythonError> {
    let site = venv.join(format!("lib/python{}/site-packages", python.version));
    let locked = python.clone();
    let proof = blocking(move || {
        let installed = Installed::read(site)?;
        installed.match_lock(&locked)?;
        Ok(Proof { packages: installed.dist_infos.len(), files: installed.check_files()? })
    })
    .await?;
    let command = uv.command(true).args(["pip", "check", "--python"]).arg(venv.join("bin/python"));
    let finished = run(ctx, &command, |_| ()).await?;
    if !finished.status.success() {
        return Err(PythonError::Check(Said::tail(&finished.stderr, 20)));
    }
    Ok(proof)
}

/// Has uv forget what it keeps of `package` and of all packages of `venv` whose files are damaged, so that they
/// are fetched anew: a machine that lost power leaves files in uv's cache that are shorter than they were.
/// Returns their names.
///
/// # Errors
/// When uv cannot be run.
pub async fn forget_damaged(
    ctx: &Ctx,
    uv: &Uv,
    (package, venv): (&str, &Path),
    python: &LockedPython,
) -> Result<BTreeSet<String>, PythonError> {
    let site = venv.join(format!("lib/python{}/site-packages", python.version));
    let mut names = BTreeSet::from([package.to_owned()]);
    let damaged = move || {
        let installed = Installed::read(site)?;
        let is_damaged = |dir: &Path| installed.check_package(dir).is_err();
        let damaged = installed.dist_infos.iter().filter(|(_, (_, dir))| is_damaged(dir));
        Ok(damaged.map(|(name, _)| name.clone()).collect::<Vec<_>>())
    };
    // An environment that was never made has no others.
    names.extend(blocking(damaged).await.unwrap_or_default());
    let clean = uv.command(true).args(["cache", "clean"]).args(&names);
    Uv::run(ctx, &clean, "have uv forget damaged packages", |_| ()).await?;
    Ok(names)
}

struct Installed {
    site: PathBuf,
    /// Normalised name → (version, directory).
    dist_infos: BTreeMap<String, (String, PathBuf)>,
}

impl Installed {
    fn read(site: PathBuf) -> Result<Self, PythonError> {
        let mut dist_infos = BTreeMap::new();
        for entry in fs::read_dir(&site).map_err(PythonError::io("list", &site))? {
            let entry = entry.map_err(PythonError::io("list", &site))?;
            let file = entry.file_name().to_string_lossy().into_owned();
            let Some((name, version)) = file.strip_suffix(".dist-info").and_then(|stem| stem.split_once('-'))
            else {
                continue;
            };
            if let Ok(name) = PackageName::new(name.to_owned()) {
                dist_infos.insert(name.to_string(), (version.to_owned(), entry.path()));
            }
        }
        Ok(Self { site, dist_infos })
    }

    fn match_lock(&self, python: &LockedPython) -> Result<(), PythonError> {
        for package in &python.packages {
            let found = self.dist_infos.get(&package.name).map(|(version, _)| version);
            let ours = TORCH_STACK.contains(&package.name.as_str());
            let differs = match (found, &package.version) {
                (None, _) => true,
                (Some(found), Some(locked)) => ours && found != locked,
                (Some(_), None) => false,
            };
            if differs {
                let name = &package.name;
                let found = found.map_or_else(|| format!("no `{name}`"), |v| format!("`{name}=={v}`"));
                return Err(PythonError::Differs { found, locked: package.requirement.clone() });
            }
        }
        Ok(())
    }

    /// Returns the number of files looked at.
    fn check_files(&self) -> Result<usize, PythonError> {
        let dirs: Vec<&Path> = self.dist_infos.values().map(|(_, dir)| dir.as_path()).collect();
        let share = dirs.len().div_ceil(THREADS).max(1);
        std::thread::scope(|scope| {
            let check = |dirs: &[&Path]| dirs.iter().map(|dir| self.check_package(dir)).sum();
            let workers: Vec<_> = dirs
                .chunks(share)
                .map(|dirs| scope.spawn(move || -> Result<usize, _> { check(dirs) }))
                .collect();
            let joined = workers
                .into_iter()
                .map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            joined.sum()
        })
    }

    fn check_package(&self, dist_info: &Path) -> Result<usize, PythonError> {
        let stem = dist_info.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let damaged = |file: &str, what: String| {
            Err(PythonError::Damaged { package: stem.clone(), file: file.to_owned(), what })
        };
        let Ok(record) = fs::read_to_string(dist_info.join("RECORD")) else {
            return damaged("RECORD", "is missing or unreadable".to_owned());
        };
        let mut files = 0;
        for (file, size) in record.lines().filter_map(record_entry) {
            files += 1;
            match (fs::metadata(self.site.join(&file)), size) {
                (Err(error), _) if error.kind() == std::io::ErrorKind::NotFound => {
                    return damaged(&file, "is missing".to_owned());
                }
                (Err(error), _) => return damaged(&file, format!("cannot be looked at: {error}")),
                (Ok(found), Some(size)) if found.len() != size => {
                    return damaged(&file, format!("has {} bytes instead of {size}", found.len()));
                }
                (Ok(_), _) => {}
            }
        }
        // A RECORD names at least itself.
        if files == 0 { damaged("RECORD", "names no files".to_owned()) } else { Ok(files) }
    }
}

/// Reads `path,hash,size` (CSV); compiled files are left out, Python writes them anew at will.
fn record_entry(line: &str) -> Option<(String, Option<u64>)> {
    let mut fields = line.rsplitn(3, ',');
    let (size, _hash, path) = (fields.next()?, fields.next()?, fields.next()?);
    let quoted = path.strip_prefix('"').and_then(|path| path.strip_suffix('"'));
    let path = quoted.map_or_else(|| path.to_owned(), |path| path.replace("\"\"", "\""));
    let compiled = Path::new(&path).extension().is_some_and(|extension| extension == "pyc");
    (!compiled).then(|| (path, size.trim().parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_csv() {
        assert_eq!(record_entry("a/b.py,sha256=x,12"), Some(("a/b.py".into(), Some(12))));
        assert_eq!(record_entry("a.dist-info/RECORD,,"), Some(("a.dist-info/RECORD".into(), None)));
        assert_eq!(record_entry("\"a,\"\"b\".py\",sha256=x,1"), Some(("a,\"b\".py".into(), Some(1))));
        assert_eq!(record_entry("a/__pycache__/b.cpython-311.pyc,,"), None);
        assert_eq!(record_entry("broken"), None);
    }
}
