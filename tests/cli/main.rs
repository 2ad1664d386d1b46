//! Tests of comfyctl as people and programs meet it: its output, its exit status, its signals.

#![allow(clippy::unwrap_used, reason = "in a test program a broken expectation is a failed test")]

mod adoption;
mod background;
mod canary;
mod clean;
mod client;
mod completions;
mod containers;
mod crashes;
mod crowd;
mod daemon;
mod diff;
mod doctor;
mod dry_run;
mod errors;
mod fetch;
mod fetch_crashes;
mod fetch_hosts;
mod generations;
mod gpus;
mod home;
mod hostile;
mod hostile_scripts;
mod hub_cache;
mod idle;
mod install_scripts;
mod interrupt;
mod machine_clock;
mod machine_disk;
mod machine_freeze;
#[cfg(target_arch = "x86_64")]
mod machine_power;
mod model_links;
mod model_problems;
mod new;
mod offline;
mod prefetch_verbs;
mod progress;
mod realize;
mod repairs;
mod results;
mod rollback;
mod runs;
mod runs_crashes;
mod screen;
mod secrets;
mod service;
mod sharing;
mod socket;
mod starting;
mod status_watch;
mod terminal;
mod two_daemons;
mod versions;
mod volume_wait;
mod warm;
mod wire;
mod zygote;

/// Each file of this directory is a module of this program, so that no test is forgotten.
#[test]
fn no_file_is_forgotten() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/cli");
    let main = include_str!("main.rs");
    for entry in std::fs::read_dir(dir).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let module = name.trim_end_matches(".rs");
        assert!(module == "main" || main.contains(&format!("mod {module};")), "`{name}` is not a module");
    }
}
