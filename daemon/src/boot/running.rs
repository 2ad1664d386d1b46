//! Which trees processes of this machine run from: ComfyUI's, whoever started it, and what waits to become one.

use crate::process;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Tells whether a process works in a tree or was started with a path in it. Processes that may not be looked at count
/// as none: they are other users', who have shadows of their own. Blocks shortly.
pub(super) fn is_run(tree: &Path) -> bool {
    process::pids().any(|pid| {
        let works_there =
            || std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(tree));
        let arguments = || std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        works_there()
            || arguments()
                .split(|byte| *byte == 0)
                .any(|arg| Path::new(std::ffi::OsStr::from_bytes(arg)).starts_with(tree))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_process_runs_a_tree_that_it_works_in_or_was_given() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().canonicalize().unwrap();
        assert!(!is_run(&tree));
        let [inside, named] = ["a", "b"].map(|name| tree.join(name));
        std::fs::create_dir(&inside).unwrap();
        for (cwd, arg) in [(&*inside, Path::new("x")), (Path::new("/"), &*named)] {
            // It has become what it is to be once it answers.
            let mut child = Command::new("cat")
                .arg("-")
                .arg(arg)
                .arg(arg)
                .current_dir(cwd)
                .stdin(Stdio::piped())
                .spawn()
                .unwrap();
            assert!(is_run(&tree), "{}", arg.display());
            assert!(!is_run(&tree.join("c")));
            child.kill().unwrap();
            child.wait().unwrap();
            assert!(!is_run(&tree));
        }
    }
}
