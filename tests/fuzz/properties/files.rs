//! What holds for every file that the daemon reads of a repository, a client or a host.

use super::properties::is_short;
use comfyd::run::Graph;
use comfyd::source::model::tensor_bytes;
use comfyd::source::python::{Contributor, Inputs, Role, includes};
use std::collections::BTreeMap;

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
