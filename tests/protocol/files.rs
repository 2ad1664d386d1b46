//! The files under `versions/`: the shipped specs and the schema.

use crate::{repository, update};
use proto::spec::{SCHEMA_FILE, file, parse};
use std::collections::BTreeSet;

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
    assert!(seen >= 6, "the shipped specs are gone");
}

/// `demo/<id>.json` is what a newcomer runs on `versions/<id>.json`: a model that only one of the two
/// names is a misspelt one, or gigabytes for nothing.
#[test]
fn shipped_workflows_load_exactly_the_models_of_their_versions() {
    let mut seen = 0;
    for entry in std::fs::read_dir(repository("demo")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        // `workflow.json` is for any version: it loads nothing.
        let Some(id) = name.strip_suffix(".json").filter(|id| *id != "workflow") else { continue };
        let spec = std::fs::read_to_string(repository("versions").join(&name)).unwrap();
        let spec = parse(&spec, &name, id).spec.unwrap();
        let wanted: BTreeSet<String> =
            spec.models.iter().map(|model| model.target.file_name().to_owned()).collect();
        let workflow: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let inputs = workflow.as_object().unwrap().values().filter_map(|node| node["inputs"].as_object());
        let texts = inputs.flat_map(|inputs| inputs.values()).filter_map(|value| value.as_str());
        let loaded: BTreeSet<String> =
            texts.filter(|text| text.ends_with(".safetensors")).map(str::to_owned).collect();
        assert_eq!(wanted, loaded, "{name}");
        seen += 1;
    }
    assert!(seen >= 5, "the shipped workflows are gone");
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
fn the_examples_of_the_readmes_have_no_findings() {
    for name in ["versions/README.md", "README.md", "README.ru.md"] {
        let readme = std::fs::read_to_string(repository(name)).unwrap();
        let example = readme.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
        assert_eq!(parse(example, name, "example").diagnostics, [], "{name}");
    }
}
