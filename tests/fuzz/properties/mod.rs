//! What holds for every input that others write, whatever its bytes: it is read without a panic, and what is
//! wrong with it is said shortly and with its place. Used by the fuzz targets beside this directory and by the
//! properties of `make test`, so that the two cannot drift apart.

mod spec;

use comfyd::run::Graph;
use comfyd::source::model::tensor_bytes;
use comfyd::source::python::{Contributor, Inputs, Role, includes};
use proto::rpc::{MAX_ID_BYTES, Message, RequestId};
use proto::{Lock, ModelSource};
use std::collections::BTreeMap;

/// Longest error that any of these inputs may lead to, in bytes.
const LONGEST_ERROR: usize = 2000;

/// An input by name, and the check of what holds for it.
pub(crate) type Property = (&'static str, fn(&[u8]));

/// All of them.
#[allow(dead_code, reason = "a fuzz target has one of them")]
pub(crate) const ALL: [Property; 8] = [
    ("frame", frame),
    ("spec", spec),
    ("lock", lock),
    ("source", source),
    ("workflow", workflow),
    ("requirements", requirements),
    ("pyproject", pyproject),
    ("safetensors", safetensors),
];

fn is_short(error: &str) {
    assert!(!error.is_empty() && error.len() <= LONGEST_ERROR, "an error of {} bytes: {error}", error.len());
}

/// A line of a client.
pub(crate) fn frame(data: &[u8]) {
    match Message::read(data) {
        Err(error) => {
            is_short(&error.to_string());
            assert!(matches!(error.code(), -32700 | -32600));
        }
        Ok(message) => {
            if let Some(RequestId::Text(id)) = &message.id {
                assert!(id.len() <= MAX_ID_BYTES);
            }
            let written = serde_json::to_string(&message).unwrap();
            let read = Message::read(written.as_bytes()).unwrap();
            assert_eq!(serde_json::to_string(&read).unwrap(), written);
        }
    }
}

/// A spec's text.
pub(crate) fn spec(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        spec::check(text);
    }
}

/// A lock's text.
pub(crate) fn lock(data: &[u8]) {
    match serde_json::from_slice::<Lock>(data) {
        Err(error) => assert!(error.line() > 0 || data.is_empty(), "{error}"),
        Ok(lock) => {
            let written = serde_json::to_string(&lock).unwrap();
            let read: Lock = serde_json::from_str(&written).unwrap();
            assert_eq!(serde_json::to_string(&read).unwrap(), written);
        }
    }
}

/// A model's link.
pub(crate) fn source(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match ModelSource::parse(text) {
        Err(error) => is_short(&error.to_string()),
        Ok(source) => {
            let again = ModelSource::parse(source.as_str()).unwrap();
            assert_eq!(again.as_str(), source.as_str(), "the canonical link is its own");
            let public = source.without_secrets();
            assert_eq!(public.without_secrets(), public);
            assert!(source.file_name().is_none_or(|name| !name.is_empty() && !name.contains('/')));
        }
    }
}

/// A workflow's text.
pub(crate) fn workflow(data: &[u8]) {
    let Ok(value) = serde_json::from_slice(data) else { return };
    match Graph::parse(value) {
        Err(error) => is_short(&error.to_string()),
        Ok(graph) => graph.nodes().for_each(|(id, class)| assert_eq!(graph.class(id), class)),
    }
}

/// A node's `requirements.txt`.
pub(crate) fn requirements(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for included in includes("a/requirements.txt", &text) {
        let leaves = included.split('/').any(|part| matches!(part, "" | "." | ".."));
        assert!(!leaves, "`{included}` is no path in the repository");
    }
    contributed("requirements.txt", &text);
}

/// A node's `pyproject.toml`.
pub(crate) fn pyproject(data: &[u8]) {
    contributed("pyproject.toml", &String::from_utf8_lossy(data));
}

/// What a node writes is left out with its place, never an error; ComfyUI's is an error with its place.
fn contributed(file: &str, text: &str) {
    let by = |role| Contributor {
        name: "Someone".to_owned(),
        role,
        files: BTreeMap::from([(file.to_owned(), text.to_owned())]),
    };
    let inputs = Inputs::read(&[by(Role::Node)]).unwrap();
    for warning in &inputs.warnings {
        is_short(warning);
        assert!(warning.contains("Someone"), "without its place: {warning}");
    }
    if let Err(error) = Inputs::read(&[by(Role::Comfy)]) {
        is_short(&error.to_string());
        assert!(error.to_string().contains(file), "without its place: {error}");
    }
}

/// The header of a safetensors file.
pub(crate) fn safetensors(data: &[u8]) {
    if let Err(error) = tensor_bytes(data) {
        is_short(&error);
        assert!(error.contains("line") && error.contains("column"), "without its place: {error}");
    }
}
