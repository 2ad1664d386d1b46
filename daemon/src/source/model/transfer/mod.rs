//! From any [`Remote`] to a whole file in a claimed directory: over many connections where the host
//! serves parts, resumed after anything, fetched by one process of all that want it.
//!
//! [`claim`] decides whose the transfer is, and its [`journal`] says which bytes are there. The first
//! answer tells the file's size and whether parts can be had; then [`connections`] run side by side,
//! as many as [`pace`] finds useful and [`limits`] allow, each with one [`part`] of the [`parts`] at a time.
//! What arrives is written without copying; a sync in the background makes it durable.
//!
//! Dropping the future at any point stops it: the parts stay, the journal says that nobody fetches, and
//! writes that are under way end by themselves. Each of those writes at most a megabyte of the file's
//! right bytes to their place, so it does no harm to whoever goes on.

mod claim;
mod connections;
mod data;
mod digest;
mod journal;
mod limits;
mod pace;
mod part;
mod parts;
mod ranges;

pub(super) use claim::Claim;
pub(super) use limits::Limits;

use super::error::ModelError;
use super::hosts;
use super::place::blocking;
use super::remote::{Identity, Opened, Remote, WHOLE};
use crate::ctx::{Ctx, Task};
use crate::source::http::{Again, Retries};
use connections::{Download, Mode};
use data::DataFile;
use proto::source::ModelSource;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Bytes that the first request asks for at most. One connection goes on with them while others fetch
/// the rest, and a file of this size needs no other on a fast line.
const FIRST_PART: u64 = 64 << 20;

/// Progress that makes earlier failures count no more, in bytes.
const PROGRESS: u64 = 1 << 20;

/// How often a transfer may start over because the file at the host changed, or arrived damaged.
const RESTARTS: usize = 3;

/// How long a cancelled transfer may take to make its bytes durable.
const LAST_SYNC: Duration = Duration::from_secs(5);

/// How a transfer ended well.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The whole file is here.
    Whole(Whole),
    /// The transfer is another's by now, or may be: this one stands aside.
    Lost,
}

/// A file that has all its bytes, not yet proved and not yet published.
#[derive(Debug)]
pub(super) struct Whole {
    /// The file. It is to be renamed away, or to be left.
    pub(super) path: PathBuf,
    /// What file it is; its size is known by now.
    pub(super) identity: Identity,
    /// Keeps others from fetching the link. To be [finished](Claim::finish) once the file was taken
    /// away, or proved useless, and dropped when all who wait may find it.
    pub(super) claim: Claim,
}

/// What is to be transferred, and within which bounds.
#[derive(Debug)]
pub(super) struct Wanted<'a, R> {
    pub(super) remote: &'a R,
    pub(super) link: &'a ModelSource,
    pub(super) limits: &'a Limits,
}

/// Transfers a file into the claim's directory. `task` should count bytes. Failures that may pass are
/// told to `ctx` and tried again. Cancel-safe.
pub(super) async fn transfer<R: Remote>(
    ctx: &Ctx,
    wanted: Wanted<'_, R>,
    claim: Claim,
    task: &Task,
) -> Result<Outcome, ModelError> {
    task.detail("");
    let Wanted { remote, link, limits } = wanted;
    let transfer = Transfer { ctx, remote, link, limits, task, claim: &claim };
    let result = tokio::select! {
        biased;
        result = transfer.run() => result,
        lost = claim.beat() => lost.map_err(Stop::Failed).and(Err(Stop::Lost)),
    };
    match result {
        Ok(identity) => Ok(Outcome::Whole(Whole { path: claim.data(), identity, claim })),
        Err(Stop::Lost | Stop::Aside) => Ok(Outcome::Lost),
        Err(Stop::Failed(error) | Stop::Again(error)) => Err(error),
    }
}

/// Why a transfer does not go on.
#[derive(Debug)]
enum Stop {
    /// It is another's now.
    Lost,
    /// It stands aside for other work; all that came is written.
    Aside,
    /// A new request may do better.
    Again(ModelError),
    /// It is over.
    Failed(ModelError),
}

/// Errors that nothing was done about yet.
impl From<ModelError> for Stop {
    fn from(error: ModelError) -> Self {
        if error.again() == Again::Never { Self::Failed(error) } else { Self::Again(error) }
    }
}

/// Tells whether the host refuses a part that begins here, where it may give another one or the whole.
/// Storage hosts refuse valid parts at times (huggingface/xet-core issue 897), and what stands between
/// sends pages.
fn is_about_parts(error: &ModelError, start: u64) -> bool {
    match error {
        ModelError::Refused { status: 416, .. } | ModelError::WrongPart { .. } => true,
        ModelError::Refused { status: 400..=499, again: Again::Never, .. } | ModelError::NotAModel { .. } => {
            start > 0
        }
        _ => false,
    }
}

struct Transfer<'a, R> {
    ctx: &'a Ctx,
    remote: &'a R,
    link: &'a ModelSource,
    limits: &'a Limits,
    task: &'a Task,
    claim: &'a Claim,
}

impl<R: Remote> Transfer<'_, R> {
    async fn run(&self) -> Result<Identity, Stop> {
        let (mut retries, mut furthest, mut restarts) = (Retries::default(), 0, 0);
        // Whether the host is known to refuse parts.
        let mut refuses = false;
        loop {
            let error = match self.attempt(&mut refuses).await {
                Err(Stop::Failed(error @ (ModelError::Changed { .. } | ModelError::Damaged { .. })))
                    if restarts < RESTARTS =>
                {
                    restarts += 1;
                    self.ctx.progress.note(format!("{error}; it starts over"));
                    self.claim.journal().start_over(Identity::default());
                    continue;
                }
                Err(Stop::Again(error)) => error,
                ended => return ended,
            };
            let got = self.claim.journal().written.len();
            if got >= furthest + PROGRESS {
                furthest = got;
                retries.reset();
            }
            let asked = error.again().asked();
            let Some(pause) = retries.next(asked) else { return Err(Stop::Failed(error)) };
            self.ctx.progress.note(retries.sentence(pause, &error.in_one_line()));
            self.unless_cancelled(tokio::time::sleep(pause)).await?;
        }
    }

    async fn attempt(&self, refuses: &mut bool) -> Result<Identity, Stop> {
        let (identity, gap) = self.begun().await?;
        let Some(gap) = gap else { return Ok(identity) };
        let line = self.limits.line(&self.remote.host());
        let permit = self.unless_cancelled(line.connection()).await?;
        let asked = if *refuses { WHOLE } else { gap.start..gap.end.min(gap.start + FIRST_PART) };
        let expected = (asked.start > 0 || identity != Identity::default()).then_some(&identity);
        let expected = expected.filter(|_| !*refuses);
        let opened = self.remote.open(self.ctx, asked.clone(), expected).await;
        // Storage hosts refuse valid parts at times (huggingface/xet-core issue 897).
        let opened = match opened {
            Err(error) if !*refuses && is_about_parts(&error, asked.start) => {
                *refuses = true;
                return Err(Stop::Again(error));
            }
            opened => opened?,
        };
        let mode = self.mode(&opened, asked.start).inspect_err(|_| *refuses = true)?;
        let range = match mode {
            Mode::Parts => asked.start..asked.end.min(opened.identity.size.unwrap_or(asked.end)),
            Mode::Stream => 0..opened.identity.size.unwrap_or(u64::MAX),
        };
        let identity = opened.identity.clone();
        let download = self.prepare(line, mode, identity.clone()).await?;
        let result = self.unless_cancelled(download.run(range, opened, permit)).await;
        if result.is_err() && self.ctx.cancel.is_cancelled() {
            download.save(LAST_SYNC).await;
        }
        result??;
        if let Err(damaged) = download.check() {
            self.claim.journal().start_over(Identity::default());
            return Err(Stop::Failed(damaged));
        }
        let size = identity.size.or_else(|| Some(self.claim.journal().written.len()));
        Ok(Identity { size, ..identity })
    }

    /// Returns what file was begun, and its first gap; none when all of it is there.
    async fn begun(&self) -> Result<(Identity, Option<Range<u64>>), Stop> {
        let path = self.claim.data();
        let len = blocking(move || Ok(std::fs::metadata(path).map_or(0, |metadata| metadata.len()))).await?;
        let mut journal = self.claim.journal();
        if !journal.identity.can_be_told() || journal.written.end() > len {
            journal.start_over(Identity::default());
        }
        let gap = journal.written.gaps(journal.identity.size.unwrap_or(u64::MAX)).next();
        Ok((journal.identity.clone(), gap))
    }

    /// Decides what to do with an answer to a request for what begins at `start`.
    fn mode(&self, opened: &Opened, start: u64) -> Result<Mode, Stop> {
        match (opened.is_part, opened.start) {
            (true, at) if at == start && opened.identity.size.is_some() => Ok(Mode::Parts),
            (false, 0) => Ok(Mode::Stream),
            _ => {
                let reason = "the host sent another part than it was asked for";
                Err(Stop::Again(self.broken(Some(reason.into()))))
            }
        }
    }

    /// Opens the file for what is to come. A stream begins it anew.
    async fn prepare(
        &self,
        line: limits::Line,
        mode: Mode,
        identity: Identity,
    ) -> Result<Download<'_, R>, Stop> {
        {
            let mut journal = self.claim.journal();
            if mode == Mode::Stream || !journal.identity.is_same_file(&identity) {
                journal.start_over(Identity::default());
            }
            journal.identity = identity.clone();
        }
        let (path, size) = (self.claim.data(), identity.size);
        let file = blocking(move || DataFile::open(path, size)).await.map_err(Stop::Failed)?;
        self.claim.write_soon(true);
        Ok(Download::new(self, line, mode, identity, Arc::new(file)))
    }

    fn broken(&self, source: Option<super::remote::BodyError>) -> ModelError {
        let received = self.claim.journal().written.len();
        ModelError::Broken { link: hosts::link(self.link), received, source }
    }

    async fn unless_cancelled<T>(&self, work: impl Future<Output = T>) -> Result<T, Stop> {
        tokio::select! {
            biased;
            () = self.ctx.cancel.cancelled() => Err(Stop::Failed(ModelError::Cancelled)),
            result = work => Ok(result),
        }
    }
}
