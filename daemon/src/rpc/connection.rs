//! One client: reads its lines, runs its calls side by side, writes the answers.
//!
//! A call is a task with a cancellation of its own. Progress is sent at a bounded rate and dropped when
//! the client is slow, for the next one says it all again; answers are never dropped. A client that
//! hangs up cancels its calls and ends its claims.

use super::leases::Leases;
use super::methods;
use crate::ctx::Ctx;
use crate::daemon::Daemon;
use futures_util::{SinkExt as _, StreamExt as _};
use interprocess::local_socket::tokio::Stream;
use proto::error::PARSE_ERROR;
use proto::event::{PROGRESS, ProgressEvent};
use proto::rpc::{CANCEL, CancelParams, Message, RequestId, RpcError};
use proto::{ErrorKind, MAX_FRAME_BYTES};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::codec::{Framed, LinesCodec, LinesCodecError};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Answers that may wait for a slow client; beyond it, its calls wait.
const QUEUE: usize = 256;

/// Calls of one client at the same time.
const MAX_CALLS: usize = 64;

/// Time between two progress notifications of a call.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// How long a client that does not read may keep its connection once everything is said.
const FLUSH: Duration = Duration::from_secs(5);

/// Calls under way, by id.
type Calls = Arc<Mutex<HashMap<RequestId, CancellationToken>>>;

/// Serves one client until it hangs up or `work` is cancelled and the last answer is told.
pub(super) async fn serve(daemon: Arc<Daemon>, stream: Stream, work: CancellationToken) {
    let (mut sink, mut lines) = Framed::new(stream, LinesCodec::new_with_max_length(MAX_FRAME_BYTES)).split();
    let (answers, mut queue) = mpsc::channel::<Message>(QUEUE);
    let writer = async move {
        while let Some(message) = queue.recv().await {
            // A message is made of our own types, which all have a JSON form.
            let line = serde_json::to_string(&message).unwrap_or_default();
            if sink.send(line).await.is_err() {
                return;
            }
        }
    };
    // Cancelled when the client hangs up: nobody wants the answers.
    let hang_up = work.child_token();
    let client = Client {
        daemon,
        answers,
        leases: Arc::default(),
        calls: Calls::default(),
        tasks: TaskTracker::new(),
        work: hang_up.clone(),
    };
    let mut writer = std::pin::pin!(writer);
    let mut is_deaf = tokio::select! {
        () = &mut writer => true,
        () = client.read(&mut lines, &work) => false,
    };
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
    answers: mpsc::Sender<Message>,
    leases: Arc<Leases>,
    calls: Calls,
    tasks: TaskTracker,
    work: CancellationToken,
}

impl Client {
    async fn read<S>(&self, lines: &mut S, work: &CancellationToken)
    where
        S: futures_util::Stream<Item = Result<String, LinesCodecError>> + Unpin,
    {
        loop {
            let line = tokio::select! {
                () = work.cancelled() => return,
                line = lines.next() => line,
            };
            match line {
                Some(Ok(line)) if line.trim().is_empty() => (),
                Some(Ok(line)) => self.accept(&line).await,
                Some(Err(LinesCodecError::MaxLineLengthExceeded)) => {
                    // The codec cannot find the next line reliably after this.
                    let text = format!("a line is longer than {MAX_FRAME_BYTES} bytes");
                    return self.refuse(None, ErrorKind::Protocol.code(), text).await;
                }
                Some(Err(LinesCodecError::Io(_))) | None => return,
            }
        }
    }

    async fn accept(&self, line: &str) {
        let message: Message = match serde_json::from_str(line) {
            Ok(message) => message,
            Err(error) => {
                return self.refuse(None, PARSE_ERROR, format!("not a JSON-RPC message: {error}")).await;
            }
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

    fn cancel(&self, params: Option<&serde_json::value::RawValue>) {
        let params = params.and_then(|params| serde_json::from_str::<CancelParams>(params.get()).ok());
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(call) = params.and_then(|params| calls.get(&params.id)) {
            call.cancel();
        }
    }

    async fn call(&self, id: RequestId, method: String, params: Option<Box<serde_json::value::RawValue>>) {
        let cancel = match self.register(&id) {
            Ok(cancel) => cancel,
            Err(text) => return self.refuse(Some(id), ErrorKind::Protocol.code(), text.to_owned()).await,
        };
        let (daemon, leases) = (Arc::clone(&self.daemon), Arc::clone(&self.leases));
        let (answers, calls) = (self.answers.clone(), Arc::clone(&self.calls));
        self.tasks.spawn(async move {
            let ctx = Ctx { cancel, ..Ctx::new() };
            let client = methods::Client { daemon: &daemon, leases: &leases };
            let answering = methods::call(&client, &ctx, &method, params.as_deref());
            let answer = tell_progress(&ctx, &id, &answers, answering).await;
            calls.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
            let message = match answer {
                Ok(result) => Message::success(id, result),
                Err(error) => Message::failure(Some(id), error),
            };
            // Fails when the client has hung up.
            answers.send(message).await.ok();
        });
    }

    /// Takes a call in, or says why not.
    fn register(&self, id: &RequestId) -> Result<CancellationToken, &'static str> {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        if calls.contains_key(id) {
            return Err("the id of this call is in use");
        }
        if calls.len() >= MAX_CALLS {
            return Err("too many calls at once");
        }
        let cancel = self.work.child_token();
        calls.insert(id.clone(), cancel.clone());
        Ok(cancel)
    }

    async fn refuse(&self, id: Option<RequestId>, code: i64, message: String) {
        self.answers.send(Message::failure(id, RpcError { code, message, data: None })).await.ok();
    }
}

/// Drives a call and tells the client how it goes.
async fn tell_progress<T>(
    ctx: &Ctx,
    id: &RequestId,
    answers: &mpsc::Sender<Message>,
    call: impl Future<Output = T>,
) -> T {
    let mut states = ctx.progress.subscribe();
    let mut call = std::pin::pin!(call);
    loop {
        tokio::select! {
            biased;
            answer = &mut call => return answer,
            Ok(()) = states.changed() => (),
        }
        let state = states.borrow_and_update().clone();
        if let Ok(message) = Message::notification(PROGRESS, &ProgressEvent { id: id.clone(), state }) {
            // A slow client gets the next one.
            answers.try_send(message).ok();
        }
        tokio::select! {
            biased;
            answer = &mut call => return answer,
            () = tokio::time::sleep(PROGRESS_INTERVAL) => (),
        }
    }
}
