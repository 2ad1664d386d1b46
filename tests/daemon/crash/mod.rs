//! Daemons die by SIGKILL: at every named place of `comfyd::failpoint`, each time that work passes it, and at
//! random moments. After each death the disk must be right, and after a restart the work must come to its end.
//!
//! `world` is the machine, `scenarios` says what is going on, `trial` is one death and what follows it, and
//! `invariants` is what must hold. How often work passes a place is counted first, by a daemon that notes it.

mod damaged;
mod invariants;
mod process;
mod scenarios;
mod trial;
mod world;

use comfyd::failpoint::NAMES;
use process::{Daemon, Said};
use scenarios::{EMPTY, REALIZED, SCENARIOS, Scenario, realized};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use trial::{Death, Report, trial};
use world::World;

/// Machines that work side by side.
const MACHINES: usize = 4;

/// Deaths at random moments.
const MOMENTS: usize = 170;

/// Deaths that there are at least.
const DEATHS: usize = 500;

/// How the disk refuses, once at each place.
const REFUSALS: [&str; 2] = ["EIO", "ENOSPC"];

/// Only a machine without uv passes it, which none of these is.
const ELSEWHERE: &[&str] = &["uv.publish"];

/// What a scenario does when nobody dies.
struct Course {
    passed: BTreeMap<String, usize>,
    took: Duration,
}

#[test]
#[allow(clippy::print_stdout, reason = "the figures are a result")]
fn a_daemon_that_dies_anywhere_leaves_a_disk_that_is_right() {
    let begun = Instant::now();
    let (mut worlds, courses): (Vec<_>, Vec<_>) =
        in_parallel((0..MACHINES).collect(), prepared).into_iter().unzip();
    let courses: BTreeMap<usize, Course> = courses.into_iter().flatten().collect();
    let preparation = begun.elapsed();
    let trials = Mutex::new(trials(&courses));
    let done: Mutex<Vec<(&Scenario, Death, Report)>> = Mutex::default();
    in_parallel(worlds.iter_mut().collect(), |world| {
        loop {
            let next = trials.lock().unwrap().pop_front();
            let Some((scenario, death)) = next else { break };
            let report = trial(world, scenario, &death);
            done.lock().unwrap().push((scenario, death, report));
        }
    });
    let done = done.into_inner().unwrap();
    let died: Vec<_> = done.iter().filter(|(_, _, report)| report.died).collect();
    let mut answers: Vec<_> = died.iter().map(|(_, _, report)| report.first_answer).collect();
    answers.sort_unstable();
    let broken: Vec<_> = done.iter().filter(|(_, _, report)| !report.broken.0.is_empty()).collect();
    println!(
        "crashes: {} trials ({} deaths), {} violations; first answer after a crash: p50 {:?}, max {:?}; {:?} in all, {preparation:?} of it to prepare",
        done.len(),
        died.len(),
        broken.len(),
        answers[answers.len() / 2],
        answers[answers.len() - 1],
        begun.elapsed(),
    );
    for (scenario, death, report) in &broken {
        println!("{} {death:?}:\n    {}", scenario.name, report.broken.0.join("\n    "));
    }
    assert!(broken.is_empty(), "{} of {} trials", broken.len(), done.len());
    let reached: BTreeSet<_> = died
        .iter()
        .filter_map(|(_, death, _)| match death {
            Death::At(place, _) => Some(*place),
            Death::After(_) | Death::Refused(..) => None,
        })
        .collect();
    let missed: Vec<_> =
        NAMES.iter().filter(|name| !reached.contains(*name) && !ELSEWHERE.contains(name)).collect();
    assert!(missed.is_empty(), "no daemon died at {missed:?}");
    assert!(died.len() >= DEATHS, "{} deaths", died.len());
}

/// Makes a machine with the disks of all scenarios, and runs every so-manieth scenario to its end.
fn prepared(at: usize) -> (World, BTreeMap<usize, Course>) {
    let world = World::new();
    fs::create_dir_all(world.env.path("kept")).unwrap();
    world.keep(EMPTY);
    realized(&world);
    world.keep(REALIZED);
    for scenario in SCENARIOS {
        world.put_back(scenario.from);
        (scenario.prepare)(&world);
        world.keep(scenario.name);
    }
    let mine = SCENARIOS.iter().enumerate().filter(|(number, _)| number % MACHINES == at);
    let courses = mine.map(|(number, scenario)| (number, course(&world, scenario))).collect();
    (world, courses)
}

/// Runs a scenario to its end with a daemon that notes which places it passes.
fn course(world: &World, scenario: &Scenario) -> Course {
    world.put_back(scenario.name);
    (scenario.begin)(world);
    fs::remove_file(world.env.path("daemon.log")).ok();
    let notes: Vec<_> = NAMES.iter().map(|name| format!("{name}=return(note)")).collect();
    let begun = Instant::now();
    let mut daemon = Daemon::start(&world.env, &notes.join(";"));
    let said = (scenario.work)(world, &mut daemon);
    assert!(matches!(said, Said::Done(_)), "{}: {said:?}", scenario.name);
    let log = fs::read_to_string(world.env.path("daemon.log")).unwrap();
    Course { passed: invariants::passed(&log), took: begun.elapsed() }
}

fn trials(courses: &BTreeMap<usize, Course>) -> VecDeque<(&'static Scenario, Death)> {
    let mut trials = VecDeque::new();
    for (scenario, course) in SCENARIOS.iter().zip(courses.values()) {
        for name in NAMES {
            let hits = course.passed.get(*name).copied().unwrap_or_default();
            // Each cold trial costs seconds, and `commit` does the same for all.
            let step = if scenario.from == EMPTY && name.starts_with("commit.") { 3 } else { 1 };
            trials.extend((1..=hits).step_by(step).map(|nth| (scenario, Death::At(name, nth))));
        }
    }
    for name in NAMES {
        // The last ones are the cheapest, but for the first.
        let passing = SCENARIOS.iter().zip(courses.values()).rev();
        let passing =
            passing.filter(|(_, course)| course.passed.contains_key(*name)).map(|(scenario, _)| scenario);
        for (scenario, errno) in passing.take(1).flat_map(|scenario| REFUSALS.map(|errno| (scenario, errno)))
        {
            trials.push_back((scenario, Death::Refused(name, errno)));
        }
    }
    let mut state = 20_261_123;
    for (number, (scenario, course)) in
        SCENARIOS.iter().zip(courses.values()).cycle().take(MOMENTS).enumerate()
    {
        let span = u64::try_from(course.took.as_micros()).unwrap();
        let moment = Duration::from_micros(random(&mut state, number as u64) % span);
        trials.push_back((scenario, Death::After(moment)));
    }
    trials
}

/// `SplitMix64`: moments that are random and the same in each run.
fn random(state: &mut u64, salt: u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15 ^ salt);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Does something with each value, each on a thread of its own.
fn in_parallel<T: Send, R: Send>(values: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = values.into_iter().map(|value| scope.spawn(|| work(value))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}
