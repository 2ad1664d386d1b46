//! Interpreters: which one a version gets, and how its environment finds one on another machine.

use super::blocking;
use super::error::PythonError;
use super::uv::{Uv, is_executable};
use crate::ctx::Ctx;
use crate::process::run;
use crate::store::commit::{step, symlink, write_file};
use pep508_rs::pep440_rs::{Version, VersionSpecifiers};
use proto::ErrorKind;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

/// A Python on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interpreter {
    /// The program itself: no link, no shim, no virtual environment.
    pub path: PathBuf,
    /// `major.minor`.
    pub version: String,
}

/// Above this, packages of custom nodes often have no wheels; ComfyUI's README calls 3.13 "very well
/// supported" and says to try 3.12 where a node has trouble.
const NEWEST: [u64; 2] = [3, 13];

/// What ComfyUI requires where it does not say.
const REQUIRED: &str = ">=3.9";

/// Says which CPythons versions get that ask for none: `>=3.9 up to 3.13`.
pub fn supported() -> String {
    up_to_newest(REQUIRED)
}

fn up_to_newest(required: impl std::fmt::Display) -> String {
    format!("{required} up to {}.{}", NEWEST[0], NEWEST[1])
}

/// Returns `[project].requires-python` of a `pyproject.toml`.
pub fn requires_python(pyproject: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct File {
        project: Option<Project>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    struct Project {
        requires_python: Option<String>,
    }
    toml::from_str::<File>(pyproject).ok()?.project?.requires_python
}

/// Finds the interpreter for a version: the one `asked` for by path, name (`python3.11`) or version
/// (`3.11`), else the newest CPython that satisfies `requires` and that ComfyUI supports. Never
/// downloads one.
///
/// # Errors
/// [`PythonError::NoInterpreter`] names what was sought and what there is.
pub async fn find_interpreter(
    ctx: &Ctx,
    uv: &Uv,
    asked: Option<&str>,
    requires: Option<&str>,
) -> Result<Interpreter, PythonError> {
    let asked = asked.map(str::trim).filter(|asked| !asked.is_empty());
    let by_name =
        asked.and_then(|asked| if asked.contains('/') { Some(asked.into()) } else { uv.which(asked) });
    if let Some(path) = by_name
        && let Some(found) = inspect(ctx, uv, &path).await?
    {
        return Ok(found);
    }
    let specifiers = requires.and_then(|text| VersionSpecifiers::from_str(text).ok());
    let specifiers = specifiers.or_else(|| VersionSpecifiers::from_str(REQUIRED).ok()).unwrap_or_default();
    let mut listed = list(ctx, uv).await?;
    // A stable sort: of equal versions, the one uv finds first stays first.
    listed.sort_by_key(|candidate| std::cmp::Reverse(candidate.numbers()));
    for candidate in &listed {
        let fits = match asked {
            Some(asked) => is_version_prefix(asked, &candidate.version),
            None => {
                candidate.numbers()[..2] <= NEWEST[..]
                    && Version::from_str(&candidate.version).is_ok_and(|v| specifiers.contains(&v))
            }
        };
        if fits
            && candidate.is_plain()
            && let Some(found) = inspect(ctx, uv, &candidate.path).await?
        {
            return Ok(found);
        }
    }
    if listed.is_empty() {
        // uv lists no Python whose description it cannot keep; asked for one, it says why.
        let find = uv.command(true).args(["python", "find", "--system"]);
        let failed = Uv::run(ctx, &find, "find a Python", |_| ()).await;
        if let Err(error @ PythonError::Uv { kind: ErrorKind::Disk, .. }) = failed {
            return Err(error);
        }
    }
    let sought = match asked {
        Some(asked) => format!("`{asked}`"),
        None => format!("CPython {}", up_to_newest(&specifiers)),
    };
    let mut found: Vec<String> =
        listed.iter().map(|c| format!("{} {}", c.implementation, c.version)).collect();
    found.dedup();
    Err(PythonError::NoInterpreter { sought, found })
}

/// `3`, `3.11`, `3.11.7`, `python3.11`, `cpython@3.11`.
fn is_version_prefix(asked: &str, version: &str) -> bool {
    let digits = asked.trim_start_matches(|c: char| !c.is_ascii_digit());
    let named = &asked[..asked.len() - digits.len()];
    matches!(named, "" | "python" | "python@" | "cpython" | "cpython@" | "cp")
        && !digits.is_empty()
        && (version == digits || version.strip_prefix(digits).is_some_and(|rest| rest.starts_with('.')))
}

/// An entry of `uv python list --output-format json`.
#[derive(Debug, Deserialize)]
struct Candidate {
    version: String,
    path: PathBuf,
    implementation: String,
    #[serde(default)]
    variant: Option<String>,
}

impl Candidate {
    fn is_plain(&self) -> bool {
        self.implementation == "cpython" && self.variant.as_deref().is_none_or(|v| v == "default")
    }

    fn numbers(&self) -> [u64; 3] {
        let release = Version::from_str(&self.version).map(|v| v.release().to_vec()).unwrap_or_default();
        let number = |at: usize| release.get(at).copied().unwrap_or_default();
        [number(0), number(1), number(2)]
    }
}

async fn list(ctx: &Ctx, uv: &Uv) -> Result<Vec<Candidate>, PythonError> {
    let command = uv.command(false).args(["python", "list", "--only-installed", "--output-format", "json"]);
    let finished = Uv::run(ctx, &command, "list the interpreters of this machine", |_| ()).await?;
    serde_json::from_str(&finished.stdout)
        .map_err(|error| PythonError::Answer { what: "list of interpreters", reason: error.to_string() })
}

/// Returns the CPythons that uv finds on this machine, the newest first, and one of each version. They are not run,
/// and where a path leads through links is not followed.
///
/// # Errors
/// When uv fails.
pub async fn interpreters(ctx: &Ctx, uv: &Uv) -> Result<Vec<Interpreter>, PythonError> {
    let mut listed = list(ctx, uv).await?;
    listed.retain(Candidate::is_plain);
    listed.sort_by_key(|candidate| std::cmp::Reverse(candidate.numbers()));
    let found = listed.into_iter().map(|candidate| {
        let [major, minor, _] = candidate.numbers();
        Interpreter { version: format!("{major}.{minor}"), path: candidate.path }
    });
    let mut found: Vec<_> = found.collect();
    found.dedup_by(|one, other| one.version == other.version);
    Ok(found)
}

/// Asks a Python what it is; none when it does not run or is not CPython. Shims and virtual
/// environments answer with the program behind them.
async fn inspect(ctx: &Ctx, uv: &Uv, path: &Path) -> Result<Option<Interpreter>, PythonError> {
    const SCRIPT: &str = "import os, sys\n\
        print(os.path.realpath(getattr(sys, '_base_executable', None) or sys.executable))\n\
        print(sys.implementation.name)\n\
        print('%d.%d' % sys.version_info[:2])";
    if !is_executable(path) {
        return Ok(None);
    }
    let finished = match run(ctx, &uv.other(path).args(["-I", "-S", "-c", SCRIPT]), |_| ()).await {
        Ok(finished) if finished.status.success() => finished,
        Ok(_) | Err(crate::process::ProcessError::Spawn { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut lines = finished.stdout.lines();
    Ok(match (lines.next(), lines.next(), lines.next()) {
        (Some(path), Some("cpython"), Some(version)) => {
            Some(Interpreter { path: path.into(), version: version.to_owned() })
        }
        _ => None,
    })
}

/// Tells whether an environment's `bin/python` leads to a program on this machine. Blocks for one `stat`.
pub fn python_works(venv: &Path) -> bool {
    is_executable(&venv.join("bin/python"))
}

/// Leads the environment's `bin/python` to this machine's interpreter of the same `version`
/// (`major.minor`). For environments that came with a volume from a machine that has its Python
/// elsewhere; the packages are of no path and need no change.
///
/// # Errors
/// [`PythonError::NoInterpreter`] when this machine has no such Python.
pub async fn repair(ctx: &Ctx, uv: &Uv, venv: &Path, version: &str) -> Result<(), PythonError> {
    let interpreter = find_interpreter(ctx, uv, Some(version), None).await?;
    let venv = venv.to_owned();
    blocking(move || {
        // The link comes last: it is what `python_works` looks at.
        let file = venv.join("pyvenv.cfg");
        let text = std::fs::read_to_string(&file).map_err(PythonError::io("read", &file))?;
        let home = interpreter.path.parent().unwrap_or(Path::new("/")).display().to_string();
        let lines = text.lines().map(|line| match line.split_once('=') {
            Some((name, _)) if name.trim() == "home" => format!("home = {home}\n"),
            _ => format!("{line}\n"),
        });
        write_file(&file, lines.collect::<String>().as_bytes())?;
        step("venv.repair", "link", &venv)?;
        Ok(symlink(&interpreter.path, &venv.join("bin/python"))?)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_asked_for_in_several_spellings() {
        for asked in ["3", "3.11", "3.11.7", "python3.11", "cpython@3.11"] {
            assert!(is_version_prefix(asked, "3.11.7"), "{asked}");
        }
        for asked in ["3.1", "3.12", "pypy3.11", "python", "2"] {
            assert!(!is_version_prefix(asked, "3.11.7"), "{asked}");
        }
    }

    #[test]
    fn requires_python_is_read_where_it_stands() {
        assert_eq!(requires_python("[project]\nname='x'\nrequires-python='>=3.9'"), Some(">=3.9".into()));
        assert_eq!(requires_python("[tool.x]\n"), None);
        assert_eq!(requires_python("not toml ["), None);
    }
}
