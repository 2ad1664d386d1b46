//! What a killed daemon had started for its own work: nobody waits for it any more, and it goes on writing.

use super::birth::marked;
use super::lasting::Process;
use futures_util::future::join_all;
use std::time::Duration;

/// How long each may take to end by itself.
const GRACE: Duration = Duration::from_secs(1);

/// Ends the process groups that were started with a variable of this value. Takes a second or so where there are
/// any, and a look at `/proc` where there are none.
pub async fn end_orphans(name: &'static str, value: &str) {
    let value = value.to_owned();
    let orphans = tokio::task::spawn_blocking(move || marked(name, &value, None)).await.unwrap_or_default();
    let ends = orphans.iter().filter_map(|orphan| match Process::adopt(orphan) {
        Ok(process) => {
            tracing::info!(pid = orphan.pid, "ending what an earlier daemon had started");
            process.map(|process| process.stop(GRACE))
        }
        Err(error) => {
            tracing::warn!(pid = orphan.pid, %error, "what an earlier daemon had started goes on");
            None
        }
    });
    join_all(ends).await;
}
