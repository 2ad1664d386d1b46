//! `logs`: reads an instance's log, from the end or from where the last read ended.

use super::load;
use crate::daemon::Daemon;
use crate::error::Error;
use crate::store::StoreError;
use proto::method::{InstanceState, Logs, LogsAnswer};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

/// Bytes that one call returns at most; the client asks for the rest.
const MAX_BYTES: u64 = 256 * 1024;

pub(super) fn logs(daemon: &Daemon, params: &Logs) -> Result<LogsAnswer, Error> {
    let (loaded, home) = load(daemon, &params.target)?;
    let path = daemon.supervisor.log_path(&loaded.spec.version_id, &home.root);
    if !path.is_file() {
        return Err(Error::NoLog(loaded.spec.version_id.to_string()));
    }
    let (bytes, next) = read(&path, params.from).map_err(StoreError::at("read", &path))?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let text = if params.from.is_some() { text } else { last_lines(&text, params.lines) };
    let instance = daemon.supervisor.find(&home.root);
    let running = instance.is_some_and(|info| {
        matches!(
            info.state,
            InstanceState::Starting { .. } | InstanceState::Ready { .. } | InstanceState::Stopping { .. }
        )
    });
    Ok(LogsAnswer { path: path.display().to_string(), text, next, running })
}

fn read(path: &Path, from: Option<u64>) -> std::io::Result<(Vec<u8>, u64)> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    // A log that is shorter than it was has begun anew.
    let start = match from {
        Some(from) if from <= length => from,
        Some(_) => 0,
        None => length.saturating_sub(MAX_BYTES),
    };
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes)?;
    let next = start + bytes.len() as u64;
    Ok((bytes, next))
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    lines[lines.len().saturating_sub(count)..].concat()
}
