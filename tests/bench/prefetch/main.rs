//! How well the predictor of prefetch foresees, by replaying histories: `make bench ONLY=prefetch`.
//!
//! Five minutes before each use the likeliest versions are made warm, as many as the budget allows; the use
//! hits if its version is among them. A version takes another's place where it is clearly likelier. One that was used
//! just before is warm already and costs nothing; for others all their bytes are fetched, and are wasted if
//! the version goes before it is used. Tests hold the figures to their goals.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench that fails says where, and tells figures"
)]

mod rivals;
mod traces;

use comfyd::prefetch::history::Request;
use comfyd::prefetch::predict::{Predict, Predictor, likely};
use proto::VersionId;
use rivals::{Lfu, Lru, Markov, Oracle};
use std::time::Instant;
use traces::{TRACES, Trace, Use, VERSIONS};

/// How many versions may be warm.
const BUDGETS: [usize; 3] = [1, 2, 4];

/// How much earlier than its use a version has to be warm, in seconds.
const AHEAD_S: i64 = 300;

/// How much likelier than a warm version another one must be to take its place, as `prefetch::plan` has it.
const CLEARLY: f64 = 1.5;

fn main() {
    let (length, seeds) = (2000, 16);
    println!(
        "{length} uses of {VERSIONS} versions, {seeds} seeds; hits at budgets of {BUDGETS:?} warm versions,"
    );
    println!("then how much of what was fetched was never used, and what was fetched per use");
    for trace in TRACES {
        let goal = if trace.is_lawful { ", goal: 0.9 of the oracle" } else { "" };
        println!("\n{}{goal}", trace.name);
        for (name, way) in WAYS {
            if let Some(figures) = Figures::mean(&trace, way, seeds, length) {
                println!("  {name:<12} {figures}");
            }
        }
    }
    println!("\n4,096 uses of 50 versions learnt and ranked: {:.1} ms", duration_ms());
}

/// A way to choose what is warm.
type Way = fn(&[Use]) -> Option<Figures>;

const OURS: Way = |uses| Some(replay(&mut Predictor::new(), CLEARLY, uses));
const ORACLE: Way = |uses| (!uses[0].law.is_empty()).then(|| replay(&mut Oracle(uses), 1.0, uses));
const RIVALS: [(&str, Way); 3] = [
    ("LRU", |uses| Some(replay(&mut Lru::default(), 1.0, uses))),
    ("LFU", |uses| Some(replay(&mut Lfu::default(), 1.0, uses))),
    ("Markov-1", |uses| Some(replay(&mut Markov::default(), 1.0, uses))),
];
const WAYS: [(&str, Way); 6] = [
    ("oracle", ORACLE),
    RIVALS[0],
    RIVALS[1],
    RIVALS[2],
    ("comfyd", OURS),
    ("… at once", |uses| Some(replay(&mut Predictor::new(), 1.0, uses))),
];

/// What a replay came to, for each budget.
#[derive(Debug, Clone, Copy, Default)]
struct Figures([Figure; BUDGETS.len()]);

/// What a replay came to, per use.
#[derive(Debug, Clone, Copy, Default)]
struct Figure {
    hits: f64,
    lifted_gb: f64,
    wasted_gb: f64,
}

impl Figures {
    /// Returns the mean over seeds; none where this way knows nothing of the trace.
    fn mean(trace: &Trace, way: Way, seeds: u32, length: usize) -> Option<Self> {
        let mut mean = Self::default();
        for seed in 0..seeds {
            let figures = way(&trace.draw(u64::from(seed) + 1, length))?;
            for (sum, figure) in mean.0.iter_mut().zip(figures.0) {
                sum.hits += figure.hits / f64::from(seeds);
                sum.lifted_gb += figure.lifted_gb / f64::from(seeds);
                sum.wasted_gb += figure.wasted_gb / f64::from(seeds);
            }
        }
        Some(mean)
    }
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for Figure { hits, .. } in self.0 {
            write!(f, "{hits:>7.3}")?;
        }
        for Figure { lifted_gb, wasted_gb, .. } in self.0 {
            let wasted = 100.0 * wasted_gb / lifted_gb.max(f64::MIN_POSITIVE);
            write!(f, "   {wasted:>3.0} % of {lifted_gb:>5.2} GB")?;
        }
        Ok(())
    }
}

/// A version that is warm.
struct Warm {
    version: usize,
    used: bool,
}

/// Has `predict` choose before each use, for all budgets.
fn replay(predict: &mut dyn Predict, clearly: f64, uses: &[Use]) -> Figures {
    let mut figures = Figures::default();
    let mut warm: [Vec<Warm>; BUDGETS.len()] = BUDGETS.map(|_| Vec::new());
    let (mut before, mut worth): (Option<&Use>, _) = (None, [0.0; VERSIONS]);
    for next in uses {
        let likely = predict.likely(before.map_or(0, |before| before.at.max(next.at - AHEAD_S)));
        worth.fill(0.0);
        for it in &likely {
            worth[number(&it.version)] = it.probability;
        }
        for ((budget, warm), figure) in BUDGETS.into_iter().zip(&mut warm).zip(&mut figures.0) {
            for wanted in likely.iter().take(budget) {
                let wanted = number(&wanted.version);
                let is_better = |other: usize| worth[wanted] >= clearly * worth[other];
                let least = warm.iter().map(|warm| warm.version);
                let least = least.min_by(|a, b| worth[*a].total_cmp(&worth[*b]));
                let leaves = least.filter(|_| warm.len() == budget);
                if warm.iter().all(|warm| warm.version != wanted) && leaves.is_none_or(is_better) {
                    let is_warm = before.is_some_and(|before| before.version == wanted);
                    lift(warm, Warm { version: wanted, used: is_warm }, leaves, figure);
                }
            }
            if let Some(hit) = warm.iter_mut().find(|warm| warm.version == next.version) {
                hit.used = true;
                figure.hits += 1.0;
            }
        }
        predict.observe(&Request { at: next.at, version: name(next.version) });
        before = Some(next);
    }
    let count = f64::from(u32::try_from(uses.len()).unwrap());
    for figure in &mut figures.0 {
        figure.hits /= count;
        figure.lifted_gb /= count;
        figure.wasted_gb /= count;
    }
    figures
}

/// Makes a version warm, in the place of another.
fn lift(warm: &mut Vec<Warm>, new: Warm, instead: Option<usize>, figure: &mut Figure) {
    let cost = |warm: &Warm| if warm.used { 0.0 } else { size_gb(warm.version) };
    if let Some(place) = warm.iter().position(|warm| Some(warm.version) == instead) {
        figure.wasted_gb += cost(&warm.swap_remove(place));
    }
    figure.lifted_gb += cost(&new);
    warm.push(new);
}

/// From 4 to 33 GB.
fn size_gb(version: usize) -> f64 {
    f64::from(u32::try_from(4 + version * 11 % VERSIONS).unwrap())
}

fn name(version: usize) -> VersionId {
    VersionId::new(format!("v{version}")).unwrap()
}

fn number(version: &VersionId) -> usize {
    version.as_str()[1..].parse().unwrap()
}

/// Returns how long it takes to learn and rank as much as a history holds.
fn duration_ms() -> f64 {
    let uses = TRACES[1].draw(1, 4096);
    let request = |(number, it): (usize, &Use)| Request {
        at: it.at,
        version: name(if number % 10 == 0 { VERSIONS + number / 10 % 20 } else { it.version }),
    };
    let history: Vec<Request> = uses.iter().enumerate().map(request).collect();
    let took = (0..5).map(|_| {
        let started = Instant::now();
        assert_eq!(likely(&history, uses[4095].at).len(), 50);
        started.elapsed().as_secs_f64() * 1e3
    });
    took.fold(f64::MAX, f64::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fewer seeds than the bench has, so that it takes seconds without optimization, too.
    const EXTENT: (u32, usize) = (3, 2000);

    fn mean(trace: &Trace, way: Way) -> [f64; BUDGETS.len()] {
        Figures::mean(trace, way, EXTENT.0, EXTENT.1).unwrap().0.map(|figure| figure.hits)
    }

    #[test]
    fn no_simple_way_is_better_on_any_trace() {
        for trace in TRACES {
            let ours = mean(&trace, OURS);
            for (rival, way) in RIVALS {
                for (theirs, ours) in mean(&trace, way).into_iter().zip(ours) {
                    // A hundredth: which of two versions alike is warm is chance.
                    assert!(ours >= 0.99 * theirs, "{}: {ours} against {theirs} of {rival}", trace.name);
                }
            }
        }
    }

    #[test]
    fn who_knows_the_law_is_hardly_better() {
        for trace in TRACES.iter().filter(|trace| trace.is_lawful) {
            for (best, ours) in mean(trace, ORACLE).into_iter().zip(mean(trace, OURS)) {
                assert!(ours >= 0.9 * best, "{}: {ours} of {best}", trace.name);
            }
        }
    }
}
