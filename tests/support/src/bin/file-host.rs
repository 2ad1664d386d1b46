//! The fault server as a program, for the bench: one JSON command a line on stdin, one JSON answer a line on
//! stdout. It ends with its input.

#![allow(clippy::unwrap_used, reason = "a bench that sends nonsense is a bench that is wrong")]

use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{BufRead as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;
use support::file_server::{Content, FileServer, Pace};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Command {
    /// Serves a synthetic safetensors file; answers with its `url`.
    Put { path: String, seed: u64, size: u64 },
    /// Makes the host as fast as this; what is left out has no bound.
    Pace {
        /// Bytes a second.
        #[serde(default)]
        per_connection: Option<u64>,
        /// Bytes a second.
        #[serde(default)]
        total: Option<u64>,
        /// Before the first answer on a connection, beside `request_ms`.
        #[serde(default)]
        connect_ms: u64,
        /// Before each answer.
        #[serde(default)]
        request_ms: u64,
    },
    /// Answers with the bytes that were `sent` for a path, and the `connections` there were in all.
    Stats { path: String },
    /// Answers with whether a file on this disk is `equal` to the one that is served.
    Check { path: String, file: PathBuf },
}

fn main() {
    let server = FileServer::start();
    let mut contents = HashMap::new();
    let mut output = std::io::stdout();
    for line in std::io::stdin().lock().lines() {
        let command = serde_json::from_str(&line.unwrap()).unwrap();
        let answer = obey(&server, &mut contents, command);
        writeln!(output, "{answer}").unwrap();
    }
}

fn obey(server: &FileServer, contents: &mut HashMap<String, Content>, command: Command) -> Value {
    match command {
        Command::Put { path, seed, size } => {
            let content = Content::synthetic(seed, size);
            server.put(&path, content.clone());
            let url = server.url(&path);
            contents.insert(path, content);
            json!({ "url": url })
        }
        Command::Pace { per_connection, total, connect_ms, request_ms } => {
            let (connect_delay, request_delay) =
                (Duration::from_millis(connect_ms), Duration::from_millis(request_ms));
            server.pace(Pace { per_connection, total, connect_delay, request_delay });
            json!({})
        }
        Command::Stats { path } => {
            json!({ "sent": server.sent(&path), "connections": server.connections() })
        }
        Command::Check { path, file } => json!({ "equal": contents[&path].equals_file(&file).unwrap() }),
    }
}
