//! The daemon's rooms together, against real tools and doubles of the outside.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod boot;
mod fixture;
mod hostile_text;
mod layers;
mod readme;
mod room;
mod run;
mod run_inputs;
mod run_jobs;
mod run_recovery;
mod source_git;
mod source_model;
mod source_model_hosts;
mod source_python;
mod source_transfer;
mod supervise;
mod supervise_health;
mod supervise_recorded;
mod supervise_zygote;
mod supervise_zygote_doubt;
mod units;

/// A file that is not declared above would be no test at all.
#[test]
fn every_file_here_is_a_module() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/daemon");
    let this = std::fs::read_to_string(dir.join("main.rs")).unwrap();
    for entry in std::fs::read_dir(dir).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some(module) = name.strip_suffix(".rs").filter(|module| *module != "main") else { continue };
        assert!(this.contains(&format!("mod {module};")), "`{name}` is not declared in main.rs");
    }
}
