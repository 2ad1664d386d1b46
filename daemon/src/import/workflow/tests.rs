use super::*;
use proptest::prelude::*;
use serde_json::json;

const COMMIT: &str = "3f2a1b0c9d3f2a1b0c9d3f2a1b0c9d3f2a1b0c9d";

fn node(class: &str, properties: &Value) -> Value {
    json!({ "id": 1, "type": class, "mode": 0, "properties": properties, "widgets_values": [] })
}

fn found(value: &Value) -> Found {
    read(&value.to_string()).unwrap()
}

fn packs(found: &Found) -> Vec<(&str, Option<&str>, Revision)> {
    let of = |node: &'_ FoundNode| node.repo.revision.clone();
    found.nodes.iter().map(|node| (node.name.as_str(), node.repo.url.as_deref(), of(node))).collect()
}

#[test]
fn packs_are_those_that_nodes_name_wherever_they_lie() {
    let kj = |ver: &str| json!({ "cnr_id": "comfyui-kjnodes", "ver": ver, "Node name for S&R": "x" });
    let git = json!({ "aux_id": "owner/pack.git", "ver": COMMIT });
    let core = |ver: &str| node("KSampler", &json!({ "cnr_id": "comfy-core", "ver": ver }));
    let workflow = json!({
        "version": 1, "links": [], "nodes": [
            core("0.3.9"), core("0.3.40"), node("A", &kj("1.2.3")), node("B", &kj("1.10.0")),
            node("0a1b-subgraph", &json!({})), node("workflow>mine", &json!({})), node("Mystery", &json!({})),
        ],
        "definitions": { "subgraphs": [{ "id": "0a1b-subgraph", "nodes": [node("C", &git)] }] },
        "extra": { "groupNodes": { "mine": { "nodes": [node("D", &json!({ "cnr_id": "deep", "ver": "nightly" }))] } } },
    });
    let found = found(&workflow);
    assert_eq!(found.comfy.revision, Revision::Version("0.3.40".to_owned()));
    let expected = [
        ("Mystery", None, Revision::Unknown),
        ("comfyui-kjnodes", None, Revision::Version("1.10.0".to_owned())),
        ("deep", None, Revision::Unknown),
        ("https://github.com/owner/pack", Some("https://github.com/owner/pack"), Revision::read(COMMIT)),
    ];
    assert_eq!(packs(&found), expected);
    assert_eq!(found.nodes[0].class.as_deref(), Some("Mystery"));
    assert_eq!(found.warnings.len(), 1, "two versions of one pack: {:?}", found.warnings);
}

#[test]
fn the_old_format_and_the_one_of_the_api_name_the_same_models() {
    let hint =
        json!({ "name": "a.safetensors", "url": "https://h/a.safetensors", "directory": "checkpoints" });
    let saved = json!({ "version": 0.4, "nodes": [
        { "type": "CheckpointLoaderSimple", "properties": { "models": [hint] }, "widgets_values": ["a.safetensors"] },
        { "type": "LoraLoader", "properties": {}, "widgets_values": ["wan\\b.safetensors", 1.0] },
        { "type": "MarkdownNote", "properties": {}, "widgets_values": ["[b](https://h/b.safetensors)"] },
    ] });
    let targets = |found: &Found| -> Vec<_> {
        found.models.iter().map(|model| (model.target(), model.link.is_some())).collect()
    };
    let expected = [("checkpoints/a.safetensors", true), ("loras/wan/b.safetensors", true)];
    assert_eq!(targets(&found(&saved)), expected.map(|(target, linked)| (Some(target.to_owned()), linked)));
    let api = json!({
        "3": { "class_type": "CheckpointLoaderSimple", "inputs": { "ckpt_name": "a.safetensors" } },
        "4": { "class_type": "Odd", "inputs": { "m": "c.gguf", "model": ["3", 0] } },
    });
    let expected = [(Some("checkpoints/a.safetensors".to_owned()), false), (None, false)];
    for wrapped in [api.clone(), json!({ "prompt": api }), json!({ "input": { "workflow": api } })] {
        let found = found(&wrapped);
        assert_eq!(targets(&found), expected);
        assert_eq!(packs(&found), [("Odd", None, Revision::Unknown)]);
    }
}

#[test]
fn what_python_takes_for_json_is_read() {
    let text =
        r#"{"3": {"class_type": "A", "is_changed": [NaN, -Infinity], "inputs": {"x": "NaN \" Infinity\\"}}}"#;
    assert_eq!(read(text).unwrap().nodes.len(), 1);
    assert_eq!(without_nan(r#"["a\"NaN", NaN, "\\", Infinity]"#), r#"["a\"NaN", null, "\\", null]"#);
}

#[test]
fn other_files_are_told_apart() {
    for text in ["", "{}", "[]", "3", "{\"nodes\": 3}", "{\"comfyui\": null}", "not json"] {
        let error = read(text).unwrap_err().to_string();
        assert!(error.starts_with("this is no workflow: ") && error.len() < 400, "{text}: {error}");
    }
    assert!(read(&("[".repeat(100_000))).is_err(), "nesting is bounded");
}

#[test]
fn an_address_of_github_holds_nothing_else() {
    assert_eq!(repository("o/r").as_deref(), Some("https://github.com/o/r"));
    for odd in ["", "o", "o/", "o/r/x", "o r/x", "../..\n", "https://h/o"] {
        assert_eq!(repository(odd), None, "{odd}");
    }
}

/// Any JSON.
fn any_json() -> impl Strategy<Value = Value> {
    let names =
        "nodes|type|properties|cnr_id|ver|models|name|url|class_type|inputs|widgets_values|definitions|x";
    let text = prop_oneof![names.prop_map(|s: String| s), Just("a.safetensors".to_owned())];
    let leaf =
        prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), text.prop_map(Value::from)];
    leaf.prop_recursive(5, 40, 5, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::hash_map(names, inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn nothing_makes_it_panic(value in any_json()) {
        read(&value.to_string()).ok();
    }
}
