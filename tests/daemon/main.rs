//! Tests of the daemon's rooms, with real processes and sockets.
#![allow(clippy::unwrap_used, reason = "what a test cannot set up is a failed test")]

mod fixture;
mod run;
mod supervise;
