//! The one Python environment of a version, by driving the `uv` binary.
//!
//! ```text
//! contributors ──inputs──▶ lines ──compile (uv pip compile)──▶ LockedPython ──venv (uv venv, sync)──▶ .venv
//!                                    └─ conflict: which lines, whose                └─ proof
//! ```
//!
//! `requirements` reads single lines; `inputs` decides which of them count and says where each
//! stands; `resolve` makes one plan of them, with ComfyUI's torch stack as a constraint for all nodes.
//! `venv` builds that plan in a directory nobody reads yet, and `proof` shows that it is whole: uv
//! writes a package's RECORD before all of its files, so only a walk over the files tells.
//! uv is a subprocess because its crates promise no stability; everything read from it is
//! `pylock.toml`, `--output-format json` or an exit status, and the few phrases listed in `said`.

mod bytecode;
mod compile;
mod conflict;
mod error;
mod inputs;
mod interpreter;
mod locate;
mod proof;
mod requirements;
mod resolve;
mod said;
mod script;
mod uv;
mod venv;

pub use bytecode::compile_bytecode;
pub use error::PythonError;
pub use inputs::{Contributor, Inputs, Role};
pub use interpreter::{
    Interpreter, find_interpreter, interpreters, python_works, repair, requires_python, supported,
};
pub use proof::{Proof, forget_damaged, prove};
pub use requirements::includes;
pub use resolve::{Request, Resolved, resolve};
pub use said::Said;
pub use script::{InstallScript, run_install_script};
pub use uv::{Uv, on_path};
pub use venv::{Build, install};

/// The spec's variable that names the interpreter.
pub const INTERPRETER: &str = "COMFY_PYTHON";

/// Variables that would lead Python away from a version's own environment.
pub const FOREIGN: [&str; 7] =
    ["PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "CONDA_PREFIX", "PIP_TARGET", "PIP_PREFIX", "PIP_USER"];

/// Packages that belong to ComfyUI: a node cannot change them.
const TORCH_STACK: [&str; 3] = ["torch", "torchvision", "torchaudio"];

/// Runs blocking work on a thread of its own.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PythonError> + Send + 'static,
) -> Result<T, PythonError> {
    tokio::task::spawn_blocking(work).await.map_err(PythonError::Thread)?
}
