//! comfyd-spec(5): the format of `versions/<id>.json`, from its JSON Schema.

use crate::pages::{MANUAL, Page, SOURCE};
use crate::roff::Part;
use clap_mangen::roff::Roff;
use serde_json::{Map, Value};
use std::io;

const EXAMPLE: &str = r#"{
  "schema_version": 2,
  "comfy": { "repo": "https://github.com/comfyanonymous/ComfyUI", "ref": "v0.3.75" },
  "custom_nodes": [{ "repo": "https://github.com/kijai/ComfyUI-KJNodes" }],
  "models": [
    { "source": "hf://Comfy-Org/stable-diffusion-v1-5-archive/v1-5-pruned-emaonly-fp16.safetensors",
      "target_subdir": "checkpoints" }
  ]
}"#;

/// Makes the page.
///
/// # Errors
/// The schema is not JSON: a bug.
pub fn page() -> io::Result<Page> {
    let schema: Value = serde_json::from_str(&proto::spec::file::json_schema())?;
    let mut head = Roff::new();
    head.control("TH", ["comfyd-spec", "5", "", SOURCE, MANUAL]);
    let mut part = Part::default()
        .section("NAME")
        .paragraph("comfyd-spec - what a version of ComfyUI consists of")
        .section("DESCRIPTION")
        .paragraph(text(&schema, "description"))
        .section("FIELDS");
    part = fields(part, &schema);
    for (name, definition) in schema["$defs"].as_object().into_iter().flatten() {
        if definition["properties"].is_object() {
            part = part.subsection(&where_used(&schema, name)).paragraph(text(definition, "description"));
            part = fields(part, definition);
        }
    }
    let part = part.section("EXAMPLE").example(EXAMPLE).see_also(&["comfyctl(1)", "comfyd(8)"]);
    Ok(Page { file: "comfyd-spec.5".to_owned(), text: head.render() + &part.text() })
}

/// Writes the fields of an object, those that are needed first; old names are left out.
fn fields(mut part: Part, object: &Value) -> Part {
    let empty = Map::new();
    let fields = object["properties"].as_object().unwrap_or(&empty);
    let needed: Vec<&str> =
        object["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let is_needed = |name: &str| needed.contains(&name);
    let current = fields.iter().filter(|(_, field)| field["deprecated"] != true);
    let (first, then): (Vec<_>, Vec<_>) = current.partition(|(name, _)| is_needed(name));
    for (name, field) in first.into_iter().chain(then) {
        let note = if is_needed(name) { " Needed." } else { "" };
        part = part.term(name, &[&format!("{}{note}", text(field, "description"))]);
    }
    part
}

/// Returns the path of the fields that have this type: `custom_nodes[]`.
fn where_used(schema: &Value, definition: &str) -> String {
    let reference = format!("#/$defs/{definition}");
    let users = schema["properties"].as_object().into_iter().flatten();
    let found = users.filter_map(|(name, field)| {
        let is = |value: &Value| value["$ref"] == reference.as_str();
        let list = is(&field["items"]);
        let option = field["anyOf"].as_array().is_some_and(|kinds| kinds.iter().any(is));
        (list || option || is(field)).then(|| if list { format!("{name}[]") } else { name.clone() })
    });
    let found: Vec<String> = found.collect();
    if found.is_empty() { definition.to_owned() } else { found.join(", ") }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}
