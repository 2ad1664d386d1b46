//! Where all versions stand that the daemon knows: those of the versions directory, the pinned ones, and those
//! that calls have named.
//!
//! What looks at the disk found is kept, so that `status` answers at once. It is found anew for a version that a
//! call has just worked on, and for all of them when that is some seconds ago and someone asks.

use super::pins::Pins;
use super::rungs::{Found, Life, Look, look};
use super::targets::plain;
use crate::error::Error;
use crate::source::Sources;
use crate::store::places::Home;
use crate::store::specs::{self, Loaded};
use crate::supervise::{Supervisor, ZygoteInfo};
use proto::VersionId;
use proto::method::{InstanceInfo, PrefetchPlan, Standing, Target, VersionStanding, Zygote};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How old what is known of the disk may be before who asks begins a look at all versions.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How long who asks waits for a look at what has just changed. On a disk that is near it takes a millisecond for
/// each version; on one that is far the next who asks is told.
const PATIENCE: Duration = Duration::from_millis(100);

/// Names of versions that are remembered from calls, beyond those of the versions directory.
const NAMED: usize = 64;

/// Where all versions stand. Cheap to clone.
#[derive(Clone)]
pub struct Ladder {
    sources: Sources,
    supervisor: Supervisor,
    /// What is pinned.
    pub pins: Pins,
    table: Arc<Mutex<Table>>,
    /// Held while someone looks at the disk for the table.
    looking: Arc<tokio::sync::Mutex<()>>,
}

/// A version that is known, and what a look at it found.
#[derive(Debug, Clone)]
pub struct Known {
    /// Its spec.
    pub loaded: Loaded,
    /// How it is named.
    pub target: Target,
    /// Its home.
    pub home: Home,
    /// What the disk says.
    pub look: Look,
    /// Where it stands.
    pub standing: Standing,
}

#[derive(Default)]
struct Table {
    /// By home.
    rows: BTreeMap<PathBuf, Row>,
    /// When all were looked at.
    looked: Option<Instant>,
    /// What calls have worked on since they were looked at.
    touched: HashSet<Target>,
    /// How calls name versions, the latest last.
    named: VecDeque<Target>,
    /// What keeps idle time from lifting a home's version.
    held_back: HashMap<PathBuf, String>,
}

struct Row {
    version_id: VersionId,
    found: Found,
}

/// What lives in the daemon at one moment, by home.
struct Alive {
    instances: HashMap<PathBuf, InstanceInfo>,
    zygotes: HashMap<PathBuf, (String, Zygote)>,
}

impl Ladder {
    /// Returns a ladder on which nobody was looked for yet. Blocks, for the pins.
    pub fn new(sources: Sources, supervisor: Supervisor) -> Self {
        let pins = Pins::open(&sources.config);
        Self { sources, supervisor, pins, table: Arc::default(), looking: Arc::default() }
    }

    /// Looks at one version. Blocks, shortly.
    ///
    /// # Errors
    /// There is no such spec, it has errors, or the disk cannot be looked at.
    pub fn look(&self, target: &Target) -> Result<Known, Error> {
        let config = &self.sources.config;
        let loaded = specs::load(config, target)?;
        let version_id = loaded.spec.version_id.clone();
        let home = Home::find(config, &version_id, target.comfy_home.as_deref())?;
        let look = look(&self.sources, &loaded.spec, &home)?;
        let row = Row { version_id, found: look.found.clone() };
        let mut table = self.lock();
        let standing = self.standing(&home.root, &row, &Alive::one(&self.supervisor, &home.root), &table);
        table.rows.insert(home.root.clone(), row);
        drop(table);
        Ok(Known { loaded, target: target.clone(), home, look, standing })
    }

    /// Looks at all versions that are known; those without a sound spec are left out. Blocks, for about a
    /// millisecond each on a disk that is near.
    pub fn look_at_all(&self) -> Vec<Known> {
        let targets = self.targets();
        let mut all: BTreeMap<PathBuf, Known> = BTreeMap::new();
        for target in targets {
            match self.look(&target) {
                Ok(known) => drop(all.entry(known.home.root.clone()).or_insert(known)),
                Err(error) => tracing::debug!(version = target.version, %error, "not on the ladder"),
            }
        }
        let mut table = self.lock();
        table.rows.retain(|home, _| all.contains_key(home));
        table.looked = Some(Instant::now());
        all.into_values().collect()
    }

    /// Returns where all stand: as the disk was found last, and as the processes are now. Waits for a look at the
    /// disk where a call has just changed something, shortly. Cancel-safe.
    pub async fn standings(&self) -> Vec<VersionStanding> {
        let (is_new, is_old) = {
            let table = self.lock();
            let is_old = table.looked.is_none_or(|looked| looked.elapsed() >= LOOK_EVERY);
            (table.looked.is_none() || !table.touched.is_empty(), is_old)
        };
        if is_new || is_old {
            let ladder = self.clone();
            let looking = Arc::clone(&self.looking).lock_owned();
            let look = async move {
                let looking = looking.await;
                tokio::task::spawn_blocking(move || {
                    ladder.look_again();
                    drop(looking);
                })
                .await
            };
            // Where nothing has changed it goes on without anybody who waits.
            let patience = if is_new { PATIENCE } else { Duration::ZERO };
            tokio::time::timeout(patience, look).await.ok();
        }
        let alive = Alive::all(&self.supervisor);
        let table = self.lock();
        let rows = table.rows.iter().map(|(home, row)| VersionStanding {
            version_id: row.version_id.clone(),
            home: home.display().to_string(),
            standing: self.standing(home, row, &alive, &table),
        });
        let mut all: Vec<VersionStanding> = rows.collect();
        all.sort_by(|a, b| (&a.version_id, &a.home).cmp(&(&b.version_id, &b.home)));
        all
    }

    /// Says that a call works on a version: when what is returned is dropped, the next who asks looks at it.
    /// Never waits.
    #[must_use = "the work ends when this is dropped"]
    pub fn work_on(&self, target: &Target) -> Work {
        Work { ladder: self.clone(), target: Some(target.clone()) }
    }

    /// Keeps what a plan says keeps versions where they are: it is part of why they stand there.
    pub fn keep_reasons(&self, plan: &PrefetchPlan) {
        let reason = |lift: &proto::method::PlannedLift| {
            let reason = lift.held_back.clone()?;
            Some((PathBuf::from(&lift.home), reason))
        };
        self.lock().held_back = plan.lifts.iter().filter_map(reason).collect();
    }

    fn touched(&self, target: Target) {
        let mut table = self.lock();
        if !table.named.contains(&target) {
            if table.named.len() >= NAMED {
                table.named.pop_front();
            }
            table.named.push_back(target.clone());
        }
        table.touched.insert(target);
    }

    /// Looks at what calls have worked on, or at all when that is some time ago. Blocks.
    fn look_again(&self) {
        let (touched, is_old) = {
            let mut table = self.lock();
            let is_old = table.looked.is_none_or(|looked| looked.elapsed() >= LOOK_EVERY);
            (std::mem::take(&mut table.touched), is_old)
        };
        if is_old {
            self.look_at_all();
            return;
        }
        for target in touched {
            if let Err(error) = self.look(&target) {
                tracing::debug!(version = target.version, %error, "not on the ladder");
            }
        }
    }

    /// How all versions that are known are named.
    fn targets(&self) -> Vec<Target> {
        let listed: Vec<Target> = specs::list(&self.sources.config, None).keys().map(plain).collect();
        let pinned = self.pins.by_calls().into_values().map(|pinned| pinned.target);
        let named: Vec<Target> = self.lock().named.iter().cloned().collect();
        listed.into_iter().chain(pinned).chain(named).collect()
    }

    fn standing(&self, home: &Path, row: &Row, alive: &Alive, table: &Table) -> Standing {
        let life = Life {
            instance: alive.instances.get(home),
            zygote: alive.zygotes.get(home).map(|(generation, zygote)| (generation.as_str(), zygote)),
            pinned: self.pins.of(home, &row.version_id),
            held_back: table.held_back.get(home).map(String::as_str),
        };
        row.found.standing(&life)
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Whole between any two statements.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call's work on a version.
pub struct Work {
    ladder: Ladder,
    target: Option<Target>,
}

impl Work {
    /// Ends it where nothing was done but to look: what is known of the version holds.
    pub fn changed_nothing(mut self) {
        self.target = None;
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if let Some(target) = self.target.take() {
            self.ladder.touched(target);
        }
    }
}

impl Alive {
    fn all(supervisor: &Supervisor) -> Self {
        let instances = supervisor.instances().into_iter().map(|info| (PathBuf::from(&info.home), info));
        let zygotes = supervisor.zygotes().into_iter().map(|info| (info.home.clone(), told(info)));
        Self { instances: instances.collect(), zygotes: zygotes.collect() }
    }

    fn one(supervisor: &Supervisor, home: &Path) -> Self {
        let instances = supervisor.find(home).map(|info| (home.to_owned(), info));
        let zygotes = supervisor.zygotes().into_iter().filter(|info| info.home == home);
        let zygotes = zygotes.map(|info| (home.to_owned(), told(info)));
        Self { instances: instances.into_iter().collect(), zygotes: zygotes.collect() }
    }
}

/// A zygote as clients are told of it, and the generation that it has imported.
fn told(info: ZygoteInfo) -> (String, Zygote) {
    let waits = jiff::Timestamp::now().duration_since(info.since);
    // A clock that was set back makes it no older than it is.
    let for_ms = u64::try_from(waits.as_millis()).unwrap_or(0);
    (info.generation, Zygote { pid: info.pid, pss_bytes: info.pss_bytes, for_ms })
}
