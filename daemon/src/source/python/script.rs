//! A custom node's `install.py`.

use super::error::PythonError;
use super::said::Said;
use super::{FOREIGN, TORCH_STACK};
use crate::config::Config;
use crate::ctx::Ctx;
use crate::process::{Command, run};
use proto::lock::LockedPython;
use std::path::Path;

/// Whose script is run, and in what environment.
#[derive(Debug, Clone, Copy)]
pub struct InstallScript<'a> {
    /// The version's environment.
    pub venv: &'a Path,
    /// The node's checkout, which has an `install.py`.
    pub node_dir: &'a Path,
    /// ComfyUI's checkout.
    pub comfy_dir: &'a Path,
    /// What is installed; the script cannot change its torch stack by pip or uv.
    pub python: &'a LockedPython,
}

/// Lines of each output stream that an error shows.
const SHOWN: usize = 15;

/// Runs a node's `install.py` as ComfyUI-Manager does: by the version's Python, in the node's directory,
/// told where ComfyUI is. It may install what it likes but another torch, so the environment is to be
/// proved after it.
///
/// # Errors
/// [`PythonError::InstallScript`] shows the end of its output.
pub async fn run_install_script(
    ctx: &Ctx,
    config: &Config,
    script: &InstallScript<'_>,
) -> Result<(), PythonError> {
    let constraints = tempfile::Builder::new().prefix("comfyd-torch-").suffix(".txt").tempfile();
    let constraints = constraints.map_err(PythonError::io("create a file in", "TMPDIR"))?;
    let pins = script.python.packages.iter().filter(|p| TORCH_STACK.contains(&p.name.as_str()));
    let pins: String = pins.filter(|p| p.version.is_some()).map(|p| p.requirement.clone() + "\n").collect();
    tokio::fs::write(constraints.path(), pins).await.map_err(PythonError::io("write", constraints.path()))?;
    let finished = run(ctx, &command(config, script, constraints.path()), |_| ()).await?;
    if finished.status.success() {
        return Ok(());
    }
    let output = [&finished.stdout, &finished.stderr].map(|text| Said::tail(text, SHOWN).to_string());
    Err(PythonError::InstallScript {
        node: script.node_dir.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        status: finished.status.to_string(),
        source: Said::tail(&output.join("\n"), 2 * SHOWN),
    })
}

fn command(config: &Config, script: &InstallScript<'_>, constraints: &Path) -> Command {
    let bin = script.venv.join("bin");
    let path = config.child_env.get("PATH").map_or("/usr/local/bin:/usr/bin:/bin", String::as_str);
    let mut env = config.child_env.clone();
    for name in FOREIGN {
        env.remove(name);
    }
    let mut command = Command::new(bin.join("python"), env).arg("install.py").cwd(script.node_dir);
    let text = |path: &Path| path.to_string_lossy().into_owned();
    // The first two are what the Manager sets (its `get_script_env`).
    for (name, value) in [
        ("COMFYUI_PATH", text(script.comfy_dir)),
        ("COMFYUI_FOLDERS_BASE_PATH", text(script.comfy_dir)),
        ("VIRTUAL_ENV", text(script.venv)),
        ("PATH", format!("{}:{path}", bin.display())),
        ("PYTHONNOUSERSITE", "1".to_owned()),
        ("PIP_CONSTRAINT", text(constraints)),
        ("UV_CONSTRAINT", text(constraints)),
        ("UV_CACHE_DIR", text(&config.uv_cache)),
        ("PIP_DISABLE_PIP_VERSION_CHECK", "1".to_owned()),
    ] {
        command = command.env(name, value);
    }
    command
}
