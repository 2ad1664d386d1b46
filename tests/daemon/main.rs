//! Tests of the daemon's rooms, with real processes and sockets.
#![allow(clippy::unwrap_used, reason = "what a test cannot set up is a failed test")]

mod fixture;
mod run;
mod supervise;

#[test]
fn no_file_of_tests_is_forgotten() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/daemon");
    let main = std::fs::read_to_string(dir.join("main.rs")).unwrap();
    for entry in std::fs::read_dir(dir).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let module = name.trim_end_matches(".rs");
        assert!(
            module == "main" || main.contains(&format!("\nmod {module};")),
            "{name} is in no test binary"
        );
    }
}
