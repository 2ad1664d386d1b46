//! How long `warm` takes on a version that runs: many clients at once, each on a connection of its own,
//! each call claimed and released. Between two calls a client pauses, as a handler does between two jobs; without
//! a pause it is the daemon's throughput that decides. Prints one JSON line.
//!
//! `cargo run --release --example latency -- <socket> <version> <clients> <calls of each> <pause in ms>`

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement that breaks has no figure")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [socket, version, clients, calls, pause] = &args[..] else {
        panic!("socket, version, clients, calls, pause")
    };
    let (clients, calls): (u32, usize) = (clients.parse().unwrap(), calls.parse().unwrap());
    let pause = Duration::from_millis(pause.parse().unwrap());
    let begun = Instant::now();
    let mut times: Vec<Duration> = std::thread::scope(|scope| {
        let start = |number: u32| {
            scope.spawn(move || {
                // Spread over the pause: they do not all call at the same moment.
                std::thread::sleep(pause * number / clients);
                client(socket, version, calls, pause)
            })
        };
        let clients: Vec<_> = (0..clients).map(start).collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    let wall = begun.elapsed();
    times.sort_unstable();
    let at = |share: usize| times[(times.len() - 1) * share / 1000].as_micros();
    println!(
        "{{\"clients\": {clients}, \"calls\": {}, \"p50_us\": {}, \"p99_us\": {}, \"max_us\": {}, \"seconds\": {:.2}}}",
        times.len(),
        at(500),
        at(990),
        at(1000),
        wall.as_secs_f64()
    );
}

/// Warms and releases, and returns how long each `warm` took.
fn client(socket: &str, version: &str, calls: usize, pause: Duration) -> Vec<Duration> {
    let mut lines = BufReader::new(UnixStream::connect(socket).unwrap());
    let mut times = Vec::with_capacity(calls);
    for _ in 0..calls {
        let begun = Instant::now();
        let answer = ask(&mut lines, "warm", "version", version);
        times.push(begun.elapsed());
        assert!(answer.contains("\"running\""), "{answer}");
        let lease = answer.split("\"lease\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
        ask(&mut lines, "release", "lease", lease);
        std::thread::sleep(pause);
    }
    times
}

/// Makes a call and returns the line of its answer, past what is told of its progress.
fn ask(lines: &mut BufReader<UnixStream>, method: &str, name: &str, value: &str) -> String {
    let call = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"{method}\",\"params\":{{\"{name}\":\"{value}\"}}}}\n"
    );
    lines.get_mut().write_all(call.as_bytes()).unwrap();
    loop {
        let mut line = String::new();
        assert!(lines.read_line(&mut line).unwrap() > 0, "the daemon hung up");
        if !line.contains("\"method\":\"progress\"") {
            return line;
        }
    }
}
