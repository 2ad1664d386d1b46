//! Building an environment from its lock.

use super::error::PythonError;
use super::interpreter::Interpreter;
use super::uv::Uv;
use crate::ctx::{Ctx, Task};
use proto::lock::{LockedPackage, LockedPython};
use std::fmt::{self, Write as _};
use std::path::Path;

/// What is to be built, and where.
#[derive(Debug, Clone, Copy)]
pub struct Build<'a> {
    /// The packages.
    pub python: &'a LockedPython,
    /// The interpreter, of the version that the packages were resolved for.
    pub interpreter: &'a Interpreter,
    /// A path that does not exist yet.
    pub staging: &'a Path,
    /// Use only what uv's cache and the wheels directory hold.
    pub offline: bool,
}

/// Builds the environment in its staging directory. The result may be renamed:
/// its scripts find their Python beside themselves. It is neither proved nor synced to disk; the one
/// who publishes it does both. Files are cloned or hard-linked from uv's cache where the filesystem
/// can, so they must not be edited in place.
///
/// When it fails or is cancelled, what is left there must be thrown away, never resumed.
///
/// # Errors
/// [`PythonError::Uv`] tells network, disk, offline and build failures apart by its kind.
pub async fn install(ctx: &Ctx, uv: &Uv, build: &Build<'_>, task: &Task) -> Result<(), PythonError> {
    let Build { python, interpreter, staging, offline } = *build;
    task.detail("creating the environment");
    let count = python.packages.len() as u64;
    task.set(0, Some(count));
    // The prompt would else be the name of the staging directory, which soon is gone.
    let create = uv
        .command(offline)
        .args(["venv", "--relocatable", "--no-project", "--prompt", "comfyui", "--python"])
        .arg(&interpreter.path)
        .arg(staging);
    Uv::run(ctx, &create, "create the Python environment", |_| ()).await?;
    task.detail("looking into the cache");
    let mut sync = uv.pip("sync", offline).arg("--python").arg(staging.join("bin/python"));
    sync.stdin = Some(pinned_lines(&python.packages));
    let mut downloads = Downloads::default();
    let tell = |line: &str| {
        if downloads.heard(line) {
            task.detail(downloads.to_string());
        } else if line.starts_with("Prepared ") {
            task.detail("linking");
        } else if line.starts_with("Installed ") {
            task.set(count, Some(count));
        }
    };
    Uv::run(ctx, &sync, "install the Python packages", tell).await?;
    Ok(())
}

/// The downloads that uv tells of: those larger than a megabyte, each when it begins and when it ends.
#[derive(Debug, Default)]
struct Downloads {
    /// As uv writes them: `torch (846.0MiB)`.
    running: Vec<String>,
    ended: usize,
}

impl Downloads {
    /// Takes a line of uv's; returns whether it was about a download.
    fn heard(&mut self, line: &str) -> bool {
        if let Some(begun) = line.strip_prefix("Downloading ") {
            self.running.push(begun.trim_end().to_owned());
            return true;
        }
        // Indented by uv, so that names stand under one another.
        let Some(name) = line.trim_start().strip_prefix("Downloaded ") else { return false };
        self.running.retain(|begun| begun.split(' ').next() != Some(name.trim_end()));
        self.ended += 1;
        true
    }
}

impl fmt::Display for Downloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let begun = self.ended + self.running.len();
        write!(f, "downloaded {} of {begun}", self.ended)?;
        if self.running.is_empty() { Ok(()) } else { write!(f, ", now {}", self.running.join(", ")) }
    }
}

fn pinned_lines(packages: &[LockedPackage]) -> String {
    let mut lines = String::new();
    for package in packages {
        lines.push_str(&package.requirement);
        for hash in &package.hashes {
            // Writing to a string cannot fail.
            write!(lines, " --hash={hash}").ok();
        }
        lines.push('\n');
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn downloads_are_told_by_name_and_size() {
        let mut downloads = Downloads::default();
        let mut told = Vec::new();
        for line in [
            "Resolved 3 packages in 545ms",
            "Downloading pillow (6.8MiB)",
            "Downloading torch (846.0MiB)",
            " Downloaded pillow",
            " Downloaded torch",
            "Prepared 3 packages in 1.36s",
        ] {
            if downloads.heard(line) {
                told.push(downloads.to_string());
            }
        }
        let expected = [
            "downloaded 0 of 1, now pillow (6.8MiB)",
            "downloaded 0 of 2, now pillow (6.8MiB), torch (846.0MiB)",
            "downloaded 1 of 2, now torch (846.0MiB)",
            "downloaded 2 of 2",
        ];
        assert_eq!(told, expected);
    }
}
