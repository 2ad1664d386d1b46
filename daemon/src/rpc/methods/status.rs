//! `status`: what the daemon is doing, and where; once, or each time that it changes.

use crate::ctx::Ctx;
use crate::daemon::Daemon;
use crate::store::digest;
use proto::event::Wait;
use proto::method::{InstanceState, Status, StatusAnswer};
use std::path::Path;
use std::time::{Duration, Instant};

/// How often it is looked for a change while someone waits for one.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How long a caller is kept where nothing changes. It shows times, and those go on.
const LATEST: Duration = Duration::from_secs(1);

/// Memory that comes and goes without anything else: less is no news, in bytes.
const NEWS: u64 = 64 << 20;

/// Answers at once; where the caller names the answer that it has, when there is another.
pub(super) async fn status(daemon: &Daemon, ctx: &Ctx, params: &Status) -> StatusAnswer {
    let begun = Instant::now();
    loop {
        let mut answer = look(daemon).await;
        answer.mark = mark(&answer);
        let is_news = params.after.as_ref().is_none_or(|known| *known != answer.mark);
        if is_news || begun.elapsed() >= LATEST || ctx.cancel.is_cancelled() {
            return answer;
        }
        tokio::select! {
            () = ctx.cancel.cancelled() => (),
            () = tokio::time::sleep(LOOK_EVERY) => (),
        }
    }
}

async fn look(daemon: &Daemon) -> StatusAnswer {
    let config = &daemon.config;
    let mut places: Vec<(&str, &Path)> = vec![
        ("homes", &config.homes),
        ("versions", &config.versions_dir),
        ("custom nodes", &config.nodes_cache),
        ("locks", &config.cache_root),
        ("git objects", &config.git_cache),
        ("uv cache", &config.uv_cache),
        ("state", &config.state_dir),
    ];
    places.extend(config.models_dir.as_deref().map(|dir| ("models", dir)));
    places.extend(config.wheels_dir.as_deref().map(|dir| ("wheels", dir)));
    StatusAnswer {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        uptime_s: daemon.started.elapsed().as_secs(),
        socket: config.socket.display().to_string(),
        places: places
            .into_iter()
            .map(|(name, path)| (name.to_owned(), path.display().to_string()))
            .collect(),
        jobs: daemon.jobs.list(),
        instances: daemon.supervisor.instances(),
        workflows: daemon.workflows.list(),
        gpus: daemon.supervisor.gpus().await,
        versions: daemon.ladder.standings().await,
        idle: daemon.prefetch.present(),
        mark: String::new(),
    }
}

/// Digests all but times, and memory in coarse steps.
fn mark(answer: &StatusAnswer) -> String {
    let mut answer = answer.clone();
    answer.uptime_s = 0;
    answer.jobs.iter_mut().flat_map(|job| &mut job.waits).for_each(forget);
    for workflow in &mut answer.workflows {
        workflow.for_ms = 0;
        workflow.waits.iter_mut().for_each(forget);
    }
    for instance in &mut answer.instances {
        if let InstanceState::Starting { for_ms, .. } = &mut instance.state {
            *for_ms = 0;
        }
    }
    for gpu in &mut answer.gpus {
        gpu.free_bytes /= NEWS;
        gpu.used_by.iter_mut().for_each(|used| used.bytes /= NEWS);
    }
    for zygote in answer.versions.iter_mut().filter_map(|version| version.standing.zygote.as_mut()) {
        (zygote.for_ms, zygote.pss_bytes) = (0, zygote.pss_bytes / NEWS);
    }
    if let Some(idle) = &mut answer.idle {
        idle.for_ms = 0;
    }
    digest(&answer)
}

fn forget(wait: &mut Wait) {
    (wait.for_ms, wait.left_ms) = (0, 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn answer(change: &serde_json::Value) -> StatusAnswer {
        let mut answer = json!({
            "version": "1", "pid": 7, "uptime_s": 65, "socket": "/s", "places": {},
            "jobs": [{"version_id": "x", "home": "/h", "phase": "execute", "waiting": 1,
                      "work": {"ended": 1, "known": 2, "tasks": []}}],
            "instances": [], "gpus": [{"index": 0, "name": "T4", "total_bytes": 16_u64 << 30, "free_bytes": 1_u64 << 30}]});
        answer.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        serde_json::from_value(answer).unwrap()
    }

    #[test]
    fn times_and_a_little_memory_are_no_news() {
        let before = mark(&answer(&json!({})));
        let gpu = |free: u64| json!({"gpus": [{"index": 0, "name": "T4", "total_bytes": 16_u64 << 30, "free_bytes": free}]});
        for same in [json!({"uptime_s": 66}), gpu((1 << 30) + (1 << 20))] {
            assert_eq!(mark(&answer(&same)), before, "{same}");
        }
        let job = json!({"jobs": [{"version_id": "x", "home": "/h", "phase": "execute", "waiting": 1,
                                   "work": {"ended": 2, "known": 2, "tasks": []}}]});
        for other in [gpu(2 << 30), job, json!({"jobs": []})] {
            assert_ne!(mark(&answer(&other)), before, "{other}");
        }
    }
}
