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

#[test]
fn the_readme_names_every_field() {
    let schema: serde_json::Value = serde_json::from_str(&file::json_schema()).unwrap();
    let readme = std::fs::read_to_string(repository("versions/README.md")).unwrap();
    let definitions = schema["$defs"].as_object().unwrap().values();
    let objects = definitions.chain([&schema]).filter_map(|object| object["properties"].as_object());
    let fields: Vec<&String> = objects.flat_map(|properties| properties.keys()).collect();
    assert!(fields.len() > 25, "{fields:?}");
    for field in fields {
        let named = [format!("`{field}`"), format!("[].{field}`")].iter().any(|name| readme.contains(name));
        assert!(named, "versions/README.md says nothing about `{field}`");
    }
}

#[test]
fn the_example_of_the_readme_has_no_findings() {
    let readme = std::fs::read_to_string(repository("versions/README.md")).unwrap();
    let example = readme.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
    assert_eq!(parse(example, "README.md", "example").diagnostics, []);
}
