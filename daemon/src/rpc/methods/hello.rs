//! `hello`: who is there, and whether both sides mean the same places.

use crate::daemon::Daemon;
use proto::method::{Hello, HelloAnswer};

/// Variables that belong to each request, not to the daemon.
const PER_REQUEST: &[&str] = &["COMFY_HOME", "COMFY_OFFLINE"];

pub(super) fn hello(daemon: &Daemon, params: &Hello) -> HelloAnswer {
    tracing::debug!(client = params.client, protocol = params.protocol, "hello");
    let ours = &daemon.config.seen_env;
    let differing = params.environment.iter().filter(|(name, _)| !PER_REQUEST.contains(&name.as_str()));
    let warnings = differing.filter_map(|(name, value)| match ours.get(name) {
        Some(own) if own == value => None,
        Some(own) if own.is_empty() || value.is_empty() => None,
        Some(own) => {
            Some(format!("{name} is `{value}` here, but comfyd was started with `{own}` and uses that"))
        }
        None if value.is_empty() => Some(format!(
            "{name} is set here, but comfyd was started without it: `comfyctl shutdown`, then try again"
        )),
        None => Some(format!("{name} is `{value}` here, but comfyd was started without it")),
    });
    HelloAnswer {
        protocol: proto::PROTOCOL,
        features: proto::FEATURES.iter().map(|name| (*name).to_owned()).collect(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        warnings: warnings.collect(),
    }
}
