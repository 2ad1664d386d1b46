//! What packages hold besides the programs: that man pages and completions leave nothing out, and that the
//! packages have one version.

#![allow(clippy::unwrap_used, reason = "in a test program a broken expectation is a failed test")]

use clap::Command;
use comfyd::config::VARIABLES;
use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use tempfile::TempDir;

/// Lets the program write into a directory of the test's own.
fn assets() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let status = process::Command::new(env!("CARGO_BIN_EXE_assets")).arg(dir.path()).status().unwrap();
    assert!(status.success());
    dir
}

/// Returns a page as people read it: without the marks of roff.
fn page(dir: &Path, name: &str) -> String {
    let text =
        fs::read_to_string(dir.join("man").join(name)).unwrap_or_else(|_| panic!("there is no `{name}`"));
    [r"\fB", r"\fI", r"\fR", r"\&"].iter().fold(text, |text, mark| text.replace(mark, "")).replace(r"\-", "-")
}

fn check(dir: &Path, name: &str, command: &Command) {
    let text = page(dir, &format!("{name}.1"));
    for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
        let shown = match arg.get_long() {
            Some(long) => format!("--{long}"),
            None => arg.get_value_names().unwrap()[0].to_string(),
        };
        assert!(text.contains(&shown), "{name}(1) leaves out `{shown}`");
    }
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set() && verb.get_name() != "help") {
        let name = format!("{name}-{}", verb.get_name());
        assert!(text.contains(&format!("{name}(1)")), "`{name}` is not among the verbs");
        check(dir, &name, verb);
    }
}

#[test]
fn each_verb_has_a_page_with_its_options() {
    let dir = assets();
    let mut comfyctl = comfyctl::definition();
    comfyctl.build();
    check(dir.path(), "comfyctl", &comfyctl);
}

#[test]
fn the_pages_name_each_status_variable_and_field() {
    let dir = assets();
    let (comfyctl, comfyd) = (page(dir.path(), "comfyctl.1"), page(dir.path(), "comfyd.8"));
    for kind in proto::ErrorKind::ALL {
        assert!(comfyctl.contains(kind.meaning()), "{kind:?}");
    }
    for variable in VARIABLES {
        assert!(comfyd.contains(variable.name), "{}", variable.name);
    }
    let format = page(dir.path(), "comfyd-spec.5");
    for field in ["schema_version", "custom_nodes[]", "models[]", "target_subdir", "exclude_newer", "commit"]
    {
        assert!(format.contains(field), "{field}");
    }
    assert!(!format.contains("version_id"), "an old name of a field");
}

#[test]
fn groff_has_nothing_to_object() {
    let dir = assets();
    for entry in fs::read_dir(dir.path().join("man")).unwrap() {
        let path = entry.unwrap().path();
        let command = ["-man", "-Kutf8", "-Tutf8", "-rLL=78n", "-ww", "-z"];
        match process::Command::new("groff").args(command).arg(&path).output() {
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success() && said.is_empty(), "{}: {said}", path.display());
            }
            Err(_) => return eprintln!("groff is not installed: the pages are not rendered"),
        }
    }
}

#[test]
fn there_are_completions_for_both_programs() {
    let dir = assets();
    for name in ["comfyctl.bash", "_comfyctl", "comfyctl.fish", "comfyd.bash", "_comfyd", "comfyd.fish"] {
        let text = fs::read_to_string(dir.path().join("completions").join(name)).unwrap();
        assert!(text.contains("comfy"), "{name}");
    }
    let first = |name| fs::read_to_string(dir.path().join("completions").join(name)).unwrap();
    assert!(first("_comfyctl").starts_with("#compdef comfyctl"), "zsh finds a file by its first line");
}

#[test]
fn the_wheel_has_the_version_of_the_programs() {
    let file = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../handler/pyproject.toml"));
    let text = fs::read_to_string(file).unwrap();
    let version = concat!("version = \"", env!("CARGO_PKG_VERSION"), "\"");
    assert!(text.lines().any(|line| line == version), "client/handler/pyproject.toml lacks `{version}`");
}
