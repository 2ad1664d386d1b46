//! One trial: a daemon dies, and the next one finds a disk that is right.

use super::invariants::{Broken, published, settled};
use super::process::{Daemon, Said};
use super::scenarios::Scenario;
use super::world::{VERSION, World};
use serde_json::json;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// When a daemon dies.
#[derive(Debug, Clone)]
pub(super) enum Death {
    /// At the so-manieth hit of a named place, from 1.
    At(&'static str, usize),
    /// So long after its start.
    After(Duration),
    /// Not at all: the disk refuses with this error at the first hit of a named place.
    Refused(&'static str, &'static str),
}

/// What came of a trial.
#[derive(Debug)]
pub(super) struct Report {
    /// Whether the daemon did die; work that runs side by side does not always pass a place as often.
    pub(super) died: bool,
    /// From the start of the next daemon to its first answer.
    pub(super) first_answer: Duration,
    /// How long all of it took.
    pub(super) took: Duration,
    /// What was broken.
    pub(super) broken: Broken,
}

/// How long what a restart cleans up, and what a killed daemon started, may take to be gone.
const SETTLES: Duration = Duration::from_secs(10);

impl Death {
    fn failpoints(&self) -> String {
        match self {
            Self::At(place, nth) => format!("{place}={}*off->return(kill)", nth - 1),
            Self::After(_) => String::new(),
            Self::Refused(place, errno) => format!("{place}=1*return({errno})"),
        }
    }
}

/// Makes a trial. A panic in it is broken, too.
pub(super) fn trial(world: &World, scenario: &Scenario, death: &Death) -> Report {
    let begun = Instant::now();
    let mut report =
        Report { died: false, first_answer: Duration::ZERO, took: Duration::ZERO, broken: Broken::default() };
    let run = catch_unwind(AssertUnwindSafe(|| run(world, scenario, death, &mut report)));
    if let Err(panic) = run {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        report.broken.0.push(text.unwrap_or_default());
    }
    if !report.broken.0.is_empty() {
        let log = fs::read_to_string(world.env.path("daemon.log")).unwrap_or_default();
        let from = log.lines().count().saturating_sub(12);
        report.broken.0.extend(log.lines().skip(from).map(|line| format!("  | {line}")));
    }
    report.took = begun.elapsed();
    report
}

fn run(world: &World, scenario: &Scenario, death: &Death, report: &mut Report) {
    world.put_back(scenario.name);
    (scenario.begin)(world);
    if let Death::Refused(place, _) = death {
        return is_refused(world, scenario, (death, place), report);
    }
    report.died = dies(world, scenario, death);
    if !scenario.is_damaged {
        report.broken.0.extend(published(world).0.into_iter().map(|what| format!("after the death: {what}")));
    }

    let begun = Instant::now();
    let mut next = Daemon::start(&world.env, "");
    next.result("status", &json!({}));
    report.first_answer = begun.elapsed();
    ends_well(world, scenario, &mut next, report);
}

/// Has a daemon do the work, and compares what it leaves with what must hold.
fn ends_well(world: &World, scenario: &Scenario, next: &mut Daemon<'_>, report: &mut Report) {
    let answer = match (scenario.again)(world, next) {
        Said::Done(answer) => answer,
        other => panic!("the next daemon: {other:?}"),
    };
    (scenario.check)(world, &answer, &mut report.broken);
    settles(world, next, report);
}

/// The version is ready, and in a moment nothing is left of what was unfinished.
fn settles(world: &World, next: &mut Daemon<'_>, report: &mut Report) {
    let again = next.result("realize", &json!({ "version": VERSION }));
    if again["outcome"] != "ready" {
        report.broken.0.push(format!("a ready version is {}", again["outcome"]));
    }
    let deadline = Instant::now() + SETTLES;
    let left = loop {
        let mut left = settled(world);
        left.0.extend(strangers(world, next));
        if left.0.is_empty() || Instant::now() > deadline {
            break left;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    report.broken.0.extend(left.0);
}

/// What does without, for it only saves work, or tells the next daemon more: a refusal is a line in the log.
const WITHOUT: &[&str] =
    &["instance.", "job.record", "links.entry", "lfs.", "restore.", "commit.", "transfer.", "checkout.lfs"];

/// Has the disk refuse once. The error says so with a place, what is published is whole, and the same daemon
/// does the work when it is asked again. A workflow that failed so is run anew.
fn is_refused(world: &World, scenario: &Scenario, (death, place): (&Death, &str), report: &mut Report) {
    let mut daemon = Daemon::start(&world.env, &death.failpoints());
    let begun = Instant::now();
    match (scenario.work)(world, &mut daemon) {
        Said::Done(_) if WITHOUT.iter().any(|name| place.starts_with(name)) => {}
        Said::Refused(error) => {
            let text = error.to_string();
            let has_place = text.contains(&*world.env.path("").to_string_lossy());
            if !has_place || error["data"]["kind"] != "disk" {
                report.broken.0.push(format!("the refusal is not named: {text}"));
            }
        }
        other => report.broken.0.push(format!("the disk refused: {other:?}")),
    }
    report.first_answer = begun.elapsed();
    if !scenario.is_damaged {
        report.broken.0.extend(published(world).0.into_iter().map(|what| format!("after it: {what}")));
    }
    match (scenario.again)(world, &mut daemon) {
        Said::Done(_) => daemon.kill(),
        other => panic!("asked once more: {other:?}"),
    }
    // What could not be removed waits for the next start.
    settles(world, &mut Daemon::start(&world.env, ""), report);
}

/// Has a daemon work until it dies. Returns whether it died.
fn dies(world: &World, scenario: &Scenario, death: &Death) -> bool {
    let mut daemon = Daemon::start(&world.env, &death.failpoints());
    if let Death::After(moment) = death {
        let pid = nix::unistd::Pid::from_raw(daemon.pid().cast_signed());
        let moment = *moment;
        return std::thread::scope(|scope| {
            // A random moment, not one to wait for.
            let killer = scope.spawn(move || {
                std::thread::sleep(moment);
                nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL)
            });
            let said = (scenario.work)(world, &mut daemon);
            killer.join().unwrap().unwrap();
            daemon.kill();
            matches!(said, Said::Nothing)
        });
    }
    match (scenario.work)(world, &mut daemon) {
        Said::Nothing => {
            // The connection ends a moment before the process does.
            daemon.ended();
            true
        }
        Said::Done(_) => false,
        Said::Refused(error) => panic!("the daemon that was to die: {error}"),
    }
}

/// Returns what runs on the machine and is neither the daemon nor listed by it.
fn strangers(world: &World, daemon: &mut Daemon<'_>) -> Vec<String> {
    let status = daemon.result("status", &json!({}));
    let instances = status["instances"].as_array().cloned().unwrap_or_default();
    let known: Vec<_> = instances.iter().filter_map(|one| one["state"]["pid"].as_u64()).collect();
    let processes = world.env.processes();
    let strangers =
        processes.iter().filter(|pid| **pid != daemon.pid() && !known.contains(&u64::from(**pid)));
    let named = strangers.map(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        format!("process {pid} is known to nobody: {}", String::from_utf8_lossy(&line).replace('\0', " "))
    });
    named.collect()
}
