//! Building an environment from its lock.

use super::error::PythonError;
use super::interpreter::Interpreter;
use super::uv::Uv;
use crate::ctx::{Ctx, Task};
use proto::lock::{LockedPackage, LockedPython};
use std::fmt::Write as _;
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
    task.detail(download_size(&python.packages));
    let mut sync = uv.command(offline).args(["pip", "sync", "-", "--python"]).arg(staging.join("bin/python"));
    sync.stdin = Some(pinned_lines(&python.packages));
    let tell = |line: &str| {
        if line.starts_with("Prepared ") {
            task.detail("linking");
        } else if line.starts_with("Installed ") {
            task.set(count, Some(count));
        }
    };
    Uv::run(ctx, &sync, "install the Python packages", tell).await?;
    Ok(())
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

fn download_size(packages: &[LockedPackage]) -> String {
    let bytes: u64 = packages.iter().filter_map(|package| package.size_bytes).sum();
    match bytes / 1_000_000 {
        0 => "downloading what is not cached".to_owned(),
        megabytes => format!("downloading what is not cached of {megabytes} MB"),
    }
}
