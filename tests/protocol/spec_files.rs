//! Whole specs under `specs/`, each with the expected findings (`.txt`) and, where it is accepted, the
//! expected value (`.value`) beside it. `UPDATE=1` writes those that are missing.

use crate::{repository, spec, update};
use proto::spec::{Severity, file};
use std::path::Path;

#[test]
fn specs_give_the_expected_findings_and_values() {
    let mut seen = 0;
    for entry in std::fs::read_dir(repository("tests/protocol/specs")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let name = path.file_name().unwrap().to_str().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let parsed = proto::spec::parse(&text, name, name.trim_end_matches(".json"));
        compare(&path.with_extension("txt"), &(spec::shown(&parsed).join("\n") + "\n"));
        let errors = parsed.diagnostics.iter().any(|finding| finding.severity == Severity::Error);
        assert_eq!(parsed.spec.is_none(), errors, "{name}");
        if let Some(value) = &parsed.spec {
            compare(&path.with_extension("value"), &(serde_json::to_string_pretty(value).unwrap() + "\n"));
            // What the parser takes, the schema's types take.
            serde_json::from_str::<file::SpecFile>(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        seen += 1;
    }
    assert!(seen >= 3, "the specs are gone");
}

fn compare(path: &Path, found: &str) {
    if !path.exists() && update() {
        std::fs::write(path, found).unwrap();
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(found, expected, "{}", path.display());
}
