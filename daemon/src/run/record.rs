//! What is known of a job on disk, so that its name means the same job to the next daemon.
//!
//! A record is written before its prompt is posted: a daemon that is killed leaves the prompt running in
//! ComfyUI, and the next one that is asked for the job finds it there. When the job has succeeded, its
//! answer is put into the record: the same name gets it again while it is known. A failure is not
//! remembered, since whoever asks again wants another try. Records hold no secrets: no links, no keys.

use crate::store::commit::{create_dir_all, replace_file, step};
use crate::store::{digest, read_json};
use proto::method::RunAnswer;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The shape of a record; others count as absent.
const SCHEMA: u32 = 1;

/// How long a job is known after its record was last written.
const KNOWN: Duration = Duration::from_secs(60 * 60);

/// The most jobs that are known.
const MOST: usize = 1000;

/// What is known of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    schema_version: u32,
    /// Digest of the workflow and its inputs: the same name with others is another job.
    pub(super) content: String,
    /// ComfyUI's name for the run that was posted last.
    pub(super) prompt_id: String,
    /// Files to remove when the job is forgotten.
    pub(super) inputs: Vec<PathBuf>,
    /// What it put out, once it has succeeded.
    pub(super) answer: Option<RunAnswer>,
}

impl Record {
    /// A job that is about to be posted.
    pub(super) fn posted(content: String, prompt_id: String, inputs: Vec<PathBuf>) -> Self {
        Self { schema_version: SCHEMA, content, prompt_id, inputs, answer: None }
    }

    /// A job that has succeeded.
    pub(super) fn finished(content: String, answer: RunAnswer) -> Self {
        let prompt_id = answer.prompt_id.clone();
        Self { answer: Some(answer), ..Self::posted(content, prompt_id, Vec::new()) }
    }
}

/// The records of all jobs.
#[derive(Debug, Clone)]
pub(super) struct Records {
    dir: PathBuf,
}

impl Records {
    /// Returns the records in a directory. Touches nothing.
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Returns the name of a job's record, which is short and good for file names.
    pub(super) fn key(home: &Path, job_id: &str) -> String {
        digest(&(home, job_id))
    }

    /// Returns what is known of a job. What cannot be read is not known. Blocks.
    pub(super) fn find(&self, key: &str) -> Option<Record> {
        let path = self.path(key);
        let record = read_json::<Record>(&path);
        let record = record.inspect_err(|error| tracing::warn!(%error, "a job's record is ignored"));
        let record = record.ok().flatten().filter(|record| record.schema_version == SCHEMA);
        // One that was posted is as old as ComfyUI says: a clock that jumped must not have it posted again.
        record.filter(|record| record.answer.is_none() || !is_old(&path))
    }

    /// Writes a record. It survives the end of this process, and need not survive the machine's, which
    /// takes ComfyUI's own memory of the prompt with it. Where the disk refuses, the job goes on and its
    /// name is not remembered. Blocks.
    pub(super) fn write(&self, key: &str, record: &Record) {
        let path = self.path(key);
        // Records are our own structs, which all have a JSON form.
        let text = serde_json::to_vec(record).unwrap_or_default();
        let written = step("job.record", "write", &path)
            .and_then(|()| create_dir_all(&self.dir))
            .and_then(|()| replace_file(&path, &text, false));
        if let Err(error) = written {
            tracing::warn!(%error, "a job is not remembered");
        }
    }

    /// Forgets a job. Blocks.
    pub(super) fn remove(&self, key: &str) {
        // Best effort: a record that stays is swept later.
        std::fs::remove_file(self.path(key)).ok();
    }

    /// Forgets jobs that are old, or too many, and removes the inputs that a killed daemon left. Those whose
    /// keys are `live` are under way, whatever the clock says. Blocks.
    pub(super) fn sweep(&self, live: &HashSet<String>) {
        let Ok(entries) = std::fs::read_dir(&self.dir) else { return };
        let dated = |entry: std::fs::DirEntry| Some((entry.metadata().ok()?.modified().ok()?, entry.path()));
        let mut known: Vec<_> = entries.flatten().filter_map(dated).collect();
        known.sort_by(|a, b| b.cmp(a));
        for (number, (_, path)) in known.iter().enumerate() {
            let is_live = path.file_stem().is_some_and(|key| live.contains(&*key.to_string_lossy()));
            if is_live || (number < MOST && !is_old(path)) {
                continue;
            }
            if let Ok(Some(record)) = read_json::<Record>(path) {
                super::inputs::remove(&record.inputs);
            }
            std::fs::remove_file(path).ok();
        }
    }

    fn path(&self, key: &str) -> PathBuf {
        self.dir.join(format!("{key}.json"))
    }
}

/// A clock that was set back makes nothing old.
fn is_old(path: &Path) -> bool {
    let written = std::fs::metadata(path).and_then(|metadata| metadata.modified());
    written.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age > KNOWN))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{File, FileTimes};

    #[test]
    fn old_jobs_are_forgotten_and_their_inputs_removed() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::new(dir.path().join("jobs"));
        let input = dir.path().join("comfyd-k-0-x.png");
        std::fs::write(&input, "").unwrap();
        let record = Record::posted("c".into(), "p".into(), vec![input.clone()]);
        records.write("k", &record);
        records.write("l", &record);
        assert_eq!(records.find("k"), Some(record.clone()));
        assert_eq!(records.find("m"), None);
        let long_ago = FileTimes::new().set_modified(SystemTime::now() - KNOWN * 2);
        File::options().write(true).open(records.path("k")).unwrap().set_times(long_ago).unwrap();
        assert_eq!(records.find("k"), Some(record), "it may still run");
        records.sweep(&HashSet::from(["k".to_owned()]));
        assert!(records.path("k").exists() && input.exists(), "a clock that jumped ends no job");
        records.sweep(&HashSet::new());
        assert!(records.find("l").is_some() && !records.path("k").exists() && !input.exists());
        std::fs::write(records.path("l"), "{").unwrap();
        assert_eq!(records.find("l"), None, "half a record is none");
    }
}
