//! One client: reads its lines, runs its calls side by side, writes the answers.
//!
//! A call is a task with a cancellation of its own, and counts until its answer is written. Progress is sent
//! at a bounded rate. A client that hangs up cancels its calls and ends its claims; so does one that closes
//! its sending half, for the two look alike.

use super::answers::{self, Answers};
use super::bounds::{Bounds, Held};
use super::leases::Leases;
use super::lines::{LineError, Lines};
use super::methods;
use crate::ctx::Ctx;
use crate::daemon::Daemon;
use interprocess::local_socket::tokio::Stream;
use proto::ErrorKind;
use proto::event::{PROGRESS, ProgressEvent};
use proto::rpc::{CANCEL, CancelParams, Message, RequestId, RpcError};
use serde_json::value::RawValue;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::AsyncRead;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Calls of one client at the same time.
const MAX_CALLS: usize = 64;

/// A call that is over sooner has no progress to tell.
const FIRST_PROGRESS: Duration = Duration::from_millis(20);

/// Time between two progress notifications of a call.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// How long a client that does not read may keep its connection once everything is said.
const FLUSH: Duration = Duration::from_secs(5);

/// Calls under way, by id.
type Calls = Arc<Mutex<HashMap<RequestId, CancellationToken>>>;

/// Serves one client until it hangs up or `work` is cancelled and the last answer is told. `is_owner` tells whether it
/// is of the daemon's own user, or root.
pub(super) async fn serve(
    daemon: Arc<Daemon>,
    bounds: Arc<Bounds>,
    (stream, is_owner): (Stream, bool),
    work: CancellationToken,
) {
    let mut lines = Lines::new(&stream, Arc::clone(&bounds));
    let (answers, queue) = answers::channel(Arc::clone(&bounds));
    // Cancelled when the client hangs up: nobody wants the answers.
    let hang_up = work.child_token();
    let client = Client {
        daemon,
        is_owner,
        bounds,
        answers,
        leases: Arc::default(),
        calls: Calls::default(),
        room: Arc::new(Semaphore::new(MAX_CALLS)),
        tasks: TaskTracker::new(),
        work: hang_up.clone(),
    };
    let mut writer = std::pin::pin!(queue.write_to(&stream));
    let mut is_deaf = tokio::select! {
        () = &mut writer => true,
        () = work.cancelled() => false,
        () = client.read(&mut lines) => false,
    };
    // What it wrote beyond this is nobody's.
    drop(lines);
    if !work.is_cancelled() {
        hang_up.cancel();
    }
    let Client { tasks, answers, leases, .. } = client;
    leases.close();
    // The writer ends when the last call has given its answer.
    drop(answers);
    tasks.close();
    loop {
        tokio::select! {
            () = tasks.wait() => break,
            () = &mut writer, if !is_deaf => is_deaf = true,
        }
    }
    if !is_deaf {
        tokio::time::timeout(FLUSH, writer).await.ok();
    }
}

struct Client {
    daemon: Arc<Daemon>,
    is_owner: bool,
    bounds: Arc<Bounds>,
    answers: Answers,
    leases: Arc<Leases>,
    calls: Calls,
    /// What is left of [`MAX_CALLS`].
    room: Arc<Semaphore>,
    tasks: TaskTracker,
    work: CancellationToken,
}

/// A call that was taken in: what it keeps from others while it is under way.
struct Taken {
    cancel: CancellationToken,
    /// Kept until the answer is written.
    until_read: Vec<OwnedSemaphorePermit>,
    /// Kept until there is an answer.
    params: Held,
}

impl Client {
    async fn read<R: AsyncRead + Unpin>(&self, lines: &mut Lines<R>) {
        loop {
            match lines.next().await {
                Ok(Some(line)) if line.trim_ascii().is_empty() => (),
                Ok(Some(line)) => self.accept(&line).await,
                Ok(None) | Err(LineError::Io(_)) => return,
                Err(error) => {
                    let kind = match error {
                        LineError::Late(_) => ErrorKind::Timeout,
                        LineError::Crowded => ErrorKind::Busy,
                        _ => ErrorKind::Protocol,
                    };
                    return self.refuse(None, kind.code(), error.to_string()).await;
                }
            }
        }
    }

    async fn accept(&self, line: &[u8]) {
        let message = match Message::read(line) {
            Ok(message) => message,
            Err(error) => return self.refuse(None, error.code(), error.to_string()).await,
        };
        match (message.method, message.id) {
            (Some(method), None) if method == CANCEL => self.cancel(message.params.as_deref()),
            // Unknown notifications are ignored, as JSON-RPC asks.
            (Some(_), None) => (),
            (Some(method), Some(id)) => self.call(id, method, message.params).await,
            (None, id) => {
                self.refuse(id, ErrorKind::Protocol.code(), "a message without a method".to_owned()).await;
            }
        }
    }

    fn cancel(&self, params: Option<&RawValue>) {
        let params = params.and_then(|params| serde_json::from_str::<CancelParams>(params.get()).ok());
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(call) = params.and_then(|params| calls.get(&params.id)) {
            call.cancel();
        }
    }

    async fn call(&self, id: RequestId, method: String, params: Option<Box<RawValue>>) {
        let bytes = params.as_ref().map_or(0, |params| params.get().len());
        let taken = match self.register(&id, method.len() + bytes) {
            Ok(taken) => taken,
            Err((kind, text)) => return self.refuse(Some(id), kind.code(), text.to_owned()).await,
        };
        let (daemon, leases) = (Arc::clone(&self.daemon), Arc::clone(&self.leases));
        let (answers, calls) = (self.answers.clone(), Arc::clone(&self.calls));
        let is_owner = self.is_owner;
        self.tasks.spawn(async move {
            let ctx = Ctx { cancel: taken.cancel, ..Ctx::new() };
            let client = methods::Client { daemon: &daemon, leases: &leases, is_owner };
            // It has as much room as the largest of all calls needs.
            let answering = Box::pin(methods::call(&client, &ctx, &method, params.as_deref()));
            let answer = tell_progress(&ctx, &id, &answers, answering).await;
            drop((params, taken.params));
            calls.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
            let message = match answer {
                Ok(result) => Message::success(id, result),
                Err(error) => Message::failure(Some(id), error),
            };
            answers.send(message, taken.until_read).await;
        });
    }

    /// Takes a call in, or says why not.
    fn register(&self, id: &RequestId, bytes: usize) -> Result<Taken, (ErrorKind, &'static str)> {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        if calls.contains_key(id) {
            return Err((ErrorKind::Protocol, "the id of this call is in use"));
        }
        let is_only_one = self.room.available_permits() == MAX_CALLS;
        let own = Arc::clone(&self.room).try_acquire_owned();
        let own = own.map_err(|_| (ErrorKind::Busy, "too many calls at once on this connection"))?;
        let shared = if is_only_one { None } else { Some(self.bounds.call()) };
        let shared =
            shared.map(|shared| shared.ok_or((ErrorKind::Busy, "too many calls at once"))).transpose()?;
        let params = self.bounds.hold(bytes);
        let params = params.map_err(|_| (ErrorKind::Busy, "too many calls with long parameters at once"))?;
        let cancel = self.work.child_token();
        calls.insert(id.clone(), cancel.clone());
        Ok(Taken { cancel, until_read: std::iter::once(own).chain(shared).collect(), params })
    }

    async fn refuse(&self, id: Option<RequestId>, code: i64, message: String) {
        self.answers.send(Message::failure(id, RpcError { code, message, data: None }), vec![]).await;
    }
}

/// Drives a call and tells the client how it goes.
async fn tell_progress<T>(ctx: &Ctx, id: &RequestId, answers: &Answers, call: impl Future<Output = T>) -> T {
    let mut states = ctx.progress.subscribe();
    let mut call = std::pin::pin!(call);
    if let Ok(answer) = tokio::time::timeout(FIRST_PROGRESS, &mut call).await {
        return answer;
    }
    loop {
        tokio::select! {
            biased;
            answer = &mut call => return answer,
            Ok(()) = states.changed() => (),
        }
        let state = states.borrow_and_update().clone();
        if let Ok(message) = Message::notification(PROGRESS, &ProgressEvent { id: id.clone(), state }) {
            answers.progress(&message);
        }
        tokio::select! {
            biased;
            answer = &mut call => return answer,
            () = tokio::time::sleep(PROGRESS_INTERVAL) => (),
        }
    }
}
