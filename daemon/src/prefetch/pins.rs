//! Versions that people pinned: idle time lifts them to a rung, and keeps them there, before all others.
//!
//! Memory is what counts; the file in the state directory is for the next daemon, and is replaced as a whole. A
//! file that is damaged is named in the log and counts as empty: a lost pin costs waiting, no work. Versions that
//! `COMFYD_PINNED` names count as pinned to *primed* wherever their home lies.

use crate::config::Config;
use crate::error::{Error, chain};
use crate::store::{StoreError, read_json, write_json};
use proto::method::{PinInfo, Target};
use proto::{Rung, VersionId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The rung to which `COMFYD_PINNED` pins.
const BY_ENVIRONMENT: Rung = Rung::Primed;

/// The form that this daemon writes and reads.
const SCHEMA_VERSION: u32 = 1;

/// The most pins: more than anyone means.
const MOST: usize = 1024;

/// What is pinned. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Pins {
    path: Arc<Path>,
    environment: Arc<BTreeSet<VersionId>>,
    /// By home.
    by_calls: Arc<Mutex<BTreeMap<PathBuf, Pinned>>>,
}

/// A version that is pinned by a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pinned {
    /// The version.
    pub version_id: VersionId,
    /// How whoever pinned it names it: where its spec is found, and its home.
    pub target: Target,
    /// The rung.
    pub rung: Rung,
}

#[derive(Serialize, Deserialize)]
struct PinsFile {
    schema_version: u32,
    pins: BTreeMap<PathBuf, Pinned>,
}

impl Pins {
    /// Reads what was pinned before. Blocks.
    pub fn open(config: &Config) -> Self {
        let path = config.state_dir.join("pins.json");
        let pins = match read_json::<PinsFile>(&path) {
            Ok(Some(file)) if file.schema_version == SCHEMA_VERSION => file.pins,
            Ok(Some(PinsFile { schema_version, .. })) => {
                tracing::warn!(path = %path.display(), schema_version, "pins in another form are ignored");
                BTreeMap::new()
            }
            Ok(None) => BTreeMap::new(),
            Err(error) => {
                tracing::warn!(path = %path.display(), error = %chain(&error), "pins are ignored");
                BTreeMap::new()
            }
        };
        Self {
            path: path.into(),
            environment: Arc::new(config.pinned.clone()),
            by_calls: Arc::new(Mutex::new(pins)),
        }
    }

    /// Pins a version, or pins it anew; returns the rung that it was pinned to before. Blocks.
    ///
    /// # Errors
    /// A rung below [`Rung::Fetched`], too many pins, or a disk that refuses: then nothing has changed.
    pub fn pin(&self, home: &Path, pinned: Pinned) -> Result<Option<Rung>, Error> {
        if pinned.rung < Rung::Fetched {
            return Err(Error::PinRung(pinned.rung));
        }
        let mut pins = self.lock();
        if pins.len() >= MOST && !pins.contains_key(home) {
            return Err(Error::TooManyPins(MOST));
        }
        let before = self.rung(&pins, home, &pinned.version_id);
        let mut wanted = pins.clone();
        wanted.insert(home.to_owned(), pinned);
        self.replace(&mut pins, wanted)?;
        Ok(before)
    }

    /// Takes a pin back; returns the rung that the version was pinned to. What the environment pins stays.
    /// Blocks.
    ///
    /// # Errors
    /// A disk that refuses: then nothing has changed.
    pub fn unpin(&self, home: &Path, version_id: &VersionId) -> Result<Option<Rung>, Error> {
        let mut pins = self.lock();
        let before = self.rung(&pins, home, version_id);
        let mut wanted = pins.clone();
        if wanted.remove(home).is_some() {
            self.replace(&mut pins, wanted)?;
        }
        Ok(before)
    }

    /// Returns the rung that a version is pinned to.
    pub fn of(&self, home: &Path, version_id: &VersionId) -> Option<Rung> {
        self.rung(&self.lock(), home, version_id)
    }

    /// Returns what the environment pins.
    pub fn by_environment(&self) -> BTreeSet<VersionId> {
        BTreeSet::clone(&self.environment)
    }

    /// Tells whether the environment pins a version.
    pub fn is_by_environment(&self, version_id: &VersionId) -> bool {
        self.environment.contains(version_id)
    }

    /// Returns what calls have pinned, by home.
    pub fn by_calls(&self) -> BTreeMap<PathBuf, Pinned> {
        self.lock().clone()
    }

    /// Lists all, by id. `home_of` finds the home of a version that only the environment names; one that has
    /// none is left out.
    pub fn list(&self, home_of: impl Fn(&VersionId) -> Option<PathBuf>) -> Vec<PinInfo> {
        let pins = self.by_calls();
        let named: BTreeSet<&VersionId> = pins.values().map(|pinned| &pinned.version_id).collect();
        let others = self.environment.iter().filter(|id| !named.contains(id));
        let others = others.filter_map(|id| Some((home_of(id)?, id, BY_ENVIRONMENT)));
        let own = pins.iter().map(|(home, pinned)| (home.clone(), &pinned.version_id, pinned.rung));
        let info = |(home, id, rung): (PathBuf, &VersionId, Rung)| {
            let by_environment = self.is_by_environment(id);
            let rung = if by_environment { rung.max(BY_ENVIRONMENT) } else { rung };
            PinInfo { version_id: id.clone(), home: home.display().to_string(), rung, by_environment }
        };
        let mut all: Vec<PinInfo> = own.chain(others).map(info).collect();
        all.sort_by(|a, b| (&a.version_id, &a.home).cmp(&(&b.version_id, &b.home)));
        all
    }

    fn rung(&self, pins: &BTreeMap<PathBuf, Pinned>, home: &Path, id: &VersionId) -> Option<Rung> {
        let by_environment = self.is_by_environment(id).then_some(BY_ENVIRONMENT);
        pins.get(home).map(|pinned| pinned.rung).max(by_environment)
    }

    fn replace(
        &self,
        pins: &mut BTreeMap<PathBuf, Pinned>,
        wanted: BTreeMap<PathBuf, Pinned>,
    ) -> Result<(), StoreError> {
        let file = PinsFile { schema_version: SCHEMA_VERSION, pins: wanted };
        write_json(&self.path, &file)?;
        *pins = file.pins;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Pinned>> {
        // Changed by one statement, after the file.
        self.by_calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
