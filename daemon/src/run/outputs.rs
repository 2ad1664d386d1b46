//! What a workflow put out: files are found where ComfyUI wrote them and copied where they are wanted,
//! values are told as they are.

use super::RunError;
use crate::comfy::{Comfy, FileRef, History};
use crate::ctx::blocking;
use crate::store::commit::{StoreError, create_dir_all, publish_new, staging_path, step, sync_file};
use crate::store::sweep::sweep;
use proto::method::{Output, OutputFile};
use serde_json::Value;
use std::path::{Component, Path, PathBuf};

/// Returns every output of a prompt, in the order of nodes and keys. With `output_dir`, files are
/// copied there, in their subfolders, under a new name where theirs is taken; values are written there
/// as `<node>-<key>.txt`, or `.json` when they are no text.
///
/// # Errors
/// A file that ComfyUI names and that is not there, a name that leaves its directory, a full disk.
pub(super) async fn collect(
    comfy: &Comfy,
    home: &Path,
    history: &History,
    output_dir: Option<&Path>,
) -> Result<Vec<Output>, RunError> {
    let mut collected = Vec::new();
    for (node, by_kind) in &history.outputs {
        // `animated` says of the images beside it whether they move; the file's name does too.
        for (kind, values) in by_kind.iter().filter(|(kind, _)| *kind != "animated") {
            let list = values.as_array().map_or(std::slice::from_ref(values), Vec::as_slice);
            for value in list {
                let mut output = Output { node: node.clone(), kind: kind.clone(), file: None, value: None };
                if let Some(file) = file_ref(value) {
                    let placed = place(comfy, home, node, &file, output_dir).await;
                    output.file = Some(placed.map_err(|error| match error {
                        RunError::Output { .. } | RunError::Comfy(_) if history.was_cached(node) => {
                            RunError::Stale { node: node.clone(), file: file.filename.clone() }
                        }
                        error => error,
                    })?);
                } else {
                    if let Some(dir) = output_dir {
                        write_value(dir.to_owned(), node, kind, value).await?;
                    }
                    output.value = Some(value.clone());
                }
                collected.push(output);
            }
        }
    }
    Ok(collected)
}

fn file_ref(value: &Value) -> Option<FileRef> {
    let text = |key: &str| value.get(key)?.as_str().map(str::to_owned);
    let place = text("type").filter(|place| matches!(place.as_str(), "output" | "temp" | "input"))?;
    Some(FileRef { filename: text("filename")?, subfolder: text("subfolder").unwrap_or_default(), place })
}

/// Returns where a file lies on disk, or none when its name leaves its directory.
fn path_of(home: &Path, file: &FileRef) -> Option<PathBuf> {
    let relative = relative(file)?;
    // ComfyUI puts its temporary files into a folder of this name in the directory it is given.
    Some(home.join(if file.place == "temp" { "temp/temp" } else { &file.place }).join(relative))
}

fn relative(file: &FileRef) -> Option<PathBuf> {
    let path = Path::new(&file.subfolder).join(&file.filename);
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    let named = !file.filename.is_empty() && Path::new(&file.filename).file_name().is_some();
    (plain && named).then_some(path)
}

async fn place(
    comfy: &Comfy,
    home: &Path,
    node: &str,
    file: &FileRef,
    output_dir: Option<&Path>,
) -> Result<OutputFile, RunError> {
    let unusable = |reason: &str| RunError::Output {
        node: node.to_owned(),
        file: file.filename.clone(),
        reason: reason.to_owned(),
    };
    let outside = || unusable("its name leaves the output directory");
    let original = path_of(home, file).ok_or_else(outside)?;
    let on_disk = tokio::fs::metadata(&original).await.is_ok_and(|metadata| metadata.is_file());
    let path = match output_dir {
        None if on_disk => original,
        None => return Err(unusable(&format!("there is no file `{}`", original.display()))),
        Some(dir) => {
            let wanted = dir.join(relative(file).ok_or_else(outside)?);
            let claim = blocking(move || Claim::take(&wanted)).await?;
            if on_disk {
                blocking(move || claim.fill(|staging| copy(&original, staging))).await?
            } else {
                // It lies elsewhere when the version's own arguments say so.
                comfy.view(file, &claim.staging).await?;
                blocking(move || claim.fill(|_| Ok(()))).await?
            }
        }
    };
    let bytes = tokio::fs::metadata(&path).await.map_err(StoreError::at("read", &path))?.len();
    Ok(OutputFile {
        path: path.display().to_string(),
        filename: file.filename.clone(),
        subfolder: file.subfolder.clone(),
        place: file.place.clone(),
        mime: mime_guess::from_path(&file.filename).first_or_octet_stream().to_string(),
        bytes,
        data: None,
        url: None,
    })
}

async fn write_value(dir: PathBuf, node: &str, kind: &str, value: &Value) -> Result<(), RunError> {
    let (text, extension) = match value {
        Value::String(text) => (text.clone(), "txt"),
        other => (format!("{other:#}"), "json"),
    };
    // Both are texts of ComfyUI's and of the workflow's author: they may hold anything.
    let name = format!("{node}-{kind}.{extension}").replace(['/', '\0'], "_");
    let write = move || {
        let claim = Claim::take(&dir.join(name))?;
        claim.fill(|staging| std::fs::write(staging, text).map_err(StoreError::at("write", staging)))
    };
    blocking(write).await?;
    Ok(())
}

/// A file that is to get a name in the output directory once it is whole. Dropping it gives it up.
struct Claim {
    wanted: PathBuf,
    staging: PathBuf,
}

impl Claim {
    /// Makes ready for a file that is to be called `wanted`. Blocks.
    fn take(wanted: &Path) -> Result<Self, StoreError> {
        let dir = wanted.parent().unwrap_or(Path::new("/"));
        create_dir_all(dir)?;
        // No daemon knows these places before a job names them.
        sweep(dir);
        Ok(Self { staging: staging_path(wanted), wanted: wanted.to_owned() })
    }

    /// Lets `write` write the content aside, then puts it under the name, or the first free one of
    /// `<name>_2.<ext>`, `<name>_3.<ext>`, …: what an earlier job left there stays. Blocks.
    fn fill(self, write: impl FnOnce(&Path) -> Result<(), StoreError>) -> Result<PathBuf, StoreError> {
        write(&self.staging)?;
        sync_file(&self.staging)?;
        step("output.publish", "publish", &self.wanted)?;
        let mut path = self.wanted.clone();
        for number in 2.. {
            if publish_new(&self.staging, &path)? {
                break;
            }
            path = numbered(&self.wanted, number);
        }
        Ok(path)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Best effort: gone where it was published, and swept later where it resists.
        std::fs::remove_file(&self.staging).ok();
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), StoreError> {
    std::fs::copy(from, to).map(drop).map_err(StoreError::at("copy to", to))
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().map(|e| format!(".{}", e.to_string_lossy())).unwrap_or_default();
    path.with_file_name(format!("{stem}_{number}{extension}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(subfolder: &str, filename: &str, place: &str) -> FileRef {
        let [subfolder, filename, place] = [subfolder, filename, place].map(str::to_owned);
        FileRef { filename, subfolder, place }
    }

    #[test]
    fn files_are_found_where_comfyui_writes_them() {
        let home = Path::new("/h");
        let found = |file: &FileRef| path_of(home, file).map(|path| path.display().to_string());
        assert_eq!(found(&file("", "a.png", "output")).unwrap(), "/h/output/a.png");
        assert_eq!(found(&file("x/y", "a.png", "temp")).unwrap(), "/h/temp/temp/x/y/a.png");
        for (subfolder, filename) in [("..", "a"), ("", "../a"), ("/etc", "passwd"), ("", ""), ("x", "..")] {
            assert_eq!(found(&file(subfolder, filename, "output")), None, "{subfolder}/{filename}");
        }
    }

    #[test]
    fn only_objects_that_name_a_place_are_files() {
        let value = serde_json::json!({"filename": "a", "subfolder": "s", "type": "output", "format": "x"});
        assert_eq!(file_ref(&value), Some(file("s", "a", "output")));
        for other in [serde_json::json!({"filename": "a", "type": "elsewhere"}), "a".into(), Value::Null] {
            assert_eq!(file_ref(&other), None, "{other}");
        }
    }

    #[test]
    fn an_earlier_file_keeps_its_name_and_a_failure_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let wanted = dir.path().join("s/a.png");
        let put = |text: &'static str| {
            let write =
                |staging: &Path| std::fs::write(staging, text).map_err(StoreError::at("write", staging));
            Claim::take(&wanted).unwrap().fill(write).unwrap()
        };
        assert_eq!(put("1"), wanted);
        assert_eq!(put("2"), wanted.with_file_name("a_2.png"));
        let failed = Claim::take(&wanted)
            .unwrap()
            .fill(|path| Err(StoreError::at("x", path)(std::io::Error::other(""))));
        assert!(failed.is_err());
        assert_eq!(std::fs::read(&wanted).unwrap(), b"1");
        assert_eq!(std::fs::read_dir(dir.path().join("s")).unwrap().count(), 2);
    }
}
