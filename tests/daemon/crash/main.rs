//! Daemons die by SIGKILL: at every named place of `comfyd::failpoint`, each time that work passes it, and at
//! random moments. After each death the disk must be right, and after a restart the work must come to its end.
//!
//! `world` is the machine, `scenarios` says what is going on, `trial` is one death and what follows it, and
//! `invariants` is what must hold. How often work passes a place is counted first, by a daemon that notes it.
//!
//! A program of its own: it forks thousands of times, which takes the longer the more memory other tests have used.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

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
const MOMENTS: usize = 150;

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
    let courses: Courses = courses.into_iter().flatten().collect();
    let preparation = begun.elapsed();
    let trials = Mutex::new(trials(&courses));
    let done: Mutex<Vec<(&Scenario, Death, Report)>> = Mutex::default();
    in_parallel(worlds.iter_mut().collect(), |world| {
        loop {
            let next = trials.lock().unwrap().pop_front();
            let Some((scenario, death)) = next else { break };
            let report = trial(world, scenario, &death);
            if !report.broken.0.is_empty() {
                println!("{} {death:?}:\n    {}", scenario.name, report.broken.0.join("\n    "));
            }
            done.lock().unwrap().push((scenario, death, report));
        }
    });
    println!("crashes: {:?} in all, {preparation:?} of it to prepare", begun.elapsed());
    judge(&done.into_inner().unwrap());
}

/// Prints the figures of all trials, and fails if anything was broken or not tried.
#[allow(clippy::print_stdout, reason = "the figures are a result")]
fn judge(done: &[(&Scenario, Death, Report)]) {
    let died: Vec<_> = done.iter().filter(|(_, _, report)| report.died).collect();
    let mut answers: Vec<_> = died.iter().map(|(_, _, report)| report.first_answer).collect();
    answers.sort_unstable();
    let broken = done.iter().filter(|(_, _, report)| !report.broken.0.is_empty()).count();
    let (trials, deaths) = (done.len(), died.len());
    let (half, most) = (answers.get(deaths / 2), answers.last());
    println!("crashes: {trials} trials, {deaths} deaths, {broken} violations");
    println!("crashes: first answer after one: p50 {half:?}, max {most:?}");
    for scenario in SCENARIOS {
        let took =
            done.iter().filter(|(of, _, _)| of.name == scenario.name).map(|(_, _, report)| report.took);
        println!(
            "crashes: {}: {} trials in {:?}",
            scenario.name,
            took.clone().count(),
            took.sum::<Duration>()
        );
    }
    assert!(broken == 0, "{broken} of {trials} trials");
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
    assert!(deaths >= DEATHS, "{deaths} deaths");
}

/// Makes a machine with the disks of all scenarios, and runs every so-manieth scenario to its end.
fn prepared(at: usize) -> (World, Courses) {
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

type Courses = BTreeMap<usize, Course>;
type Trial = (&'static Scenario, Death);

/// Returns all trials, those first that cost least.
fn trials(courses: &Courses) -> VecDeque<Trial> {
    let all = || SCENARIOS.iter().zip(courses.values());
    let mut trials: VecDeque<Trial> = NAMES.iter().flat_map(|name| refusals(courses, name)).collect();
    for (scenario, course) in all() {
        for name in NAMES {
            let hits = course.passed.get(*name).copied().unwrap_or_default();
            // Each cold trial costs seconds, and `commit` does the same for all.
            let step = if scenario.from == EMPTY && name.starts_with("commit.") { 4 } else { 1 };
            trials.extend((1..=hits).step_by(step).map(|nth| (scenario, Death::At(name, nth))));
        }
    }
    let mut state = 20_261_123;
    trials.extend(all().cycle().take(MOMENTS).map(|(scenario, course)| {
        let span = u64::try_from(course.took.as_micros()).unwrap();
        (scenario, Death::After(Duration::from_micros(random(&mut state) % span)))
    }));
    trials
}

/// Has the disk refuse at a place, in one scenario that passes it: the last ones cost least.
fn refusals(courses: &Courses, name: &'static str) -> Vec<Trial> {
    // What cannot be put back is told, stops nothing, and is tried again at the next start.
    if name.starts_with("restore.") {
        return Vec::new();
    }
    let passing =
        SCENARIOS.iter().zip(courses.values()).rfind(|(_, course)| course.passed.contains_key(name));
    let tried = |(scenario, _)| REFUSALS.map(|errno| (scenario, Death::Refused(name, errno)));
    passing.into_iter().flat_map(tried).collect()
}

/// `SplitMix64`: moments that are random and the same in each run.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
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
