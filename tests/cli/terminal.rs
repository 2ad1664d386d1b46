//! Runs comfyctl on a terminal.

use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use support::process::eventually;
use support::python_path;

const TERMINAL: &str = include_str!("../support/terminal.py");

/// A program on a terminal of its own.
pub(crate) struct Terminal {
    child: Child,
    seen: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Terminal {
    /// Starts a command, with its environment, on a terminal of so many rows and columns.
    pub(crate) fn start(command: &Command, (rows, columns): (u16, u16)) -> Self {
        let mut terminal = Command::new(python_path());
        terminal.args(["-I", "-c", TERMINAL, &rows.to_string(), &columns.to_string()]);
        terminal.arg(command.get_program()).args(command.get_args()).env_clear();
        terminal.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        if let Some(dir) = command.get_current_dir() {
            terminal.current_dir(dir);
        }
        let mut child = terminal.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (seen, mut stdout) = (Arc::<Mutex<Vec<u8>>>::default(), child.stdout.take().unwrap());
        let into = Arc::clone(&seen);
        let reader = std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(length @ 1..) = stdout.read(&mut piece) {
                into.lock().unwrap().extend_from_slice(&piece[..length]);
            }
        });
        Self { child, seen, reader }
    }

    /// Returns all that was written so far.
    pub(crate) fn seen(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap()).into_owned()
    }

    /// Waits until something was written.
    pub(crate) fn shows(&self, text: &str) {
        eventually(text, || self.seen().contains(text));
    }

    /// Makes the terminal larger or smaller.
    pub(crate) fn resize(&mut self, rows: u16, columns: u16) {
        self.order(&format!("size {rows} {columns}"));
    }

    /// Types something.
    pub(crate) fn types(&mut self, text: &str) {
        self.order(&format!("type {text}"));
    }

    /// Waits for the program's end; returns its exit status and all that it wrote.
    pub(crate) fn ended(mut self) -> (Option<i32>, String) {
        let status = self.child.wait().unwrap();
        self.reader.join().unwrap();
        let seen = self.seen.lock().unwrap();
        (status.code(), String::from_utf8_lossy(&seen).into_owned())
    }

    fn order(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }
}
