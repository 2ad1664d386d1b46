//! Trials of the disk that the homes lie on: links, locks, and how fast it is.
//!
//! All of it happens in one directory with a staging name, which goes with [`Trial`]. Every step ends by itself after
//! seconds, or when the call is cancelled, so that nothing stays behind unless the disk itself hangs. Locks between
//! processes, and memory maps as ComfyUI's own, take a second process: a few lines of Python (`probe.py`).

use crate::boot::speed::{Speed, time_files};
use crate::config::Config;
use crate::ctx::{Ctx, blocking};
use crate::process::{Command, run};
use crate::store::commit::{StagingDir, StoreError, replace_file};
use crate::store::flock::{Asked, Flock};
use crate::store::inspect;
use crate::store::places;
use serde::Deserialize;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Bytes of the large file, at most: enough for a network volume to come up to its speed.
const LARGE: u64 = 256 << 20;

/// Bytes that are written before they are synced: so much is under way at once, and so soon a trial ends.
const SYNCED: usize = 16 << 20;

/// Small files that are made, at most.
const SMALL: usize = 200;

/// How long each trial of speed may take.
const STEP: Duration = Duration::from_secs(3);

/// Refusals of a place that is not to be written.
const FORBIDDEN: [io::ErrorKind; 2] = [io::ErrorKind::ReadOnlyFilesystem, io::ErrorKind::PermissionDenied];

/// What the trials showed. What was not tried is absent.
#[derive(Debug, Default)]
pub(super) struct Tried {
    /// Whether hard links, symbolic links and replacing a file worked.
    pub(super) links: Vec<(&'static str, Result<(), StoreError>)>,
    pub(super) locks: Option<Locks>,
    pub(super) write: Option<Rate>,
    pub(super) read: Option<Rate>,
    /// By a memory map, or why there can be none.
    pub(super) mapped: Option<Result<Rate, String>>,
    /// Making one small file, and removing it.
    pub(super) create: Option<Duration>,
    pub(super) remove: Option<Duration>,
    /// Opening one.
    pub(super) open: Option<Speed>,
    /// What ended the trials early.
    pub(super) refused: Option<StoreError>,
}

/// How `flock` behaves between two holders on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Locks {
    /// The second is refused.
    Hold,
    /// Both are granted it.
    Lie,
    /// There is none.
    Unsupported,
}

/// How many bytes took how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    pub(super) bytes: u64,
    pub(super) time: Duration,
}

impl Rate {
    /// Returns bytes a second.
    pub(super) fn per_second(self) -> u64 {
        let micros = self.time.as_micros().max(1);
        u64::try_from(u128::from(self.bytes) * 1_000_000 / micros).unwrap_or(u64::MAX)
    }
}

/// A directory for trials.
struct Trial {
    dir: StagingDir,
    cancel: CancellationToken,
}

/// Tries the disk. `python` is an interpreter for the second process; without one, locks are tried within this
/// process, and memory maps not at all. Ends early when `ctx` is cancelled.
pub(super) async fn look(ctx: &Ctx, config: &Arc<Config>, python: Option<PathBuf>, quick: bool) -> Tried {
    let (trial, config) = (Trial::beside(&config.homes, ctx), Arc::clone(config));
    let local = places::shadows(&config);
    let (trial, mut tried, went) = blocking(move || {
        let mut tried = Tried::default();
        let went = trial.on_disk(&mut tried, &local, quick);
        (trial, tried, went)
    })
    .await;
    match went {
        Ok(()) => trial.beside_another(ctx, &config, python, &mut tried).await,
        // What may not be written is told by `volume`, which knows why.
        Err(error) => tried.refused = Some(error).filter(|error| !FORBIDDEN.contains(&error.source.kind())),
    }
    blocking(move || drop(trial)).await;
    tried
}

impl Trial {
    fn beside(homes: &Path, ctx: &Ctx) -> Self {
        Self { dir: StagingDir::beside(&homes.join("doctor")), cancel: ctx.cancel.clone() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Whether a step that began then has to end.
    fn is_over(&self, began: Instant) -> bool {
        self.cancel.is_cancelled() || began.elapsed() > STEP
    }

    /// Does what one process can. Blocks.
    fn on_disk(&self, tried: &mut Tried, local: &Path, quick: bool) -> Result<(), StoreError> {
        let dir = self.dir.path();
        std::fs::create_dir(dir).map_err(StoreError::at("create the directory", dir))?;
        tried.links = self.links();
        if quick {
            return Ok(());
        }
        let free = inspect::space(dir)?.available_bytes;
        let large = self.path("large");
        // What is tried must not be what fills a disk.
        let most = LARGE.min(free / 16);
        tried.write = self.write(&large, most).map_err(StoreError::at("write", &large))?;
        tried.read = self.read(&large).map_err(StoreError::at("read", &large))?;
        let files = self.path("files");
        std::fs::create_dir(&files).map_err(StoreError::at("create the directory", &files))?;
        self.small(&files, local, tried)
    }

    fn links(&self) -> Vec<(&'static str, Result<(), StoreError>)> {
        let file = self.path("file");
        let hard = || {
            replace_file(&file, b"old", false)?;
            let second = self.path("hard");
            std::fs::hard_link(&file, &second).map_err(StoreError::at("link", &second))
        };
        let symbolic = || {
            let link = self.path("symbolic");
            std::os::unix::fs::symlink("file", &link).map_err(StoreError::at("link", &link))
        };
        let replace = || {
            replace_file(&file, b"new", true)?;
            let found = std::fs::read(&file).map_err(StoreError::at("read", &file))?;
            let is_new = found == b"new" && std::fs::metadata(&file).is_ok_and(|file| file.nlink() == 1);
            let stale = || io::Error::other("the old file is still read");
            if is_new { Ok(()) } else { Err(StoreError::at("replace", &file)(stale())) }
        };
        vec![("hard links", hard()), ("symbolic links", symbolic()), ("replacing a file", replace())]
    }

    /// Writes at most so many bytes in one file. None where that is too little to say something.
    fn write(&self, path: &Path, most: u64) -> io::Result<Option<Rate>> {
        let mut block = noise(SYNCED);
        let (mut file, began, mut bytes) = (File::create_new(path)?, Instant::now(), 0);
        while bytes + SYNCED as u64 <= most && !self.is_over(began) {
            // Each block differs from the one before, for disks that store equal ones once.
            block[..8].copy_from_slice(&bytes.to_le_bytes());
            file.write_all(&block)?;
            file.sync_data()?;
            bytes += SYNCED as u64;
        }
        Ok((bytes > 0).then(|| Rate { bytes, time: began.elapsed() }))
    }

    /// Reads what was written, after the page cache was told to forget it.
    fn read(&self, path: &Path) -> io::Result<Option<Rate>> {
        let mut file = File::open(path)?;
        let forget = nix::fcntl::PosixFadviseAdvice::POSIX_FADV_DONTNEED;
        nix::fcntl::posix_fadvise(&file, 0, 0, forget)?;
        let mut block = vec![0; 1 << 20];
        let (began, mut bytes) = (Instant::now(), 0);
        while !self.is_over(began) {
            match file.read(&mut block)? {
                0 => break,
                read => bytes += read as u64,
            }
        }
        Ok((bytes > 0).then(|| Rate { bytes, time: began.elapsed() }))
    }

    /// Makes small files, opens some, and removes them.
    fn small(&self, dir: &Path, local: &Path, tried: &mut Tried) -> Result<(), StoreError> {
        let mut made = Vec::new();
        let began = Instant::now();
        while made.len() < SMALL && !self.is_over(began) {
            let path = dir.join(made.len().to_string());
            std::fs::write(&path, [1; 4096]).map_err(StoreError::at("write", &path))?;
            made.push(path);
        }
        let each = |time: Duration, made: &[PathBuf]| time.checked_div(u32::try_from(made.len()).ok()?);
        tried.create = each(began.elapsed(), &made);
        tried.open = time_files(&made, local)?;
        let began = Instant::now();
        for path in &made {
            std::fs::remove_file(path).map_err(StoreError::at("remove", path))?;
        }
        tried.remove = each(began.elapsed(), &made);
        Ok(())
    }

    /// Does what takes a second holder of a lock, and a second process.
    async fn beside_another(&self, ctx: &Ctx, config: &Config, python: Option<PathBuf>, tried: &mut Tried) {
        let lock = self.path("lock");
        let asked = blocking({
            let lock = lock.clone();
            move || Flock::ask(&lock)
        });
        let _held = match asked.await {
            Ok(Asked::Granted(held)) => held,
            Ok(Asked::Refused | Asked::Unsupported) => {
                tried.locks = Some(Locks::Unsupported);
                return;
            }
            Err(error) => {
                tried.refused = Some(error);
                return;
            }
        };
        let said = match python {
            Some(python) => self.probe(ctx, config, &python, tried.read.is_some()).await,
            None => None,
        };
        if let Some(said) = said {
            tried.mapped = said.mapped();
            tried.locks = Some(if said.flock { Locks::Lie } else { Locks::Hold });
        } else {
            let second = blocking(move || Flock::ask(&lock)).await;
            tried.locks =
                Some(if matches!(second, Ok(Asked::Granted(_))) { Locks::Lie } else { Locks::Hold });
        }
    }

    /// Runs the second process; none where it fails.
    async fn probe(&self, ctx: &Ctx, config: &Config, python: &Path, map: bool) -> Option<Said> {
        let command = Command::new(python, config.child_env.clone())
            .args(["-I", "-S", "-c", include_str!("probe.py")])
            .arg(self.path("lock"))
            .arg(if map { self.path("large").into_os_string() } else { "".into() })
            .arg(STEP.as_secs().to_string());
        let finished = run(ctx, &command, |line| tracing::debug!(line, "the probe says")).await.ok()?;
        serde_json::from_str(&finished.stdout).ok()
    }
}

/// What `probe.py` says.
#[derive(Debug, Deserialize)]
struct Said {
    /// Whether it was granted the lock that is held here.
    flock: bool,
    #[serde(default)]
    mapped_bytes: u64,
    #[serde(default)]
    mapped_us: u64,
    /// Why it could not map the file.
    #[serde(default)]
    error: Option<String>,
}

impl Said {
    fn mapped(&self) -> Option<Result<Rate, String>> {
        if let Some(error) = &self.error {
            return Some(Err(error.clone()));
        }
        let rate = Rate { bytes: self.mapped_bytes, time: Duration::from_micros(self.mapped_us) };
        (rate.bytes > 0).then_some(Ok(rate))
    }
}

/// Returns bytes that no disk can make smaller (xorshift64).
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.take(length.div_ceil(8)).flatten().take(length).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn config(dir: &Path) -> Arc<Config> {
        let place = |name: &str| {
            let place = dir.join(name);
            std::fs::create_dir_all(&place).unwrap();
            place.display().to_string()
        };
        let vars =
            [("HOME", "home"), ("COMFY_VOLUME", "vol")].map(|(name, dir)| (name.to_owned(), place(dir)));
        Arc::new(Config::from_vars(&BTreeMap::from(vars)).unwrap())
    }

    fn left(config: &Config) -> usize {
        std::fs::read_dir(&config.homes).unwrap().count()
    }

    #[tokio::test]
    async fn a_disk_is_tried_and_nothing_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let tried = look(&Ctx::new(), &config, Some(support::python_path()), false).await;
        assert!(tried.refused.is_none(), "{tried:?}");
        assert!(tried.links.iter().all(|(_, worked)| worked.is_ok()), "{tried:?}");
        assert_eq!(tried.locks, Some(Locks::Hold));
        assert!(tried.read.unwrap().bytes <= tried.write.unwrap().bytes);
        assert!(tried.mapped.as_ref().unwrap().as_ref().unwrap().bytes > 0, "{tried:?}");
        assert!(tried.create.is_some() && tried.remove.is_some() && tried.open.is_some(), "{tried:?}");
        assert_eq!(left(&config), 0);
    }

    #[tokio::test]
    async fn the_quick_trial_measures_nothing_and_needs_no_python() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let tried = look(&Ctx::new(), &config, None, true).await;
        assert_eq!((tried.links.len(), tried.locks), (3, Some(Locks::Hold)));
        assert!(tried.write.is_none() && tried.create.is_none() && tried.mapped.is_none());
        assert_eq!(left(&config), 0);
    }

    #[tokio::test]
    async fn who_cancels_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let ctx = Ctx::new();
        ctx.cancel.cancel();
        let tried = look(&ctx, &config, None, false).await;
        assert!(tried.write.is_none() && tried.create.is_none(), "{tried:?}");
        assert_eq!(left(&config), 0);
        let ctx = Ctx::new();
        let trying = look(&ctx, &config, None, false);
        // In the middle of it, or when it is over: in either case nothing may be left.
        let cancelling = async {
            while left(&config) == 0 && !ctx.cancel.is_cancelled() {
                tokio::task::yield_now().await;
            }
            ctx.cancel.cancel();
        };
        let ((), ended) = tokio::join!(cancelling, async {
            let tried = trying.await;
            ctx.cancel.cancel();
            tried
        });
        assert_eq!((left(&config), ended.refused.is_none()), (0, true), "{ended:?}");
    }

    #[tokio::test]
    async fn a_place_that_refuses_is_told_with_the_place() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::clone(&config(dir.path()));
        config.homes = dir.path().join("not/there");
        let tried = look(&Ctx::new(), &Arc::new(config), None, true).await;
        assert_eq!(tried.refused.unwrap().attempt, "create the directory");
    }
}
