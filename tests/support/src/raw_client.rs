//! A client of the daemon without manners, and what its process takes of the machine meanwhile.

use crate::process::PATIENCE;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// A connection on which anything may be written.
#[derive(Debug)]
pub struct RawClient(BufReader<UnixStream>);

impl RawClient {
    /// Connects, and says nothing.
    ///
    /// # Panics
    /// When nobody listens.
    pub fn connect(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(stream))
    }

    /// Connects and says hello.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn greet(socket: &Path) -> Self {
        let mut client = Self::connect(socket);
        let hello = r#"{"jsonrpc":"2.0","id":0,"method":"hello","params":{"protocol":1,"features":[],"client":"raw","environment":{}}}"#;
        let answer = client.ask(hello);
        assert!(answer["result"]["pid"].is_number(), "{answer}");
        client
    }

    /// Writes a line; a daemon that hangs up while it comes is no error.
    pub fn write(&mut self, line: &str) {
        self.0.get_mut().write_all(format!("{line}\n").as_bytes()).ok();
    }

    /// Writes as much of some bytes as the system takes without waiting; returns how much that was.
    ///
    /// # Panics
    /// When the socket is none.
    pub fn push(&mut self, mut bytes: &[u8]) -> io::Result<usize> {
        let (stream, all) = (self.0.get_mut(), bytes.len());
        stream.set_nonblocking(true).unwrap();
        let pushed = loop {
            match stream.write(bytes) {
                Ok(0) => break Ok(all - bytes.len()),
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break Ok(all - bytes.len()),
                Err(error) => break Err(error),
            }
        };
        stream.set_nonblocking(false).unwrap();
        pushed
    }

    /// Reads a line; none when the daemon has ended the connection.
    ///
    /// # Panics
    /// When the line is no JSON, or does not come.
    pub fn read(&mut self) -> Option<Value> {
        let mut line = String::new();
        match self.0.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(serde_json::from_str(&line).unwrap()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("no answer: {error}"),
        }
    }

    /// Writes a line and reads one.
    ///
    /// # Panics
    /// When the daemon ends the connection.
    pub fn ask(&mut self, line: &str) -> Value {
        self.write(line);
        self.read().unwrap()
    }

    /// Asks for the daemon's status.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn status(&mut self) -> Value {
        let answer = self.ask(r#"{"jsonrpc":"2.0","id":1,"method":"status","params":{}}"#);
        assert!(answer["result"]["pid"].is_number(), "{answer}");
        answer["result"].clone()
    }

    /// Closes the sending half.
    ///
    /// # Panics
    /// When the socket is none.
    pub fn half_close(&self) {
        self.0.get_ref().shutdown(std::net::Shutdown::Write).unwrap();
    }

    /// Waits until the daemon ends the connection; returns all that it said before.
    pub fn read_to_end(&mut self) -> String {
        let mut bytes = Vec::new();
        // A reset is an end too.
        self.0.read_to_end(&mut bytes).ok();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Lets this process have as many files as the system allows.
pub fn raise_open_files() {
    let found = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: found.maximum, ..found }).ok();
}

/// Forgets the most memory that a process had so far (`clear_refs` in proc_pid_clear_refs(5)).
///
/// # Panics
/// When the process is gone.
pub fn reset_peak(pid: u32) {
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
}

/// Returns the most memory that a process had since [`reset_peak`], in MiB.
///
/// # Panics
/// When the process is gone.
pub fn peak_mib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_ascii_whitespace().next().unwrap().parse::<u64>().unwrap() / 1024
}
