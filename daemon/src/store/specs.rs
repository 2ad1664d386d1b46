//! Spec files: where they are sought, and what they say.

use super::commit::StoreError;
use crate::config::Config;
use proto::method::Target;
use proto::spec::{Diagnostic, Severity};
use proto::{Spec, VersionId};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A spec that was found and has no errors.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What it says.
    pub spec: Spec,
    /// Its file.
    pub path: PathBuf,
    /// Its warnings.
    pub warnings: Vec<Diagnostic>,
}

/// Why there is no spec.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// No such file.
    #[error("there is no version `{version}`")]
    NotFound {
        /// What was asked for.
        version: String,
        /// The files that were sought.
        sought: Vec<String>,
    },
    /// Neither an id nor a path.
    #[error(transparent)]
    Name(#[from] proto::ids::InvalidName),
    /// A relative path without a directory to start from.
    #[error("`{0}` is relative, and the client did not tell its directory")]
    Relative(String),
    /// The file has errors.
    #[error("`{file}` has {}", count(diagnostics))]
    Invalid {
        /// The file.
        file: String,
        /// All findings.
        diagnostics: Vec<Diagnostic>,
    },
    /// The file cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn count(diagnostics: &[Diagnostic]) -> String {
    match errors(diagnostics) {
        1 => "an error".to_owned(),
        many => format!("{many} errors"),
    }
}

/// Counts the errors among findings.
pub fn errors(diagnostics: &[Diagnostic]) -> usize {
    diagnostics.iter().filter(|finding| finding.severity == Severity::Error).count()
}

/// Finds and reads the spec that a client means: an id, sought in the versions directories, or the path
/// of a file that ends in `.json`. Blocks.
///
/// # Errors
/// Names the files that were sought, or everything that is wrong with the one found.
pub fn load(config: &Config, target: &Target) -> Result<Loaded, SpecError> {
    let path = find(config, target)?;
    let text = std::fs::read(&path).map_err(StoreError::at("read", &path))?;
    let (file, id) = (path.display().to_string(), file_id(&path));
    let parsed = proto::spec::parse(&String::from_utf8_lossy(&text), &file, &id);
    match parsed.spec {
        Some(spec) => Ok(Loaded { spec, path, warnings: parsed.diagnostics }),
        None => Err(SpecError::Invalid { file, diagnostics: parsed.diagnostics }),
    }
}

/// Finds all specs, by id; of two with one id the first directory's counts. Blocks.
pub fn list(config: &Config, cwd: Option<&str>) -> BTreeMap<VersionId, PathBuf> {
    let mut found = BTreeMap::new();
    for dir in search_dirs(config, cwd) {
        for (id, path) in in_dir(&dir).unwrap_or_default() {
            found.entry(id).or_insert(path);
        }
    }
    found
}

/// Finds the specs of one directory, by id. Blocks.
///
/// # Errors
/// When the directory is not there, or cannot be read.
pub fn in_dir(dir: &Path) -> std::io::Result<BTreeMap<VersionId, PathBuf>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if is_spec(&path)
            && let Ok(id) = VersionId::new(file_id(&path))
        {
            found.insert(id, path);
        }
    }
    Ok(found)
}

/// Directories that specs are sought in, in order.
pub fn search_dirs(config: &Config, cwd: Option<&str>) -> Vec<PathBuf> {
    let beside = cwd.map(|cwd| Path::new(cwd).join("versions"));
    let mut dirs = vec![config.versions_dir.clone()];
    dirs.extend(beside.filter(|dir| *dir != config.versions_dir && dir.is_absolute()));
    dirs
}

fn find(config: &Config, target: &Target) -> Result<PathBuf, SpecError> {
    if is_spec(Path::new(&target.version)) {
        let path = match &target.cwd {
            Some(cwd) => Path::new(cwd).join(&target.version),
            None => PathBuf::from(&target.version),
        };
        return match () {
            () if !path.is_absolute() => Err(SpecError::Relative(target.version.clone())),
            () if path.is_file() => Ok(path),
            () => Err(not_found(target, &[path])),
        };
    }
    let id = VersionId::new(&target.version)?;
    let dirs = search_dirs(config, target.cwd.as_deref());
    let sought: Vec<PathBuf> = dirs.iter().map(|dir| dir.join(format!("{id}.json"))).collect();
    sought.iter().find(|path| path.is_file()).cloned().ok_or_else(|| not_found(target, &sought))
}

fn not_found(target: &Target, sought: &[PathBuf]) -> SpecError {
    let sought = sought.iter().map(|path| path.display().to_string()).collect();
    SpecError::NotFound { version: target.version.clone(), sought }
}

/// Tells whether a file has the name of a spec. The JSON Schema lies among them and is none.
pub fn is_spec(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    name.ends_with(".json") && !name.ends_with(".schema.json")
}

fn file_id(path: &Path) -> String {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}
