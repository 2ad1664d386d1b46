//! The files under `versions/`: the shipped specs and the schema.

use crate::{repository, update};
use proto::spec::{SCHEMA_FILE, file, parse};

#[test]
fn shipped_specs_have_no_findings() {
    let mut seen = 0;
    for entry in std::fs::read_dir(repository("versions")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let Some(id) = name.strip_suffix(".json").filter(|_| name != SCHEMA_FILE) else { continue };
        let text = std::fs::read_to_string(&path).unwrap();
        let parsed = parse(&text, &name, id);
        assert_eq!(parsed.diagnostics, [], "{name}");
        assert!(parsed.spec.is_some(), "{name}");
        serde_json::from_str::<file::SpecFile>(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        seen += 1;
    }
    assert!(seen >= 2, "the shipped specs are gone");
}

#[test]
fn the_schema_is_current() {
    let path = repository("versions").join(SCHEMA_FILE);
    let schema = file::json_schema();
    if update() {
        std::fs::write(&path, &schema).unwrap();
    }
    let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(checked_in == schema, "{} is not current: write it with UPDATE=1", path.display());
}
