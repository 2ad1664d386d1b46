//! A slow volume for benchmarks: `slow-volume <directory> <mount point> <microseconds>`.
//!
//! Says `mounted`, answers each line of standard input with the operations so far as a line of JSON, and unmounts
//! at its end.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a tool of the benchmarks, which read its output"
)]

use std::io::BufRead as _;
use std::path::PathBuf;
use std::time::Duration;
use support::slow_volume::SlowVolume;

fn main() {
    let mut args = std::env::args_os().skip(1);
    let mut path = || PathBuf::from(args.next().expect("a directory and a mount point"));
    let (below, mount_point) = (path(), path());
    let delay = args.next().and_then(|text| text.to_str()?.parse().ok()).expect("microseconds");
    let volume = SlowVolume::mount(&below, &mount_point, Duration::from_micros(delay)).unwrap();
    println!("mounted");
    for _ in std::io::stdin().lock().lines() {
        println!("{}", serde_json::to_string(&volume.operations()).unwrap());
    }
}
