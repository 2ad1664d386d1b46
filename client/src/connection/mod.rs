//! One connection to the daemon: JSON-RPC 2.0, one object a line.
//!
//! A thread reads lines into a channel; the caller waits on the channel and looks at the interrupt
//! flag every [`TICK`]. One call is under way at a time. What is not about it (progress of an
//! earlier call, notifications of a newer daemon) is passed over.

mod error;
mod reader;

pub use error::{Error, RESTART};

use crate::interrupt::Interrupt;
use interprocess::local_socket::{GenericFilePath, Stream, prelude::*};
use proto::event::{PROGRESS, ProgressEvent, ProgressState};
use proto::method::{Hello, HelloAnswer, Method};
use proto::rpc::{CANCEL, CancelParams, Message, RequestId};
use proto::{MAX_FRAME_BYTES, PROTOCOL};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

/// How often a wait looks at the interrupt flag.
const TICK: Duration = Duration::from_millis(50);

/// How long the daemon may take to answer `hello`. It does nothing for it but compare variables; but systemd's socket
/// takes a connection before the daemon begins, and while the one before it still ends its processes.
const HELLO_LIMIT: Duration = Duration::from_secs(60);

/// Who is told how a call goes.
pub trait Listener {
    /// The present state of the work.
    fn progress(&mut self, state: ProgressState);
    /// Some time passed; comes about every 50 ms when nothing else does.
    fn tick(&mut self);
    /// The user asked to stop, and the daemon was told.
    fn cancelling(&mut self);
}

/// A connection on which `hello` was exchanged.
pub struct Connection {
    stream: Arc<Stream>,
    incoming: Receiver<io::Result<Message>>,
    last_id: u64,
}

/// What the daemon answered, as it wrote it.
pub struct Answer<M> {
    raw: Box<RawValue>,
    method: PhantomData<M>,
}

impl<M: Method> Answer<M> {
    /// Returns the JSON text, one line; it may hold fields that this client does not know.
    pub fn json(&self) -> &str {
        self.raw.get()
    }

    /// Reads the answer.
    ///
    /// # Errors
    /// It is not what this protocol says.
    pub fn read(&self) -> Result<M::Answer, Error> {
        serde_json::from_str(self.json()).map_err(|source| Error::Answer { method: M::NAME, source })
    }
}

/// Connects to a socket; does not wait for a daemon to appear.
///
/// # Errors
/// [`nobody_listens`] tells "no daemon" from the rest.
pub fn connect(socket: &Path) -> io::Result<Stream> {
    Stream::connect(socket.to_fs_name::<GenericFilePath>()?)
}

/// Returns whether an error of [`connect`] means that there is no daemon.
pub fn nobody_listens(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

impl Connection {
    /// Takes a stream and says `hello`, with the client's `environment`.
    ///
    /// # Errors
    /// The other side is silent, closes, or speaks another protocol.
    pub fn open(
        stream: Stream,
        environment: BTreeMap<String, String>,
        interrupt: &Interrupt,
    ) -> Result<(Self, HelloAnswer), Error> {
        let stream = Arc::new(stream);
        let reading = Arc::clone(&stream);
        // A bound keeps a stalled terminal from filling memory with progress.
        let (lines, incoming) = sync_channel(64);
        std::thread::Builder::new()
            .name("reader".to_owned())
            .spawn(move || reader::read_lines(&reading, &lines))
            .map_err(Error::Talk)?;
        let mut connection = Self { stream, incoming, last_id: 0 };
        let hello = Hello {
            protocol: PROTOCOL,
            features: proto::FEATURES.iter().map(|name| (*name).to_owned()).collect(),
            client: concat!("comfyctl ", env!("CARGO_PKG_VERSION")).to_owned(),
            environment,
        };
        let id = connection.send(&hello)?;
        let deadline = Some(Instant::now() + HELLO_LIMIT);
        let answer: Answer<Hello> = connection.wait(&id, &mut Deaf, interrupt, deadline)?;
        let answer = answer.read()?;
        if answer.protocol != PROTOCOL {
            return Err(Error::OtherProtocol { theirs: answer.protocol });
        }
        Ok((connection, answer))
    }

    /// Makes a call and waits for its answer. An interrupt is passed on as a cancellation, and the
    /// answer to that is awaited.
    ///
    /// # Errors
    /// The daemon's own error, or the connection's.
    pub fn call<M: Method>(
        &mut self,
        params: &M,
        listener: &mut dyn Listener,
        interrupt: &Interrupt,
    ) -> Result<Answer<M>, Error> {
        let id = self.send(params)?;
        self.wait(&id, listener, interrupt, None)
    }

    /// Waits until the daemon closes the connection, the user has enough, or `deadline`.
    pub fn wait_for_close(self, interrupt: &Interrupt, deadline: Instant) {
        while !interrupt.is_set() && Instant::now() < deadline {
            if let Err(RecvTimeoutError::Disconnected) = self.incoming.recv_timeout(TICK) {
                return;
            }
        }
    }

    fn wait<M: Method>(
        &mut self,
        id: &RequestId,
        listener: &mut dyn Listener,
        interrupt: &Interrupt,
        deadline: Option<Instant>,
    ) -> Result<Answer<M>, Error> {
        let mut cancelled = false;
        loop {
            if interrupt.is_set() && !cancelled {
                self.cancel(id)?;
                listener.cancelling();
                cancelled = true;
            }
            match self.incoming.recv_timeout(TICK) {
                Ok(Ok(message)) => {
                    if let Some(raw) = sort(message, id, M::NAME, listener)? {
                        return Ok(Answer { raw, method: PhantomData });
                    }
                }
                Ok(Err(source)) if source.kind() == io::ErrorKind::InvalidData => {
                    return Err(Error::NoMessage(source));
                }
                Ok(Err(source)) => return Err(Error::Talk(source)),
                Err(RecvTimeoutError::Timeout) => listener.tick(),
                Err(RecvTimeoutError::Disconnected) if cancelled => return Err(Error::Cancelled),
                Err(RecvTimeoutError::Disconnected) => return Err(Error::Closed { method: M::NAME }),
            }
            if deadline.is_some_and(|deadline| Instant::now() > deadline) {
                return Err(if cancelled { Error::Cancelled } else { Error::Silent });
            }
        }
    }

    fn send<M: Method>(&mut self, params: &M) -> Result<RequestId, Error> {
        self.last_id += 1;
        let id = RequestId::Number(self.last_id);
        let message = Message::request(id.clone(), M::NAME, params);
        self.write(message, M::NAME)?;
        Ok(id)
    }

    fn cancel(&mut self, id: &RequestId) -> Result<(), Error> {
        self.write(Message::notification(CANCEL, &CancelParams { id: id.clone() }), CANCEL)
    }

    fn write(&mut self, message: serde_json::Result<Message>, method: &'static str) -> Result<(), Error> {
        let line = message.and_then(|message| serde_json::to_string(&message));
        let mut line = line.map_err(|source| Error::Call { method, source })?;
        line.push('\n');
        if line.len() > MAX_FRAME_BYTES {
            return Err(Error::TooLong { method, bytes: line.len() });
        }
        match (&*self.stream).write_all(line.as_bytes()) {
            Ok(()) => Ok(()),
            // The daemon may have answered before it left: the answer is read first.
            Err(error) if reader::hung_up(&error) => Ok(()),
            Err(error) => Err(Error::Talk(error)),
        }
    }
}

/// Takes what belongs to call `id`: progress goes to the listener, the answer is returned.
fn sort(
    message: Message,
    id: &RequestId,
    method: &'static str,
    listener: &mut dyn Listener,
) -> Result<Option<Box<RawValue>>, Error> {
    let Message { id: about, method: notification, params, result, error, .. } = message;
    if notification.as_deref() == Some(PROGRESS) {
        let text = params.as_ref().map_or("null", |params| params.get());
        let event: ProgressEvent =
            serde_json::from_str(text).map_err(|source| Error::Answer { method: PROGRESS, source })?;
        if event.id == *id {
            listener.progress(event.state);
        }
        return Ok(None);
    }
    match (result, error) {
        // An error without an id is about this connection, or a line that the daemon could not read: ours.
        (_, Some(error)) if matches!(about, None | Some(RequestId::Null)) || about.as_ref() == Some(id) => {
            Err(Error::Answered(Box::new(error)))
        }
        (Some(result), None) if about.as_ref() == Some(id) => Ok(Some(result)),
        (None, None) if about.as_ref() == Some(id) => Err(Error::Empty { method }),
        _ => Ok(None),
    }
}

/// A listener for calls whose progress nobody looks at.
pub struct Deaf;

impl Listener for Deaf {
    fn progress(&mut self, _: ProgressState) {}
    fn tick(&mut self) {}
    fn cancelling(&mut self) {}
}
