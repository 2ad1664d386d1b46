//! `status`: what the daemon is doing.

use super::{Outcome, ask, instance_words};
use crate::failure::Failure;
use crate::render::ladder;
use crate::render::progress::wait_words;
use crate::render::table::columns;
use crate::render::units::{bytes, count, duration};
use crate::session::Session;
use owo_colors::OwoColorize as _;
use proto::method::{GpuInfo, Status, StatusAnswer, VersionStanding};
use std::time::Duration;

/// Arguments of `status`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the verb. It starts the daemon as any other does: only a daemon that looked can tell which
/// ComfyUI processes survived an earlier one.
///
/// # Errors
/// What the daemon answered.
pub fn run(_: &Args, session: &mut Session) -> Result<Outcome, Failure> {
    ask(session, &Status {}, |_, answer| people(answer))
}

fn people(status: &StatusAnswer) -> String {
    let up = duration(Duration::from_secs(status.uptime_s));
    let mut text = format!("comfyd {}, process {}, up {up}\n", status.version, status.pid);
    let mut places = vec![["socket".to_owned(), status.socket.clone()]];
    places.extend(status.places.iter().map(|(name, path)| [name.clone(), path.clone()]));
    text += &format!("\n{}\n{}", "places".bold(), columns("  ", &places));
    let jobs: Vec<[String; 4]> = status
        .jobs
        .iter()
        .map(|job| {
            let waiting = format!("{} waiting", count(job.waiting, "client"));
            [job.version_id.to_string(), job.phase.clone(), waiting, job.home.clone()]
        })
        .collect();
    let instances: Vec<[String; 2]> = status
        .instances
        .iter()
        .map(|instance| [instance.version_id.to_string(), instance_words(instance)])
        .collect();
    text += &section("realizes", &columns("  ", &jobs));
    let waits = status.jobs.iter().map(|job| (job.version_id.to_string(), &job.waits));
    let waits = waits.chain(status.workflows.iter().map(|job| (job.version_id.to_string(), &job.waits)));
    let waits = waits.flat_map(|(id, waits)| waits.iter().map(move |wait| [id.clone(), wait_words(wait)]));
    let waits: Vec<[String; 2]> = waits.collect();
    if !waits.is_empty() {
        text += &section("waits", &columns("  ", &waits));
    }
    text += &section("instances", &columns("  ", &instances));
    if !status.versions.is_empty() {
        let version = |version: &VersionStanding| {
            let standing = &version.standing;
            [version.version_id.to_string(), standing.rung.to_string(), ladder::why(standing)]
        };
        let versions: Vec<[String; 3]> = status.versions.iter().map(version).collect();
        text += &section("versions", &columns("  ", &versions));
    }
    if !status.gpus.is_empty() {
        let gpu = |gpu: &GpuInfo| {
            let free = format!("{} of {} free", bytes(gpu.free_bytes), bytes(gpu.total_bytes));
            [gpu.index.to_string(), gpu.name.clone(), free]
        };
        let gpus: Vec<[String; 3]> = status.gpus.iter().map(gpu).collect();
        text += &section("GPUs", &columns("  ", &gpus));
    }
    text
}

fn section(title: &str, body: &str) -> String {
    let body = if body.is_empty() { "  none\n" } else { body };
    format!("\n{}\n{body}", title.bold())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn places_jobs_and_instances_have_sections() {
        let status: StatusAnswer = serde_json::from_value(json!({
            "version": "0.1.0", "pid": 7, "uptime_s": 65, "socket": "/run/u/comfyd.sock",
            "places": {"models": "/v/models"}, "jobs": [{"version_id": "x", "home": "/v/comfy-x", "phase": "execute", "waiting": 2, "waits": [
                {"id": 1, "for_what": "/v/comfy-x", "holder": "pid 7 on h", "for_ms": 2000, "left_ms": 58_000}]}],
            "instances": [{"version_id": "x", "home": "/v/comfy-x", "generation": "ab",
                           "state": {"kind": "ready", "pid": 9, "start_ms": 21_300},
                           "device": {"kind": "gpu", "index": 1}, "leases": 2, "workflows": 1,
                           "url": "http://127.0.0.1:8188", "log": "/s/x.log"}],
            "versions": [{"version_id": "x", "home": "/v/comfy-x", "rung": "running", "pinned": "primed"},
                         {"version_id": "y", "home": "/v/comfy-y", "rung": "realized", "why": "no start of it was recorded yet"}],
            "gpus": [{"index": 1, "name": "T4", "total_bytes": 17_179_869_184_u64, "free_bytes": 1_073_741_824}]
        }))
        .unwrap();
        let expected = "\
comfyd 0.1.0, process 7, up 1 min 05 s

places
  socket  /run/u/comfyd.sock
  models  /v/models

realizes
  x  execute  2 clients waiting  /v/comfy-x

waits
  x  /v/comfy-x, held by pid 7 on h, for 2.0 s, at most 58.0 s more

instances
  x  http://127.0.0.1:8188 ready, process 9, started in 21.3 s, GPU 1, 2 claims, 1 workflow

versions
  x  running   pinned to primed
  y  realized  no start of it was recorded yet

GPUs
  1  T4  1.00 GiB of 16.00 GiB free
";
        assert_eq!(anstream::adapter::strip_str(&people(&status)).to_string(), expected);
    }
}
