//! An instance's log file: bounded, and read for what only ComfyUI's words tell.
//!
//! ComfyUI writes to the file itself, so that it outlives the daemon. It holds the file open in append
//! mode: a file that has grown too long is copied aside and emptied in place, and ComfyUI writes on at
//! its beginning.

use crate::store::commit::{StoreError, create_dir_all, publish};
use crate::store::digest;
use proto::VersionId;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

/// How long a log may grow, in bytes. Twice as much is on disk at most.
const MAX_BYTES: u64 = 32 << 20;

/// How far the end of a log is read back for its last lines, in bytes.
const TAIL_BYTES: u64 = 64 << 10;

/// Returns the place of an instance's log.
pub(super) fn path(state_dir: &Path, version_id: &VersionId, home: &Path) -> PathBuf {
    // Two homes may hold versions of one name.
    let digest = digest(&home.as_os_str().as_encoded_bytes());
    in_dir(&root(state_dir).join(format!("{version_id}-{}", &digest[..8])))
}

/// Returns the directory that holds a directory for each instance.
pub(super) fn root(state_dir: &Path) -> PathBuf {
    state_dir.join("instances")
}

/// Returns the log in an instance's directory.
pub(super) fn in_dir(dir: &Path) -> PathBuf {
    dir.join("comfyui.log")
}

/// A custom node that ComfyUI looked at when it started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeImport {
    /// The node's path as ComfyUI names it; its last component is the directory in `custom_nodes`.
    pub path: String,
    /// What ComfyUI says of it if it could not import it; may be empty.
    pub failure: Option<String>,
}

/// Returns the custom nodes that ComfyUI looked at, from the log of a start. Reads what ComfyUI 0.3.75's
/// `main.py` and `nodes.py` write, as ComfyUI-Manager does: no request tells it.
pub fn node_imports(log: &str) -> Vec<NodeImport> {
    let mut imports: Vec<NodeImport> = Vec::new();
    let mut in_table = false;
    for line in log.lines() {
        if line.ends_with("times for custom nodes:") {
            in_table = true;
        } else if !in_table || line.trim().is_empty() {
            in_table = false;
        } else if let Some((took, path)) = line.split_once(": ") {
            let path = path.trim().to_owned();
            let say = || log.lines().find_map(|line| reason(line, &path)).unwrap_or_default();
            let failure = took.ends_with(" FAILED)").then(say);
            // A node may stand in both tables, of start-up scripts and of imports.
            match imports.iter_mut().find(|import| import.path == path) {
                Some(import) => import.failure = import.failure.take().or(failure),
                None => imports.push(NodeImport { path, failure }),
            }
        }
    }
    imports
}

fn reason(line: &str, path: &str) -> Option<String> {
    let after = |prefix: &str, infix: &str| {
        let rest = &line[line.find(prefix)? + prefix.len()..];
        rest.strip_prefix(path)?.strip_prefix(infix).map(|reason| reason.trim().to_owned())
    };
    after("Cannot import ", " module for custom nodes: ")
        .or_else(|| after("Skip ", " module for custom nodes due to "))
        .or_else(|| after("Error while calling comfy_entrypoint in ", ": "))
        .or_else(|| after("Failed to execute startup-script: ", "/prestartup_script.py / "))
}

/// Returns what of a log belongs to the last start in it.
pub(super) fn last_start(log: &str) -> &str {
    // The line that ComfyUI writes when it has loaded all; what it did before that is of no interest.
    log.rfind("Starting server").map_or(log, |start| &log[start..])
}

/// Opens an empty log at `path` for appending; what stood there goes to `<path>.1`. Blocks.
pub(super) fn open(path: &Path) -> Result<File, StoreError> {
    if let Some(parent) = path.parent() {
        create_dir_all(parent)?;
    }
    if path.exists() {
        publish(path, &previous(path))?;
    }
    File::options().append(true).create(true).open(path).map_err(StoreError::at("open the log", path))
}

/// Copies a log that has grown too long aside and empties it. Lines written meanwhile are lost. Blocks.
pub(super) fn bound(path: &Path) -> std::io::Result<()> {
    if std::fs::metadata(path)?.len() > MAX_BYTES {
        std::fs::copy(path, previous(path))?;
        File::options().write(true).open(path)?.set_len(0)?;
    }
    Ok(())
}

/// Returns the last `count` lines that are not blank. Empty when the log cannot be read. Blocks.
pub(super) fn tail(path: &Path, count: usize) -> Vec<String> {
    let end = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let (text, _) = read_from(path, end.saturating_sub(TAIL_BYTES));
    let lines = text.lines().map(str::trim_end).filter(|line| !line.is_empty());
    let lines: Vec<String> = lines.map(str::to_owned).collect();
    lines[lines.len().saturating_sub(count)..].to_vec()
}

/// Reads a log from a place on, or from its beginning if it has become shorter; returns the text and
/// where it ends. Reads at most [`MAX_BYTES`]. Empty when the log cannot be read. Blocks.
pub(super) fn read_from(path: &Path, from: u64) -> (String, u64) {
    let read = || {
        let mut file = File::open(path)?;
        let from = if file.metadata()?.len() < from { 0 } else { from };
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(MAX_BYTES).read_to_end(&mut bytes)?;
        let end = from + bytes.len() as u64;
        std::io::Result::Ok((String::from_utf8_lossy(&bytes).into_owned(), end))
    };
    read().unwrap_or_default()
}

fn previous(path: &Path) -> PathBuf {
    path.with_extension("log.1")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    const START: &str = "\
Failed to execute startup-script: /c/custom_nodes/starts-badly/prestartup_script.py / no such option

Prestartup times for custom nodes:
   0.1 seconds (PRESTARTUP FAILED): /c/custom_nodes/starts-badly

Traceback (most recent call last):
ModuleNotFoundError: No module named 'cv2'

Cannot import /c/custom_nodes/Needs-cv2 module for custom nodes: No module named 'cv2'
Skip /c/custom_nodes/empty module for custom nodes due to the lack of NODE_CLASS_MAPPINGS or NODES_LIST (need one).

Import times for custom nodes:
   0.0 seconds: /c/custom_nodes/starts-badly
   0.0 seconds: /c/custom_nodes/websocket_image_save.py
   0.0 seconds (IMPORT FAILED): /c/custom_nodes/empty
   0.2 seconds (IMPORT FAILED): /c/custom_nodes/Needs-cv2
";

    #[test]
    fn imports_are_found_and_failures_have_their_reasons() {
        let imports = node_imports(START);
        let short = imports.iter().map(|i| (i.path.as_str(), i.failure.as_deref())).collect::<Vec<_>>();
        assert_eq!(
            short,
            [
                ("/c/custom_nodes/starts-badly", Some("no such option")),
                ("/c/custom_nodes/websocket_image_save.py", None),
                ("/c/custom_nodes/empty", Some("the lack of NODE_CLASS_MAPPINGS or NODES_LIST (need one).")),
                ("/c/custom_nodes/Needs-cv2", Some("No module named 'cv2'")),
            ]
        );
        assert!(node_imports("IMPORT FAILED: nodes_x.py").is_empty(), "no custom node");
    }

    #[test]
    fn a_log_keeps_one_predecessor_and_its_last_lines_can_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("v/comfyui.log");
        writeln!(open(&path).unwrap(), "first").unwrap();
        let mut log = open(&path).unwrap();
        writeln!(log, "a\n\nb\nc").unwrap();
        assert_eq!(tail(&path, 2), ["b", "c"]);
        assert_eq!(tail(&previous(&path), 9), ["first"]);
        assert_eq!(read_from(&path, 3), ("b\nc\n".to_owned(), 7));
        assert_eq!(read_from(&path, 100).1, 7, "a shorter log is read from its beginning");
        assert!(tail(&dir.path().join("none"), 1).is_empty());
    }

    #[test]
    fn a_long_log_is_emptied_under_its_writer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("comfyui.log");
        let mut log = open(&path).unwrap();
        log.set_len(MAX_BYTES + 1).unwrap();
        bound(&path).unwrap();
        writeln!(log, "on").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "on\n");
    }
}
