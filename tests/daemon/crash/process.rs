//! A daemon that is about to die, and what it answers until then.

use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};
use support::TestEnv;
use support::process::PATIENCE;

/// A daemon in the foreground. Dropping it kills it; what it started lives on.
pub(super) struct Daemon<'a> {
    env: &'a TestEnv,
    child: Child,
}

/// How a call ended.
#[derive(Debug)]
pub(super) enum Said {
    /// With a result.
    Done(Value),
    /// With an error.
    Refused(Value),
    /// Not at all: the daemon died.
    Nothing,
}

impl<'a> Daemon<'a> {
    /// Starts a daemon on which `failpoints` lie. Its log is `daemon.log` on the machine.
    pub(super) fn start(env: &'a TestEnv, failpoints: &str) -> Self {
        let log = File::options().create(true).append(true).open(env.path("daemon.log")).unwrap();
        let mut command = env.comfyd();
        command.env("FAILPOINTS", failpoints).stdout(log.try_clone().unwrap()).stderr(log);
        Self { env, child: command.spawn().unwrap() }
    }

    /// Calls a method as a client of its own, once the daemon listens.
    pub(super) fn call(&mut self, method: &str, params: &Value) -> Said {
        loop {
            let Some(stream) = self.connect() else { return Said::Nothing };
            if let Some(said) = ask(stream, method, params) {
                return said;
            }
            // Nobody said hello: the socket was a dead daemon's, which a process that it had just forked still held.
        }
    }

    /// Calls a method that must succeed.
    pub(super) fn result(&mut self, method: &str, params: &Value) -> Value {
        match self.call(method, params) {
            Said::Done(result) => result,
            other => panic!("`{method}`: {other:?}"),
        }
    }

    fn connect(&mut self) -> Option<UnixStream> {
        let deadline = Instant::now() + PATIENCE;
        while self.end().is_none() {
            if let Ok(stream) = UnixStream::connect(self.env.socket()) {
                return Some(stream);
            }
            assert!(Instant::now() < deadline, "a daemon does not listen within {PATIENCE:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
        None
    }

    /// Returns how it ended, if it did.
    pub(super) fn end(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits until it has ended by itself.
    pub(super) fn ended(&mut self) {
        self.child.wait().unwrap();
    }

    /// Kills it, and it alone.
    pub(super) fn kill(&mut self) {
        self.child.kill().ok();
        self.child.wait().unwrap();
    }

    /// Returns its process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Calls a method on a connection; none when the other side went before it said hello.
fn ask(mut stream: UnixStream, method: &str, params: &Value) -> Option<Said> {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let hello = json!({ "protocol": 1, "features": [], "client": "crash" });
    for (id, method, params) in [(0, "hello", &hello), (1, method, params)] {
        let call = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        writeln!(stream, "{call}").ok()?;
    }
    let mut said_hello = false;
    for line in BufReader::new(stream).lines() {
        let line = match line {
            Ok(line) => line,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("`{method}` is not answered within {PATIENCE:?}")
            }
            Err(_) => break,
        };
        said_hello = true;
        let mut message: Value = serde_json::from_str(&line).unwrap();
        if message["id"] == 1 {
            let error = message["error"].take();
            let is_done = error.is_null();
            return Some(if is_done { Said::Done(message["result"].take()) } else { Said::Refused(error) });
        }
    }
    said_hello.then_some(Said::Nothing)
}
