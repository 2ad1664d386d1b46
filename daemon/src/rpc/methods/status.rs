//! `status`: what the daemon is doing, and where.

use crate::daemon::Daemon;
use proto::method::{Status, StatusAnswer};
use std::path::Path;

pub(super) async fn status(daemon: &Daemon, _params: &Status) -> StatusAnswer {
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
    }
}
