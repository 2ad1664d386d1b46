//! What the daemon is doing, for people: the same for one look and for a view that goes on.

use super::rates::Rates;
use super::table::{columns, sentences};
use super::text::{WIDTH, fold};
use super::units::{bytes, count, duration, fit, millis};
use super::{Marks, ladder, progress};
use owo_colors::OwoColorize as _;
use proto::event::{TaskProgress, Unit, Wait, Work};
use proto::method::{
    Device, GpuInfo, InstanceInfo, InstanceState, JobInfo, StatusAnswer, VersionStanding, WorkflowInfo,
    WorkflowState,
};
use std::time::Duration;

/// Columns of a bar.
const BAR: usize = 10;

/// Columns that a task's line needs besides its name: the indentation, the bar, and the longest figures.
const FIGURES: usize = 60;

/// Renders what the daemon does: how it stands, without its places.
pub fn view(status: &StatusAnswer, rates: &Rates, marks: Marks, width: usize) -> String {
    let look = Look { rates, marks, name: width.clamp(WIDTH, 120) - FIGURES };
    let up = duration(Duration::from_secs(status.uptime_s));
    let mut text = format!("comfyd {}, process {}, up {up}\n", status.version, status.pid);
    if !status.versions.is_empty() {
        text += &section("versions", &versions(&status.versions));
    }
    text += &section("realizes", &status.jobs.iter().map(|job| look.job(job)).collect::<String>());
    if !status.workflows.is_empty() {
        let workflows = status.workflows.iter().enumerate();
        let workflows = workflows.map(|(at, workflow)| look.workflow(workflow, &status.workflows[..at]));
        text += &section("workflows", &workflows.collect::<String>());
    }
    text += &section("instances", &instances(status));
    if !status.gpus.is_empty() {
        text += &section("GPUs", &gpus(&status.gpus, marks));
    }
    if let Some(idle) = &status.idle {
        let of = idle.version_id.as_ref().map_or(idle.home.as_str(), |id| id.as_str());
        let what = format!("{}, for {}", idle.what, millis(idle.for_ms));
        text += &section("idle time", &fold(&format!("  {of}  "), &what, 4));
    }
    text
}

/// Renders where the daemon keeps things; the same as long as it runs.
pub fn places(status: &StatusAnswer) -> String {
    let mut places = vec![["socket".to_owned(), status.socket.clone()]];
    places.extend(status.places.iter().map(|(name, path)| [name.clone(), path.clone()]));
    section("places", &columns("  ", &places))
}

/// Says how a ComfyUI process stands, and who works with it.
pub fn instance_words(instance: &InstanceInfo) -> Vec<String> {
    let state = match &instance.state {
        InstanceState::Starting { pid, for_ms } => {
            format!("starting for {}, process {pid}", millis(*for_ms))
        }
        InstanceState::Ready { pid, start_ms } => {
            let began = if instance.forked { "forked" } else { "started" };
            format!("{} ready, process {pid}, {began} in {}", instance.url, millis(*start_ms))
        }
        InstanceState::Stopping { pid } => format!("stopping, process {pid}"),
        InstanceState::Exited => return vec!["ended".to_owned()],
        InstanceState::Failed { reason } => return vec![format!("failed: {reason}")],
    };
    let mut words = vec![state];
    if let Some(from) = &instance.rolled_back_from {
        words.push(format!("rolled back from {from}"));
    }
    if let Some(Device::Gpu { index }) = instance.device {
        words.push(format!("GPU {index}"));
    }
    if instance.adopted {
        words.push("from an earlier daemon".to_owned());
    }
    for (number, noun) in [(instance.leases, "claim"), (instance.workflows, "workflow")] {
        if number > 0 {
            words.push(count(number, noun));
        }
    }
    if instance.restarts > 0 {
        words.push(format!("after {}", count(instance.restarts as usize, "restart")));
    }
    words
}

fn section(title: &str, body: &str) -> String {
    let body = if body.is_empty() { "  none\n" } else { body };
    format!("\n{}\n{body}", title.bold())
}

fn versions(versions: &[VersionStanding]) -> String {
    let row = |version: &VersionStanding| {
        let standing = &version.standing;
        [version.version_id.to_string(), standing.rung.to_string(), ladder::why(standing)]
    };
    sentences("  ", &versions.iter().map(row).collect::<Vec<_>>())
}

fn instances(status: &StatusAnswer) -> String {
    let row = |instance: &InstanceInfo| {
        let mut words = instance_words(instance);
        let used = status.gpus.iter().flat_map(|gpu| &gpu.used_by).filter(|used| used.home == instance.home);
        let used: u64 = used.map(|used| used.bytes).sum();
        if used > 0 {
            words.push(format!("{} of GPU memory", bytes(used)));
        }
        [instance.version_id.to_string(), words.join(", ")]
    };
    sentences("  ", &status.instances.iter().map(row).collect::<Vec<_>>())
}

fn gpus(gpus: &[GpuInfo], marks: Marks) -> String {
    let row = |gpu: &GpuInfo| {
        let used = gpu.total_bytes.saturating_sub(gpu.free_bytes);
        let free = format!("{} of {} free", bytes(gpu.free_bytes), bytes(gpu.total_bytes));
        [gpu.index.to_string(), gpu.name.clone(), bar(used, gpu.total_bytes, marks), free]
    };
    columns("  ", &gpus.iter().map(row).collect::<Vec<_>>())
}

/// What the lines of work need to know.
struct Look<'a> {
    rates: &'a Rates,
    marks: Marks,
    /// Columns of a task's name.
    name: usize,
}

impl Look<'_> {
    fn job(&self, job: &JobInfo) -> String {
        let mut words = vec![job.phase.clone()];
        if !job.work.is_empty() {
            words.push(format!("{} of {} done", job.work.ended, job.work.known));
        }
        words.push(match job.waiting {
            0 => "nobody waits for it".to_owned(),
            some => format!("{} waiting", count(some, "client")),
        });
        if job.background {
            words.push("in the background".to_owned());
        }
        let mut text = fold(&format!("  {}  ", job.version_id), &words.join(", "), 4);
        text += &self.work(&job.home, &job.work);
        text + &waits(&job.waits)
    }

    fn workflow(&self, workflow: &WorkflowInfo, before: &[WorkflowInfo]) -> String {
        let others = before.iter().filter(|other| {
            other.version_id == workflow.version_id && other.state != WorkflowState::Delivering
        });
        let state = match workflow.state {
            WorkflowState::Preparing => "gets its ComfyUI ready".to_owned(),
            WorkflowState::Queued => format!("queued, {} before it", others.count()),
            WorkflowState::Running => "runs".to_owned(),
            WorkflowState::Delivering => "delivers its outputs".to_owned(),
        };
        let head = format!("  {}  ", workflow.version_id);
        let state = format!("{}, {state}, {} so far", workflow.job_id, millis(workflow.for_ms));
        fold(&head, &state, 4) + &self.work("", &workflow.work) + &waits(&workflow.waits)
    }

    fn work(&self, home: &str, work: &Work) -> String {
        work.tasks.iter().map(|task| self.task(home, task)).collect()
    }

    fn task(&self, home: &str, task: &TaskProgress) -> String {
        let name = fit(&progress::name(task), self.name, self.marks.cut);
        let width = self.name;
        let total = task.total.filter(|total| *total > 0 && task.unit != Unit::Nothing);
        let bar = total.map(|total| bar(task.done, total, self.marks) + " ").unwrap_or_default();
        let mut facts: Vec<String> = amount(task, total).into_iter().collect();
        if let Some(rate) = self.rates.of(home, task).filter(|rate| *rate > 0) {
            facts.push(format!("{}/s", bytes(rate)));
            let left = total.map(|total| total.saturating_sub(task.done) / rate);
            facts.extend(left.map(|seconds| duration(Duration::from_secs(seconds))));
        } else if !task.detail.is_empty() {
            facts.push(task.detail.clone());
        }
        format!("    {name:width$} {bar}{}", facts.join(", ")).trim_end().to_owned() + "\n"
    }
}

/// Says how much of a task is done.
fn amount(task: &TaskProgress, total: Option<u64>) -> Option<String> {
    let noun = match task.unit {
        Unit::Nothing => return None,
        Unit::Bytes => "",
        Unit::Objects => " objects",
        Unit::Files => " files",
        Unit::Packages => " packages",
        Unit::Steps => " steps",
    };
    let shown = |number| if task.unit == Unit::Bytes { bytes(number) } else { number.to_string() };
    let of = total.map(|total| format!("/{}", shown(total))).unwrap_or_default();
    Some(format!("{}{of}{noun}", shown(task.done)))
}

fn waits(waits: &[Wait]) -> String {
    let line = |wait: &Wait| fold("    waiting for ", &progress::wait_words(wait), 6);
    waits.iter().map(line).collect()
}

/// Draws how much of `total` is done.
fn bar(done: u64, total: u64, marks: Marks) -> String {
    let mut parts = marks.bar.chars();
    let (full, tip, empty) =
        (parts.next().unwrap_or('='), parts.next().unwrap_or('>'), parts.next().unwrap_or(' '));
    let columns = u128::from(done.min(total)) * BAR as u128 / u128::from(total.max(1));
    let columns = usize::try_from(columns).unwrap_or(BAR);
    let filled = std::iter::repeat_n(full, columns);
    let rest = std::iter::once(tip).chain(std::iter::repeat(empty)).take(BAR - columns);
    format!("[{}]", filled.chain(rest).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn status(more: Value) -> StatusAnswer {
        let Value::Object(more) = more else { panic!("an object") };
        let mut status = json!({"version": "0.1.0", "pid": 7, "uptime_s": 65, "socket": "/run/u/comfyd.sock",
                                "places": {"models": "/v/models"}, "jobs": [], "instances": []});
        status.as_object_mut().unwrap().extend(more);
        serde_json::from_value(status).unwrap()
    }

    fn shown(status: &StatusAnswer) -> String {
        let text = view(status, &Rates::default(), Marks::new(false), WIDTH) + &places(status);
        anstream::adapter::strip_str(&text).to_string()
    }

    #[test]
    fn nothing_to_do_is_said_too() {
        let expected = "\
comfyd 0.1.0, process 7, up 1 min 05 s

realizes
  none

instances
  none

places
  socket  /run/u/comfyd.sock
  models  /v/models
";
        assert_eq!(shown(&status(json!({}))), expected);
    }

    #[test]
    fn all_that_goes_on_fits_into_80_columns() {
        let task = |kind: &str, label: &str, done: u64, total: Option<u64>, unit: &str, detail: &str| {
            json!({"id": 1, "kind": kind, "label": label, "state": "running", "done": done, "total": total,
                   "unit": unit, "detail": detail})
        };
        let tasks = [
            task(
                "model",
                "checkpoints/v1-5-pruned-emaonly-fp16.safetensors",
                1 << 30,
                Some(2 << 30),
                "bytes",
                "",
            ),
            task("repository", "ComfyUI-KJNodes", 12, None, "objects", "3.1 MB received"),
            task("packages", "packages", 0, None, "nothing", "uv resolves"),
        ];
        let wait = json!({"id": 1, "for_what": "/v/comfy-x", "holder": "pid 7 on a-host-with-a-name", "for_ms": 2000, "left_ms": 58_000});
        let status = status(json!({
            "versions": [{"version_id": "x", "home": "/v/comfy-x", "rung": "running", "pinned": "primed"},
                         {"version_id": "wan22", "home": "/v/comfy-y", "rung": "realized",
                          "why": "no start of it was recorded yet, and nobody has asked for it in the last days"}],
            "jobs": [{"version_id": "x", "home": "/v/comfy-x", "phase": "execute", "waiting": 2, "background": true,
                      "waits": [wait], "work": {"ended": 1, "known": 4, "tasks": tasks}}],
            "workflows": [
                {"job_id": "job-7", "version_id": "x", "state": "running", "for_ms": 12_300,
                 "work": {"ended": 0, "known": 1, "tasks": [task("workflow", "KSampler", 12, Some(20), "steps", "")]}},
                {"job_id": "job-8", "version_id": "x", "state": "queued", "for_ms": 900}],
            "instances": [{"version_id": "x", "home": "/v/comfy-x", "generation": "ab",
                           "state": {"kind": "ready", "pid": 9, "start_ms": 21_300},
                           "device": {"kind": "gpu", "index": 1}, "leases": 2, "workflows": 1,
                           "url": "http://127.0.0.1:8188", "log": "/s/x.log"}],
            "gpus": [{"index": 1, "name": "T4", "total_bytes": 17_179_869_184_u64, "free_bytes": 1_073_741_824,
                      "used_by": [{"home": "/v/comfy-x", "pid": 9, "bytes": 13_958_643_712_u64}]}],
            "idle": {"version_id": "wan22", "home": "/v/comfy-y", "what": "lifts it from resolved to fetched", "for_ms": 12_000}
        }));
        let text = shown(&status);
        let expected = "\
comfyd 0.1.0, process 7, up 1 min 05 s

versions
  x      running   pinned to primed
  wan22  realized  no start of it was recorded yet, and nobody has asked for it
                   in the last days

realizes
  x  execute, 1 of 4 done, 2 clients waiting, in the background
    ~ly-fp16.safetensors [=====>    ] 1.00 GiB/2.00 GiB
    ComfyUI-KJNodes      12 objects, 3.1 MB received
    packages             uv resolves
    waiting for /v/comfy-x, held by pid 7 on a-host-with-a-name, for 2.0 s, at
      most 58.0 s more

workflows
  x  job-7, runs, 12.3 s so far
    KSampler             [======>   ] 12/20 steps
  x  job-8, queued, 1 before it, 900 ms so far

instances
  x  http://127.0.0.1:8188 ready, process 9, started in 21.3 s, GPU 1, 2 claims,
     1 workflow, 13.00 GiB of GPU memory

GPUs
  1  T4  [=========>]  1.00 GiB of 16.00 GiB free

idle time
  wan22  lifts it from resolved to fetched, for 12.0 s

places
  socket  /run/u/comfyd.sock
  models  /v/models
";
        assert_eq!(text, expected);
        assert!(text.is_ascii() && text.lines().all(|line| line.chars().count() <= WIDTH));
    }

    #[test]
    fn a_bar_is_empty_at_first_and_full_at_last() {
        let drawn = |done, total| bar(done, total, Marks::new(false));
        assert_eq!(drawn(0, 10), "[>         ]");
        assert_eq!(drawn(10, 10), "[==========]");
        assert_eq!(drawn(u64::MAX, 10), "[==========]");
        assert_eq!(drawn(5, 0), "[>         ]");
    }
}
