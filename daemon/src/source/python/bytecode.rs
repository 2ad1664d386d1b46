//! Bytecode: what Python makes of a source file when it imports it for the first time.

use super::FOREIGN;
use super::error::PythonError;
use crate::config::Config;
use crate::ctx::Ctx;
use crate::process::{Command, run};
use std::path::{Path, PathBuf};

/// Directories whose files no start imports.
const NEVER_IMPORTED: &str = r"/(tests?|testing/data|node_modules|\.git)/";

/// Compiles all Python files below these directories, by the environment's own Python, as importing them would.
/// Files whose bytecode is current are passed over; links are not followed. What has errors, or cannot be written,
/// is left for the import to tell. Each file is published whole. Cancel-safe.
///
/// # Errors
/// When Python cannot be run, or this is cancelled.
pub async fn compile_bytecode(
    ctx: &Ctx,
    config: &Config,
    venv: &Path,
    dirs: &[PathBuf],
) -> Result<(), PythonError> {
    let mut env = config.child_env.clone();
    for name in FOREIGN {
        env.remove(name);
    }
    // Isolated, and without the environment's own start-up code: it imports nothing of it.
    let command = Command::new(venv.join("bin/python"), env)
        .args(["-I", "-S", "-m", "compileall", "-qq", "-x", NEVER_IMPORTED])
        .args(dirs)
        .alone();
    let finished = run(ctx, &command, |_| ()).await?;
    tracing::debug!(venv = %venv.display(), status = %finished.status, "compiled bytecode");
    Ok(())
}
