//! What comfyd promises to others: the messages on the wire, the format of specs, and the files under
//! `versions/`.
#![allow(clippy::unwrap_used, reason = "a test may panic wherever it cannot go on")]

mod files;
mod golden;
mod sample_diff;
mod sample_doctor;
mod sample_ladder;
mod sample_values;
mod samples;
mod spec;
mod spec_fields;
mod spec_files;
mod spec_models;
mod spec_properties;
mod spec_repos;
mod spec_text;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Returns a path of the repository.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// Returns whether new files are to be written: `UPDATE=1 cargo test …`.
#[allow(clippy::disallowed_methods, reason = "a switch of the test run, not of the daemon")]
fn update() -> bool {
    std::env::var_os("UPDATE").is_some_and(|value| value == "1")
}

#[test]
fn no_file_is_forgotten() {
    let files: BTreeSet<String> = std::fs::read_dir(repository("tests/protocol"))
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.strip_suffix(".rs").map(str::to_owned))
        .filter(|name| name != "main")
        .collect();
    let modules = include_str!("main.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';').map(str::to_owned))
        .collect();
    assert_eq!(files, modules);
}
