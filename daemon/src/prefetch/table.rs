//! What is known of the versions that idle time may lift: what a plan is made from.

use super::history::Request;
use super::ladder::{Known, Ladder};
use super::plan::Row;
use super::predict::{Likely, likely};
use super::rungs::Start;
use super::targets::Targets;
use super::watch::News;
use crate::realize::record::Record;
use crate::supervise::Supervisor;
use proto::method::Target;
use proto::plan::{ModelAction, PackagesAction, Plan};
use proto::{Rung, VersionId};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The most versions that are looked at for one plan, the likeliest first.
const MOST: usize = 32;

/// Memory that a zygote is believed to take before one was seen (measured with ComfyUI 0.3.75: 145 MB of its own).
const ZYGOTE: u64 = 300 << 20;

/// Milliseconds that a start is believed to take before one was recorded.
const START_MS: u64 = 20_000;

/// How long a version is left alone after its first failure, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(3600));

/// A version that may be lifted.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) target: Target,
    pub(super) home: PathBuf,
    /// The directory of its generation, where a start of that was recorded.
    pub(super) recorded: Option<PathBuf>,
    pub(super) row: Row,
}

/// What this daemon has learnt so far.
#[derive(Debug, Default)]
pub(super) struct Learnt {
    /// Specs that nothing was done about yet.
    pub(super) news: BTreeMap<VersionId, News>,
    /// Generations whose starts are packed, or need not be.
    pub(super) packed: HashSet<PathBuf>,
    homes: HashMap<PathBuf, Experience>,
}

#[derive(Debug, Default)]
struct Experience {
    failure: Option<Failure>,
    bytes: Option<u64>,
    seconds: Option<u64>,
    memory: Option<u64>,
}

#[derive(Debug)]
struct Failure {
    text: String,
    times: u32,
    until: Instant,
}

impl Learnt {
    /// Notes how a lift ended: in so many seconds, or with this failure.
    pub(super) fn lifted(&mut self, home: &Path, result: Result<Duration, String>) {
        let experience = self.homes.entry(home.to_owned()).or_default();
        match result {
            Ok(took) => (experience.seconds, experience.failure) = (Some(took.as_secs()), None),
            Err(text) => {
                let times = experience.failure.as_ref().map_or(0, |failure| failure.times) + 1;
                let until = Instant::now() + pause(times);
                experience.failure = Some(Failure { text, times, until });
            }
        }
    }

    /// Notes how many bytes a version's fetch takes.
    pub(super) fn weighed(&mut self, home: &Path, bytes: u64) {
        self.homes.entry(home.to_owned()).or_default().bytes = Some(bytes);
    }

    /// Notes what a version's zygote takes.
    pub(super) fn measured(&mut self, home: &Path, memory: u64) {
        self.homes.entry(home.to_owned()).or_default().memory = Some(memory);
    }

    /// Forgets a version's failures: something has changed.
    pub(super) fn forgive(&mut self, home: &Path) {
        if let Some(experience) = self.homes.get_mut(home) {
            experience.failure = None;
        }
    }

    /// Returns when the next version that failed may be tried again.
    pub(super) fn next_try(&self) -> Option<Instant> {
        let failures = self.homes.values().filter_map(|experience| experience.failure.as_ref());
        failures.map(|failure| failure.until).filter(|until| *until > Instant::now()).min()
    }

    fn row(&self, known: &Known, likely: Option<&Likely>) -> Row {
        let version_id = known.loaded.spec.version_id.clone();
        let none = Experience::default();
        let experience = self.homes.get(&known.home.root).unwrap_or(&none);
        let failure = experience.failure.as_ref().filter(|failure| failure.until > Instant::now());
        let failed = failure.map(|failure| (known.standing.rung, failure.told()));
        let held = replaces_current(known).then(|| {
            (Rung::Fetched, "it would replace the generation that is current: a start does".to_owned())
        });
        let took_ms =
            if let Start::Recorded { took_ms } = known.look.found.start { took_ms } else { START_MS };
        let unprimable = match &known.look.found.start {
            Start::Recorded { .. } => None,
            // Told by its rung already while it is not realized.
            Start::Unknown => Some("no start of it was recorded yet".to_owned()),
            Start::Distrusted(reason) => Some(format!("it is started plainly: {reason}")),
        };
        let seen = known.standing.zygote.as_ref().map(|zygote| zygote.pss_bytes).or(experience.memory);
        Row {
            home: known.home.root.display().to_string(),
            standing: known.standing.clone(),
            news: self.news.contains_key(&version_id).then(|| "its spec is new or was edited".to_owned()),
            probability: likely.map_or(0.0, |likely| likely.probability),
            why: likely.map(|likely| likely.why.clone()).unwrap_or_default(),
            bytes: known.look.plan.as_ref().and_then(bytes).or(experience.bytes),
            memory_bytes: seen.unwrap_or(ZYGOTE),
            #[allow(clippy::cast_precision_loss, reason = "only compared")]
            saves: took_ms as f64 / 1e3,
            seconds: experience.seconds,
            ceiling: failed.or(held),
            unprimable,
            version_id,
        }
    }
}

impl Failure {
    fn told(&self) -> String {
        let left = self.until.saturating_duration_since(Instant::now()).as_secs().div_ceil(60);
        format!("it failed, and is tried again in {left} min: {}", self.text)
    }
}

fn pause(times: u32) -> Duration {
    PAUSE.0.saturating_mul(1 << times.saturating_sub(1).min(10)).min(PAUSE.1)
}

/// Where versions are found.
pub(super) struct Places<'a> {
    pub(super) ladder: &'a Ladder,
    pub(super) targets: &'a Targets,
    pub(super) supervisor: &'a Supervisor,
}

/// Looks at all versions that idle time may lift, or at those that `asked` names and no others. Those without a
/// sound spec are left out. Blocks, for milliseconds each.
pub(super) fn candidates(
    places: &Places<'_>,
    learnt: &mut Learnt,
    history: &[Request],
    now: i64,
    asked: &[Target],
) -> Vec<Candidate> {
    let ranked = likely(history, now);
    let likely_of = |id: &VersionId| ranked.iter().find(|likely| likely.version == *id);
    let mut all: BTreeMap<PathBuf, Candidate> = BTreeMap::new();
    for target in if asked.is_empty() { wanted(places, learnt, &ranked) } else { asked.to_vec() } {
        let known = match places.ladder.look(&target) {
            Ok(known) => known,
            Err(error) => {
                tracing::debug!(version = target.version, %error, "not to be lifted");
                continue;
            }
        };
        if let Some(zygote) = &known.standing.zygote {
            learnt.measured(&known.home.root, zygote.pss_bytes);
        }
        let mut row = learnt.row(&known, likely_of(&known.loaded.spec.version_id));
        if !asked.is_empty() {
            (row.probability, row.why) = (1.0, "asked for now".to_owned());
        }
        let is_recorded = matches!(known.look.found.start, Start::Recorded { .. });
        let generation = known.look.found.generation.filter(|_| is_recorded);
        let recorded = generation.map(|name| known.home.generation(&name));
        let home = known.home.root.clone();
        all.entry(home.clone()).or_insert(Candidate { target, home, recorded, row });
    }
    all.into_values().collect()
}

/// How the versions are named that may be lifted, or have something to lose.
fn wanted(places: &Places<'_>, learnt: &Learnt, ranked: &[Likely]) -> Vec<Target> {
    let pins = &places.ladder.pins;
    let by_calls = pins.by_calls().into_values().map(|pinned| pinned.target);
    let environment = pins.list(|_| Some(PathBuf::new())).into_iter().filter(|pin| pin.by_environment);
    let by_id = environment.map(|pin| pin.version_id).chain(learnt.news.keys().cloned());
    let likely = ranked.iter().take(MOST).map(|likely| likely.version.clone());
    let zygotes = places.supervisor.zygotes().into_iter().map(|zygote| zygote.version_id);
    let by_id = by_id.chain(zygotes).chain(likely).map(|id| places.targets.of(&id));
    let mut seen = HashSet::new();
    by_calls.chain(by_id).filter(|target| seen.insert(target.clone())).collect()
}

/// Tells whether realizing a version would make another generation current than the one that is.
fn replaces_current(known: &Known) -> bool {
    let current = Record::current(&known.home).ok().flatten();
    let wanted = known.look.found.generation.as_deref();
    known.standing.rung < Rung::Realized
        && current.is_some_and(|current| Some(current.generation.as_str()) != wanted)
}

/// What is to be fetched, where that can be told without asking anyone.
fn bytes(plan: &Plan) -> Option<u64> {
    let downloads = plan.models.iter().filter(|step| step.action == ModelAction::Download);
    let models: Option<u64> = downloads.map(|step| step.size_bytes).sum();
    let packages = match plan.packages.action {
        PackagesAction::Install => plan.packages.download_bytes,
        _ => 0,
    };
    models.map(|models| models + packages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_fails_is_left_alone_for_longer_and_longer() {
        let minutes: Vec<u64> = (1..9).map(|times| pause(times).as_secs() / 60).collect();
        assert_eq!(minutes, [1, 2, 4, 8, 16, 32, 60, 60]);
        let (mut learnt, home) = (Learnt::default(), Path::new("/h"));
        learnt.lifted(home, Err("no such host".to_owned()));
        assert!(learnt.homes[home].failure.as_ref().unwrap().told().contains("in 1 min: no such host"));
        assert!(learnt.next_try().is_some());
        learnt.lifted(home, Ok(Duration::from_secs(3)));
        assert_eq!((learnt.homes[home].seconds, learnt.next_try()), (Some(3), None));
    }
}
