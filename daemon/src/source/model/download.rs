//! One file over one connection at a time, taken up where it broke.

use super::answer::{self, Accepted};
use super::error::{ModelError, is_full};
use super::pause;
use super::staging::blocking;
use crate::ctx::{Ctx, Task};
use crate::source::http::{Http, Part, Retries};
use crate::store::commit::StoreError;
use proto::source::ModelSource;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use tokio::task::JoinHandle;
use url::Url;

/// Bytes that are written at once; more gains nothing (measured up to 4 MiB).
const BUFFER: usize = 1 << 20;

/// An attempt that got this much further counts as progress, and failures before it no more.
const PROGRESS: u64 = 1 << 20;

/// A download into a file that nobody else knows.
#[derive(Debug)]
pub(super) struct Download<'a> {
    pub(super) http: &'a Http,
    pub(super) source: &'a ModelSource,
    pub(super) url: &'a Url,
    pub(super) staging: &'a Path,
    pub(super) task: &'a Task,
}

/// How far the download has come.
#[derive(Debug, Default)]
struct State {
    /// Bytes that are in the file.
    received: u64,
    /// Size of the whole file, where the host told.
    total: Option<u64>,
    /// ETag of the file that the bytes belong to. Without one they cannot be taken up.
    etag: Option<String>,
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
        let etag = state.etag.clone().filter(|_| state.received > 0);
        let part = etag.as_deref().map(|etag| Part { from: state.received, to: None, etag: Some(etag) });
        let answer = self.http.get(ctx, self.url, part).await?;
        let status = answer.response.status();
        if part.is_some() && status.is_client_error() {
            // Storage hosts refuse valid parts at times (huggingface/xet-core issue 897): the next
            // attempt asks for the whole file, and its answer is the one that counts.
            state.etag = None;
            return Err(self.broken(state.received, None));
        }
        let accepted = answer::accept(self.source, self.http.hosts(), answer).await?;
        let fits =
            accepted.start == state.received && accepted.etag == state.etag && accepted.total == state.total;
        if accepted.start > 0 && !fits {
            state.etag = None;
            return Err(self.broken(state.received, None));
        }
        if accepted.start == 0 {
            self.begin(file, state, &accepted).await?;
        }
        self.receive(ctx, file, state, accepted.response).await
    }

    /// Begins the file anew and reserves its space.
    async fn begin(
        &self,
        file: &Arc<File>,
        state: &mut State,
        accepted: &Accepted,
    ) -> Result<(), ModelError> {
        *state = State { received: 0, total: accepted.total, etag: accepted.etag.clone() };
        let (file, path, total) = (file.clone(), self.staging.to_owned(), accepted.total);
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
        mut response: reqwest::Response,
    ) -> Result<(), ModelError> {
        let mut writer = Writer::new(file.clone(), self.staging, state.received);
        let ended = loop {
            let chunk = tokio::select! {
                () = ctx.cancel.cancelled() => return Err(ModelError::Cancelled),
                chunk = response.chunk() => chunk,
            };
            match chunk {
                Ok(Some(chunk)) => writer.push(&chunk).await?,
                Ok(None) => break None,
                Err(error) => break Some(error.without_url()),
            }
            self.task.set(writer.end(), state.total);
            if state.total.is_some_and(|total| writer.end() > total) {
                let reason = "the host sent more than it announced".to_owned();
                return Err(answer::not_a_model(self.source, reason));
            }
        };
        state.received = writer.finish().await?;
        let whole = state.total.is_none_or(|total| total == state.received);
        if ended.is_none() && whole { Ok(()) } else { Err(self.broken(state.received, ended)) }
    }

    fn broken(&self, received: u64, source: Option<reqwest::Error>) -> ModelError {
        ModelError::Broken { link: answer::link(self.source), received, source }
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
