//! One file over one connection at a time, taken up where it broke.

use super::error::{ModelError, is_full};
use super::hosts::{HostedFile, link, not_a_model};
use super::pause;
use super::remote::{BodyError, Identity, Remote as _, WHOLE};
use super::staging::blocking;
use crate::ctx::{Ctx, Task};
use crate::source::http::Retries;
use crate::store::commit::StoreError;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use proto::source::ModelSource;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// Bytes that are written at once; more gains nothing (measured up to 4 MiB).
const BUFFER: usize = 1 << 20;

/// An attempt that got this much further counts as progress, and failures before it no more.
const PROGRESS: u64 = 1 << 20;

/// A download into a file that nobody else knows.
#[derive(Debug)]
pub(super) struct Download<'a> {
    pub(super) remote: &'a HostedFile,
    pub(super) source: &'a ModelSource,
    pub(super) staging: &'a Path,
    pub(super) task: &'a Task,
}

/// How far the download has come.
#[derive(Debug, Default)]
struct State {
    /// Bytes that are in the file.
    received: u64,
    /// The file that the bytes belong to. Without a validator they cannot be taken up.
    identity: Option<Identity>,
}

impl Download<'_> {
    /// Downloads the whole file. A failure that may pass is told to `ctx` and tried again.
    pub(super) async fn run(&self, ctx: &Ctx) -> Result<(), ModelError> {
        let path = self.staging.to_owned();
        let create = move || Ok(File::create_new(&path).map_err(StoreError::at("create", &path))?);
        let file = Arc::new(blocking(create).await?);
        let (mut state, mut retries, mut furthest) = (State::default(), Retries::default(), 0);
        loop {
            let Err(error) = self.attempt(ctx, &file, &mut state).await else { return Ok(()) };
            if state.received >= furthest + PROGRESS {
                furthest = state.received;
                retries.reset();
            }
            pause(ctx, &mut retries, error).await?;
        }
    }

    async fn attempt(&self, ctx: &Ctx, file: &Arc<File>, state: &mut State) -> Result<(), ModelError> {
        let known = state.identity.clone().filter(|file| state.received > 0 && file.validator.is_some());
        let part = if known.is_some() { state.received..u64::MAX } else { WHOLE };
        let opened = match self.remote.open(ctx, part, known.as_ref()).await {
            // Storage hosts refuse valid parts at times (huggingface/xet-core issue 897): the next
            // attempt asks for the whole file, and its answer is the one that counts.
            Err(
                ModelError::Refused { status: 400..500, .. }
                | ModelError::Changed { .. }
                | ModelError::WrongPart { .. },
            ) if known.is_some() => {
                state.identity = None;
                return Err(self.broken(state.received, None));
            }
            opened => opened?,
        };
        if opened.start == 0 {
            self.begin(file, state, opened.identity).await?;
        }
        self.receive(ctx, file, state, opened.body).await
    }

    /// Begins the file anew and reserves its space.
    async fn begin(&self, file: &Arc<File>, state: &mut State, identity: Identity) -> Result<(), ModelError> {
        let (file, path, total) = (file.clone(), self.staging.to_owned(), identity.size);
        *state = State { received: 0, identity: Some(identity) };
        blocking(move || {
            file.set_len(0).map_err(StoreError::at("write", &path))?;
            total.map_or(Ok(()), |total| reserve(&file, &path, total))
        })
        .await
    }

    async fn receive(
        &self,
        ctx: &Ctx,
        file: &Arc<File>,
        state: &mut State,
        mut body: BoxStream<'static, Result<Bytes, BodyError>>,
    ) -> Result<(), ModelError> {
        let total = state.identity.as_ref().and_then(|file| file.size);
        let mut writer = Writer::new(file.clone(), self.staging, state.received);
        let ended = loop {
            let chunk = tokio::select! {
                () = ctx.cancel.cancelled() => return Err(ModelError::Cancelled),
                chunk = body.next() => chunk,
            };
            match chunk {
                Some(Ok(chunk)) => writer.push(&chunk).await?,
                None => break None,
                Some(Err(error)) => break Some(error),
            }
            self.task.set(writer.end(), total);
            if total.is_some_and(|total| writer.end() > total) {
                let reason = "the host sent more than it announced".to_owned();
                return Err(not_a_model(self.source, reason));
            }
        };
        state.received = writer.finish().await?;
        let whole = total.is_none_or(|total| total == state.received);
        if ended.is_none() && whole { Ok(()) } else { Err(self.broken(state.received, ended)) }
    }

    fn broken(&self, received: u64, source: Option<BodyError>) -> ModelError {
        ModelError::Broken { link: link(self.source), received, source }
    }
}

/// Reserves space, so that a full disk shows before gigabytes have travelled. Blocks.
fn reserve(file: &File, path: &Path, total: u64) -> Result<(), ModelError> {
    let available = fs4::available_space(path.parent().unwrap_or(path)).unwrap_or(u64::MAX);
    let no_space = || ModelError::NoSpace { path: path.to_owned(), needed: total, available };
    if total > available {
        return Err(no_space());
    }
    match fs4::FileExt::allocate(file, total) {
        Err(error) if is_full(&error) => Err(no_space()),
        // Not every filesystem can; writing says the rest.
        _ => Ok(()),
    }
}

/// Writes behind the reader's back: one buffer is filled while the other is written.
struct Writer<'a> {
    file: Arc<File>,
    path: &'a Path,
    buffer: Vec<u8>,
    /// Offset of the buffer's first byte.
    at: u64,
    pending: Option<JoinHandle<std::io::Result<()>>>,
}

impl<'a> Writer<'a> {
    fn new(file: Arc<File>, path: &'a Path, at: u64) -> Self {
        Self { file, path, buffer: Vec::with_capacity(BUFFER), at, pending: None }
    }

    /// Offset behind the last byte that was pushed.
    fn end(&self) -> u64 {
        self.at + self.buffer.len() as u64
    }

    async fn push(&mut self, bytes: &[u8]) -> Result<(), ModelError> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), ModelError> {
        self.settle().await?;
        let (file, at) = (self.file.clone(), self.at);
        let buffer = std::mem::replace(&mut self.buffer, Vec::with_capacity(BUFFER));
        self.at += buffer.len() as u64;
        self.pending = Some(tokio::task::spawn_blocking(move || file.write_all_at(&buffer, at)));
        Ok(())
    }

    async fn settle(&mut self) -> Result<(), ModelError> {
        let Some(pending) = self.pending.take() else { return Ok(()) };
        let written = pending.await.map_err(|_| ModelError::Panicked)?;
        Ok(written.map_err(StoreError::at("write", self.path))?)
    }

    async fn finish(mut self) -> Result<u64, ModelError> {
        self.flush().await?;
        self.settle().await?;
        Ok(self.at)
    }
}
