//! What goes back to one client. Answers are never dropped; progress is, where the client has not read the
//! progress before it, for the next says it all again.

use super::bounds::{Bounds, Held};
use proto::ErrorKind;
use proto::rpc::{Message, RpcError};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Answers that may wait for a slow client; beyond it, its calls wait.
const QUEUE: usize = 16;

/// The way to one client. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Answers {
    queue: mpsc::Sender<Line>,
    progress: Arc<Semaphore>,
    bounds: Arc<Bounds>,
}

/// The other end of [`Answers`].
#[derive(Debug)]
pub(super) struct Queue {
    lines: mpsc::Receiver<Line>,
    /// How long the client may leave an answer lying.
    patience: Duration,
}

/// A line on its way, with all that is kept until it is written.
#[derive(Debug)]
struct Line {
    text: String,
    is_progress: bool,
    _keeps: (Option<Held>, Vec<OwnedSemaphorePermit>),
}

/// Makes the way to a client.
pub(super) fn channel(bounds: Arc<Bounds>) -> (Answers, Queue) {
    let (queue, lines) = mpsc::channel(QUEUE);
    let queue_end = Queue { lines, patience: bounds.patience.answer };
    (Answers { queue, progress: Arc::new(Semaphore::new(1)), bounds }, queue_end)
}

impl Answers {
    /// Sends an answer, and keeps `until_read` until it is written. Waits while the client is slow.
    pub(super) async fn send(&self, message: Message, until_read: Vec<OwnedSemaphorePermit>) {
        let id = message.id.clone();
        let mut text = text(&message);
        drop(message);
        let held = tokio::select! {
            held = self.bounds.hold_soon(text.len()) => held,
            () = self.queue.closed() => return,
        };
        if held.is_err() {
            text = self::text(&Message::failure(id, crowded()));
        }
        let line = Line { text, is_progress: false, _keeps: (held.ok(), until_read) };
        // Fails when the client has hung up.
        self.queue.send(line).await.ok();
    }

    /// Sends progress, unless the client has not read the last one.
    pub(super) fn progress(&self, message: &Message) {
        let Ok(turn) = Arc::clone(&self.progress).try_acquire_owned() else { return };
        let text = text(message);
        let Ok(held) = self.bounds.hold(text.len()) else { return };
        let line = Line { text, is_progress: true, _keeps: (Some(held), vec![turn]) };
        self.queue.try_send(line).ok();
    }
}

impl Queue {
    /// Writes what is sent until all senders are gone, or the client is, or it leaves an answer lying.
    pub(super) async fn write_to(mut self, mut to: impl AsyncWrite + Unpin) {
        while let Some(line) = self.lines.recv().await {
            let mut rest = line.text.as_bytes();
            while !rest.is_empty() {
                match tokio::time::timeout(self.patience, to.write(rest)).await {
                    Ok(Ok(written @ 1..)) => rest = &rest[written..],
                    Ok(_) => return,
                    // Progress alone costs nobody anything: a client may be suspended for days.
                    Err(_) if line.is_progress && self.lines.is_empty() => (),
                    Err(_) => {
                        tracing::warn!("ended the connection of a client that did not read its answers");
                        return;
                    }
                }
            }
        }
    }
}

fn text(message: &Message) -> String {
    // A message is made of our own types, which all have a JSON form.
    let mut text = serde_json::to_string(message).unwrap_or_default();
    text.push('\n');
    text
}

fn crowded() -> RpcError {
    let message = "the answer is long, and too many clients do not read theirs".to_owned();
    RpcError { code: ErrorKind::Busy.code(), message, data: None }
}

#[cfg(test)]
mod tests {
    use super::super::bounds::Patience;
    use super::*;
    use proto::rpc::RequestId;
    use serde_json::value::to_raw_value;
    use tokio::io::AsyncReadExt as _;

    const SHORT: Duration = Duration::from_millis(50);

    fn bounds() -> Arc<Bounds> {
        Arc::new(Bounds::new(1024, Patience { answer: SHORT, ..Patience::default() }))
    }

    fn answer(text: &str) -> Message {
        Message::success(RequestId::Number(1), to_raw_value(text).unwrap())
    }

    #[tokio::test]
    async fn progress_waits_for_a_suspended_client_and_an_answer_does_not() {
        let (answers, queue) = channel(bounds());
        let (mut client, server) = tokio::io::duplex(10);
        let mut writing = std::pin::pin!(queue.write_to(server));
        answers.progress(&answer("first"));
        answers.progress(&answer("dropped: the first was not read"));
        assert!(tokio::time::timeout(SHORT * 4, &mut writing).await.is_err(), "progress waits");
        answers.send(answer("the answer"), vec![]).await;
        writing.await;
        let mut seen = String::new();
        client.read_to_string(&mut seen).await.unwrap();
        assert!(!seen.contains("answer"), "{seen}");
    }

    #[tokio::test]
    async fn what_a_call_keeps_is_given_back_when_its_answer_is_written() {
        let (answers, queue) = channel(bounds());
        let calls = Arc::new(Semaphore::new(1));
        let permit = Arc::clone(&calls).try_acquire_owned().unwrap();
        answers.send(answer("x"), vec![permit]).await;
        assert_eq!(calls.available_permits(), 0);
        drop(answers);
        let mut written = Vec::new();
        queue.write_to(&mut written).await;
        assert_eq!(calls.available_permits(), 1);
        assert!(written.ends_with(b"\n"));
    }
}
