//! What a start of ComfyUI opens and imports, kept with its generation so that the next start is quick.
//!
//! ```text
//! first start ─ recorder ─▶ start.json ─ idle: pack ─▶ start.image ─ next start ─▶ local shadow
//! ```
//!
//! The first start of a generation is recorded (`record`, `touched`). While nobody asks for anything, what it
//! read is packed into one file beside the generation (`layout`, `image`, `pack`). Where the volume is far away
//! (`speed`), a later start is made from a copy of that on the local disk, with links to the volume for the rest
//! (`shadow`), and large libraries are read ahead while it begins (`ahead`).
//!
//! All of it is a cache, and nothing of it is trusted: whatever is absent, torn, of another start or not what the
//! volume holds any more (`fresh`) means a start from the generation's real path, never an error.

mod ahead;
mod fresh;
mod image;
mod layout;
mod pack;
mod parallel;
mod record;
mod recorder;
mod running;
mod shadow;
pub mod speed;
mod touched;

pub use record::{Distrust, OpenedFile, Part, StartRecord};
pub use recorder::{Recording, keep_script};
pub use touched::Touched;

use crate::config::Config;
use crate::ctx::{Ctx, blocking};
use crate::store::commit::StoreError;
use crate::store::places::{self, generation::START_IMAGE};
use crate::store::uses::Use;
use ahead::Wanted;
use image::{Image, Link};
use layout::Layout;
use shadow::{NoShadow, Shadows};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A shadow that was handed out is used for so long, whether a process runs from it yet or not.
const HANDED: Duration = Duration::from_secs(600);

/// Knows from where starts are quick. Cheap to clone. The default one knows of no local disk: all starts are
/// from where generations lie.
#[derive(Debug, Clone, Default)]
pub struct Boot {
    shared: Option<Arc<Shared>>,
}

#[derive(Debug)]
struct Shared {
    shadows: Shadows,
    /// What was measured of mounts.
    speeds: PathBuf,
    /// Held while a shadow is made: two at once would take the disk from each other.
    making: Arc<tokio::sync::Mutex<()>>,
    /// Held while files are read ahead: what is asked for first comes first.
    reading: tokio::sync::Mutex<()>,
    handed: Mutex<BTreeMap<PathBuf, (Instant, Option<Use>)>>,
    tasks: TaskTracker,
    ending: CancellationToken,
}

/// What packing the files of a start came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packed {
    /// They are packed now.
    Written {
        /// Bytes of the image.
        bytes: u64,
    },
    /// They were already.
    Current,
    /// Nothing would be gained, for this reason.
    NotNeeded(&'static str),
    /// Not yet possible, for this reason.
    NotYet(&'static str),
}

impl Boot {
    /// Returns what starts from the configured places.
    pub fn new(config: &Config) -> Self {
        let shared = Shared {
            shadows: Shadows::new(places::shadows(config), config.shadow_budget),
            speeds: config.state_dir.join("mounts.json"),
            making: Arc::default(),
            reading: tokio::sync::Mutex::default(),
            handed: Mutex::default(),
            tasks: TaskTracker::new(),
            ending: CancellationToken::new(),
        };
        Self { shared: (config.shadow_budget > 0).then(|| Arc::new(shared)) }
    }

    /// Returns the tree that a generation is to be started from: its real path, or a local shadow of it where
    /// the volume is far away. Makes the shadow if there is none yet, which takes seconds. Never fails: without a
    /// shadow it is the real path. Cancel-safe.
    pub async fn tree(&self, generation_dir: &Path) -> PathBuf {
        let Some(shared) = self.shared.clone() else { return generation_dir.to_owned() };
        let dir = generation_dir.to_owned();
        let Ok(Some(image)) = spawn_blocking(move || shared.image(&dir)).await else {
            return generation_dir.to_owned();
        };
        let shared = self.shared.clone();
        self.read_large_ahead(&image, generation_dir);
        let dir = generation_dir.to_owned();
        let made = async {
            let shared = shared?;
            let one = Arc::clone(&shared.making).lock_owned().await;
            let made = spawn_blocking(move || {
                let made = shared.shadow(&image, &dir);
                drop(one);
                made
            });
            made.await.ok().flatten()
        };
        made.await.unwrap_or_else(|| generation_dir.to_owned())
    }

    /// Packs what a recorded start of the generation read, for machines to which its volume is far away; nothing
    /// where the volume is near or the pack is current. Stands aside for foreground work between two pieces.
    /// Cancel-safe.
    ///
    /// # Errors
    /// When the volume refuses.
    pub async fn pack(&self, ctx: &Ctx, generation_dir: &Path) -> Result<Packed, StoreError> {
        let Some(shared) = self.shared.clone() else {
            return Ok(Packed::NotNeeded("shadows are switched off"));
        };
        let dir = generation_dir.to_owned();
        let prepared = blocking(move || {
            let dir = dir.canonicalize().map_err(StoreError::at("follow", &dir))?;
            shared.prepare(&dir).map(|prepared| (dir, prepared))
        });
        match prepared.await? {
            (dir, Ok((record, layout))) => pack::pack(ctx, &dir, &record, layout).await,
            (_, Err(unneeded)) => Ok(unneeded),
        }
    }

    /// Reads files into the page cache, in this order and many pieces at once, within half of the memory that is
    /// available. Returns the bytes read. What cannot be read is passed over. Stands aside for foreground work.
    /// Cancel-safe.
    pub async fn read_ahead(&self, ctx: &Ctx, files: Vec<PathBuf>) -> u64 {
        let most = ahead::half_of_memory();
        ahead::read(ctx, files.into_iter().map(Wanted::whole).collect(), most).await
    }

    /// Reads what a recorded start of the generation reads, as [`Self::read_ahead`] does; of large libraries the
    /// parts that it touched.
    pub async fn read_start_ahead(&self, ctx: &Ctx, generation_dir: &Path) -> u64 {
        let dir = generation_dir.to_owned();
        let wanted = spawn_blocking(move || {
            let record = StartRecord::read(&dir)?;
            let parts = |file: &OpenedFile| record.parts(&file.path, file.mapped);
            let wanted = |file: &OpenedFile| Wanted { path: dir.join(&file.path), parts: parts(file) };
            Some(record.files.iter().map(wanted).collect())
        });
        let wanted = wanted.await.ok().flatten().unwrap_or_default();
        ahead::read(ctx, wanted, ahead::half_of_memory()).await
    }

    /// Begins to read models into the page cache, in this order, where their volume is known to be far away: a
    /// ComfyUI that starts needs them soon, and reads one piece after the other. They come behind what a start of it
    /// reads. Returns at once.
    pub fn read_models_ahead(&self, models: Vec<PathBuf>) {
        let Some(shared) = self.shared.clone() else { return };
        self.read_behind("models", move || {
            let far = models.into_iter().filter(|model| shared.known_far(model) == Some(true));
            far.map(Wanted::whole).collect()
        });
    }

    /// Removes what earlier daemons left of shadows that nobody will use. Best effort. Blocks.
    pub fn tidy(&self) {
        if let Some(shared) = &self.shared {
            shared.shadows.tidy();
        }
    }

    /// Ends what goes on in the background, and returns when it has ended.
    pub async fn shutdown(&self) {
        if let Some(shared) = &self.shared {
            shared.ending.cancel();
            shared.tasks.close();
            shared.tasks.wait().await;
        }
    }

    /// Begins to read the large files of a start, which goes on while ComfyUI does other things.
    fn read_large_ahead(&self, image: &Image, generation_dir: &Path) {
        let large = image.index.large.iter();
        let wanted =
            large.map(|large| Wanted { path: generation_dir.join(&large.path), parts: large.parts.clone() });
        let wanted: Vec<_> = wanted.collect();
        self.read_behind("libraries", || wanted);
    }

    /// Reads ahead in the background, behind what is being read ahead already. `wanted` may block.
    fn read_behind(&self, what: &'static str, wanted: impl FnOnce() -> Vec<Wanted> + Send + 'static) {
        let Some(shared) = self.shared.clone() else { return };
        let tasks = shared.tasks.clone();
        tasks.spawn(async move {
            let _turn = shared.reading.lock().await;
            let asked = spawn_blocking(|| (wanted(), ahead::half_of_memory()));
            let (wanted, most) = asked.await.unwrap_or_default();
            if wanted.is_empty() {
                return;
            }
            let ctx = Ctx { cancel: shared.ending.child_token(), ..Ctx::new() };
            let began = Instant::now();
            let bytes = ahead::read(&ctx, wanted, most).await;
            tracing::info!(bytes, seconds = began.elapsed().as_secs_f32(), "read {what} ahead");
        });
    }
}

impl Shared {
    /// Returns the image of a generation whose volume is far away. Blocks: where the volume is near, for two looks.
    fn image(&self, dir: &Path) -> Option<Image> {
        let is_far = self.known_far(dir);
        if is_far == Some(false) {
            return None;
        }
        let image = Image::open(&dir.join(START_IMAGE))
            .inspect_err(|error| tracing::warn!(%error, "starting from the volume itself"));
        let image = image.ok().flatten()?;
        if dir.file_name().is_none_or(|name| name.to_str() != Some(&image.index.generation)) {
            tracing::warn!(dir = %dir.display(), "starting from the volume itself: the image is of another generation");
            return None;
        }
        is_far.unwrap_or_else(|| self.measure(dir, &image.index.links)).then_some(image)
    }

    /// Returns the shadow of a generation by its image. Blocks.
    fn shadow(&self, image: &Image, dir: &Path) -> Option<PathBuf> {
        let began = Instant::now();
        // Side by side: one waits for the volume, the other for a core.
        let (made, fresh) = std::thread::scope(|scope| {
            let fresh = scope.spawn(|| fresh::check(&image.index, dir));
            (self.shadows.of(image, dir), fresh.join().unwrap_or_else(|_| Err(dir.to_owned())))
        });
        match fresh.map_err(NoShadow::Stale).and(made) {
            Ok((place, own_use)) => {
                let seconds = began.elapsed().as_secs_f32();
                tracing::info!(shadow = %place.display(), seconds, "starting from a local copy");
                let mut handed = self.handed.lock().unwrap_or_else(PoisonError::into_inner);
                handed.retain(|place, (since, _)| since.elapsed() < HANDED || running::is_run(place));
                handed.insert(place.clone(), (Instant::now(), own_use));
                Some(place)
            }
            Err(error) => {
                tracing::warn!(%error, "starting from the volume itself");
                None
            }
        }
    }

    /// Returns what is to be packed, or why nothing is. Blocks.
    fn prepare(&self, dir: &Path) -> Result<Result<(StartRecord, Layout), Packed>, StoreError> {
        let is_far = self.known_far(dir);
        if is_far == Some(false) {
            return Ok(Err(Packed::NotNeeded("its volume is near")));
        }
        let Some(record) = StartRecord::read(dir) else {
            return Ok(Err(Packed::NotYet("no start of it was recorded yet")));
        };
        if pack::is_current(dir, &record) {
            return Ok(Err(Packed::Current));
        }
        let layout = Layout::of(&record, dir)?;
        let is_far = is_far.unwrap_or_else(|| self.measure(dir, &layout.links));
        Ok(if is_far { Ok((record, layout)) } else { Err(Packed::NotNeeded("its volume is near")) })
    }

    /// Tells whether the volume of a generation is far away, where that is known without a measurement.
    fn known_far(&self, dir: &Path) -> Option<bool> {
        let local = self.shadows.dir().ancestors().find_map(|dir| dir.metadata().ok());
        let is_same = dir.metadata().ok().zip(local).is_none_or(|(dir, local)| dir.dev() == local.dev());
        if is_same { Some(false) } else { speed::known(&self.speeds, dir).map(speed::Speed::is_far) }
    }

    /// Measures how far away the volume of a generation is, by files that no start has read.
    fn measure(&self, dir: &Path, links: &[Link]) -> bool {
        let untouched = links.iter().filter(|link| link.target.is_none());
        let untouched: Vec<_> = untouched.map(|link| dir.join(&link.path)).collect();
        let measured = speed::measure(&self.speeds, dir, &untouched, self.shadows.dir());
        let measured = measured.inspect_err(|error| tracing::warn!(%error, "a volume is not measured"));
        measured.ok().flatten().is_some_and(speed::Speed::is_far)
    }
}
