//! Outputs on their way to whoever asked: into the answer, or into a bucket.
//!
//! Each asker of a job is served for itself, from the files: what is kept of a job, in memory or on disk,
//! holds neither their content nor links to them.

use super::RunError;
use crate::config::ModelHosts;
use crate::ctx::{Ctx, blocking};
use crate::source::bucket::Bucket;
use crate::store::commit::StoreError;
use crate::store::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proto::event::{TaskKind, Unit};
use proto::method::{Delivery, OutputFile, RunAnswer};
use std::path::{Path, PathBuf};

/// The largest file that is put into an answer, in bytes.
const MAX_IN_ANSWER: u64 = 512 << 20;

/// Brings the files of an answer where they are wanted; previews (`temp`) stay where they are.
///
/// # Errors
/// A file that is gone or too large, a bucket that does not take it, or `ctx` was cancelled.
pub(super) async fn deliver(
    ctx: &Ctx,
    hosts: &ModelHosts,
    to: Option<&Delivery>,
    mut answer: RunAnswer,
) -> Result<RunAnswer, RunError> {
    let job = answer.job_id.clone();
    let files = answer.outputs.iter_mut().filter_map(|output| Some((&output.node, output.file.as_mut()?)));
    // Previews are for those who look on, and go with their process.
    let files = files.filter(|(_, file)| file.place != "temp");
    match to {
        None => {}
        Some(Delivery::Base64) => {
            for (_, file) in files {
                file.data = Some(encoded(file).await?);
            }
        }
        Some(Delivery::Bucket(target)) => {
            let bucket = Bucket::open(hosts, target)?;
            let files: Vec<_> = files.collect();
            let task = ctx.progress.task(TaskKind::Workflow, "upload", Unit::Files);
            task.set(0, Some(files.len() as u64));
            for (node, file) in files {
                let key = key(&job, node, file);
                file.url = Some(tokio::select! {
                    () = ctx.cancel.cancelled() => return Err(RunError::Cancelled),
                    put = bucket.put(Path::new(&file.path), &key, &file.mime) => put?,
                });
                task.add(1);
            }
            task.done("");
        }
    }
    Ok(answer)
}

/// The name of an output in a bucket: the job's, then one that is the same whenever the job is delivered.
fn key(job: &str, node: &str, file: &OutputFile) -> String {
    let unique = digest(&(node, &file.place, &file.subfolder, &file.filename));
    let extension = Path::new(&file.filename).extension().unwrap_or_default().to_string_lossy();
    let dot = if extension.is_empty() { "" } else { "." };
    format!("{}/{unique}{dot}{extension}", job.replace('/', "_"))
}

async fn encoded(file: &OutputFile) -> Result<String, RunError> {
    if file.bytes > MAX_IN_ANSWER {
        return Err(RunError::TooLarge { file: file.filename.clone(), mib: MAX_IN_ANSWER >> 20 });
    }
    let path = PathBuf::from(&file.path);
    let read = move || {
        std::fs::read(&path).map(|content| STANDARD.encode(content)).map_err(StoreError::at("read", path))
    };
    Ok(blocking(read).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_have_names_of_their_own() {
        let file = |subfolder: &str, filename: &str| OutputFile {
            path: String::new(),
            filename: filename.to_owned(),
            subfolder: subfolder.to_owned(),
            place: "output".to_owned(),
            mime: String::new(),
            bytes: 0,
            data: None,
            url: None,
        };
        let name = key("j/../1", "9", &file("a", "x.png"));
        assert!(name.starts_with("j_.._1/"), "{name}");
        assert_eq!(Path::new(&name).extension().unwrap(), "png");
        assert_eq!(name, key("j/../1", "9", &file("a", "x.png")));
        assert_ne!(name, key("j/../1", "9", &file("b", "x.png")));
        assert!(!key("j", "9", &file("a", "x")).contains('.'));
    }
}
