//! A daemon that follows a script: for tests of what clients do with canned answers.
//!
//! The script runs in a thread of its own, once for the one connection it takes. An assertion that
//! fails in the script fails the test, when the test calls [`ScriptDaemon::finish`].

use proto::{PROTOCOL, rpc};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;
use tempfile::TempDir;

/// Longest time that a script waits for a line; a client that says nothing fails the test.
const LIMIT: Duration = Duration::from_secs(20);

/// A daemon that follows a script. It listens when [`ScriptDaemon::start`] returns.
pub struct ScriptDaemon {
    dir: TempDir,
    script: JoinHandle<()>,
}

impl ScriptDaemon {
    /// Listens on a socket in a directory of its own and runs `script` with the first connection.
    ///
    /// # Panics
    /// The directory or the socket cannot be made.
    pub fn start(script: impl FnOnce(&mut Peer) + Send + 'static) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let listener = UnixListener::bind(dir.path().join("comfyd.sock")).expect("a socket");
        let script = std::thread::spawn(move || {
            let (stream, _) = listener.accept().expect("a connection");
            stream.set_read_timeout(Some(LIMIT)).expect("a time limit");
            let writer = stream.try_clone().expect("a second handle");
            script(&mut Peer { reader: BufReader::new(stream), writer });
        });
        Self { dir, script }
    }

    /// Returns the socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("comfyd.sock")
    }

    /// Returns the directory that holds the socket; it goes with the daemon.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Waits for the script's end.
    ///
    /// # Panics
    /// The script did.
    pub fn finish(self) {
        if let Err(panic) = self.script.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

/// The client, as a script sees it.
pub struct Peer {
    reader: BufReader<UnixStream>,
    writer: UnixStream,
}

/// A call that a script received.
#[derive(Debug, Clone)]
pub struct Call {
    /// Its id.
    pub id: Value,
    /// Its parameters.
    pub params: Value,
}

impl Peer {
    /// Takes `hello` and answers it as a daemon of this protocol does.
    pub fn hello(&mut self) -> Call {
        self.hello_with(
            &json!({"protocol": PROTOCOL, "features": [], "version": "1.2.3", "pid": 7, "warnings": []}),
        )
    }

    /// Takes `hello` and answers it with `answer`.
    pub fn hello_with(&mut self, answer: &Value) -> Call {
        let hello = self.expect("hello");
        self.answer(&hello, answer);
        hello
    }

    /// Takes one line; none when the client left.
    ///
    /// # Panics
    /// The line is not JSON, or none comes in time.
    pub fn receive(&mut self) -> Option<Value> {
        let mut line = String::new();
        match self.reader.read_line(&mut line).expect("a line in time") {
            0 => None,
            _ => Some(serde_json::from_str(&line).expect("a line of JSON")),
        }
    }

    /// Takes a call of `method`.
    ///
    /// # Panics
    /// The client says something else.
    pub fn expect(&mut self, method: &str) -> Call {
        let line = self.receive().unwrap_or_else(|| panic!("the client left instead of calling `{method}`"));
        assert_eq!(line["jsonrpc"], "2.0", "{line}");
        assert_eq!(line["method"], method, "{line}");
        Call { id: line["id"].clone(), params: line["params"].clone() }
    }

    /// Takes the cancellation of `call`.
    ///
    /// # Panics
    /// The client says something else.
    pub fn expect_cancel(&mut self, call: &Call) {
        let cancel = self.expect(rpc::CANCEL);
        assert!(cancel.id.is_null(), "a notification has no id");
        assert_eq!(cancel.params, json!({"id": call.id}));
    }

    /// Answers `call`.
    pub fn answer(&mut self, call: &Call, result: &Value) {
        self.line(&json!({"jsonrpc": "2.0", "id": call.id, "result": result}));
    }

    /// Refuses `call`.
    pub fn fail(&mut self, call: &Call, code: i64, message: &str, data: &Value) {
        let error = json!({"code": code, "message": message, "data": data});
        self.line(&json!({"jsonrpc": "2.0", "id": call.id, "error": error}));
    }

    /// Tells how `call` goes.
    pub fn progress(&mut self, call: &Call, state: &Value) {
        let mut params = state.clone();
        params["id"] = call.id.clone();
        self.line(&json!({"jsonrpc": "2.0", "method": proto::event::PROGRESS, "params": params}));
    }

    /// Writes any text as a line. A client that left is no error: scripts test that too.
    pub fn line(&mut self, line: &impl std::fmt::Display) {
        self.writer.write_all(format!("{line}\n").as_bytes()).ok();
    }
}
