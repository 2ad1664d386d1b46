//! Signals, and patience with what they bring about.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take before a test calls it hung.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Sends a signal to a process, which may be gone.
///
/// # Panics
/// When there is no `kill` program.
pub fn kill(pid: u32, signal: &str) {
    let number = pid.to_string();
    Command::new("kill").args(["-s", signal, &number]).stderr(Stdio::null()).status().unwrap();
}

/// Waits for a condition.
///
/// # Panics
/// When it does not come true in time.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
