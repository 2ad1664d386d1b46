//! Whether a workflow fits a ComfyUI, before it is posted: ComfyUI names one missing class and stops, and
//! some loaders are not checked at all, so that a wrong model is found minutes later.
//!
//! Classes are asked for once in a process's life, so a workflow whose like has run costs nothing. What
//! looks wrong is looked at afresh before it is said: lists of models change while a process lives.

use super::{Graph, RunError};
use crate::comfy::{Class, Comfy, ComfyError};
use crate::supervise::{NodeImport, Ready};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How similar a name must be to be offered instead, from 0 to 1 (Jaro and Winkler's measure).
const SIMILAR: f64 = 0.75;

/// How many names are offered.
const OFFERED: usize = 3;

/// What files of models end in. Other values from lists may be valid though they are not listed: a node
/// may check them itself (`VALIDATE_INPUTS`), and ComfyUI does not tell which ones do.
const MODELS: &[&str] =
    &[".safetensors", ".sft", ".ckpt", ".pt", ".pt2", ".pth", ".bin", ".pkl", ".gguf", ".onnx", ".engine"];

/// Checks a workflow and returns the nodes that it is executed for.
///
/// # Errors
/// [`RunError::Unfit`] with all that is missing: classes, and models where no output can be made without
/// one. Outputs that can be made are ComfyUI's to make.
pub(super) async fn check(ready: &Ready, graph: &Graph) -> Result<Vec<String>, RunError> {
    let comfy = &ready.comfy;
    let mut classes = BTreeMap::new();
    let mut missing = Vec::new();
    for (node, name) in graph.nodes() {
        match comfy.class(name).await? {
            Some(class) => drop(classes.insert(name, class)),
            None => missing.push((node, name)),
        }
    }
    if !missing.is_empty() {
        return Err(unknown(&missing, &comfy.object_info().await?, &ready.node_imports));
    }
    let outputs: Vec<String> = outputs(graph, &classes).map(str::to_owned).collect();
    let mut lacking = models(graph, &classes);
    if !lacking.is_empty() {
        refresh(comfy, graph, &lacking, &mut classes).await?;
        lacking = models(graph, &classes);
    }
    let can_be_made =
        |output: &String| graph.upstream(output).iter().all(|node| !lacking.contains_key(*node));
    if lacking.is_empty() || outputs.is_empty() || outputs.iter().any(can_be_made) {
        return Ok(outputs);
    }
    Err(RunError::Unfit {
        findings: lacking.into_values().flatten().collect(),
        hint: "a model that is not listed must be in the version's `models`, under this name".to_owned(),
    })
}

fn outputs<'a>(graph: &'a Graph, classes: &BTreeMap<&str, Arc<Class>>) -> impl Iterator<Item = &'a str> {
    let is_output = |class: &str| classes.get(class).is_some_and(|class| class.output_node);
    graph.nodes().filter(move |(_, class)| is_output(class)).map(|(node, _)| node)
}

/// Asks again for the classes of nodes that seem to lack a model.
async fn refresh<'a>(
    comfy: &Comfy,
    graph: &'a Graph,
    lacking: &BTreeMap<&str, Vec<String>>,
    classes: &mut BTreeMap<&'a str, Arc<Class>>,
) -> Result<(), ComfyError> {
    let names: BTreeSet<&str> = lacking.keys().map(|node| graph.class(node)).collect();
    for name in names {
        if let Some(class) = comfy.class_anew(name).await? {
            classes.insert(name, class);
        }
    }
    Ok(())
}

/// Returns, by node, a line for each model that is in none of its lists.
fn models<'a>(graph: &'a Graph, classes: &BTreeMap<&str, Arc<Class>>) -> BTreeMap<&'a str, Vec<String>> {
    let mut lacking: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (node, name) in graph.nodes() {
        let Some(class) = classes.get(name) else { continue };
        for (input, value) in graph.texts(node) {
            let is_model = MODELS.iter().any(|ending| value.ends_with(ending));
            let Some(listed) = class.list(input).filter(|_| is_model) else { continue };
            if !listed.iter().any(|choice| choice == value) {
                let offer = offer(value, listed.iter().map(String::as_str));
                let line = format!("node {node} ({name}): {input}: there is no `{value}`{offer}");
                lacking.entry(node).or_default().push(line);
            }
        }
    }
    lacking
}

fn unknown(missing: &[(&str, &str)], all: &BTreeMap<String, Class>, imports: &[NodeImport]) -> RunError {
    let known = || all.keys().map(String::as_str);
    let mut findings: Vec<String> = missing
        .iter()
        .map(|(node, class)| format!("node {node}: there is no class `{class}`{}", offer(class, known())))
        .collect();
    // Whose class it is nobody knows who could not import it.
    let broken: Vec<&str> = imports
        .iter()
        .filter(|import| import.failure.is_some())
        .map(|import| import.path.rsplit('/').next().unwrap_or_default())
        .collect();
    findings.extend(broken.iter().map(|node| format!("custom node `{node}` could not be imported")));
    let hint = if broken.is_empty() {
        "add the custom node that brings this class to the version's spec"
    } else {
        "add the custom node that brings this class to the version's spec, or repair the one that could not \
         be imported"
    };
    RunError::Unfit { findings, hint: hint.to_owned() }
}

/// Returns the nearest of the names that exist, in words.
fn offer<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> String {
    let wanted = wanted.to_lowercase();
    let near = |name: &'a str| (strsim::jaro_winkler(&wanted, &name.to_lowercase()), name);
    let mut near: Vec<(f64, &str)> = names.map(near).filter(|(score, _)| *score >= SIMILAR).collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    let near: Vec<String> = near.iter().take(OFFERED).map(|(_, name)| format!("`{name}`")).collect();
    if near.is_empty() { String::new() } else { format!("; there is {}", near.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_nearest_names_are_offered() {
        let names = ["KSampler", "KSamplerAdvanced", "SaveImage", "LoadImage"];
        assert_eq!(offer("Ksampler", names.into_iter()), "; there is `KSampler`, `KSamplerAdvanced`");
        assert_eq!(offer("zzz", names.into_iter()), "");
    }

    #[test]
    fn models_are_sought_in_lists_of_both_generations() {
        let class = |input| {
            Arc::new(serde_json::from_value(json!({"input": {"required": {"name": input}}})).unwrap())
        };
        let classes = BTreeMap::from([
            ("Old", class(json!([["a.safetensors"], {}]))),
            ("New", class(json!(["COMBO", {"options": ["a.safetensors"]}]))),
            ("Empty", class(json!([[], {}]))),
            ("Free", class(json!(["STRING", {}]))),
        ]);
        let lacks = |class: &str, value: &str| {
            let node = json!({"1": {"class_type": class, "inputs": {"name": value}}});
            !models(&Graph::parse(node).unwrap(), &classes).is_empty()
        };
        for (class, value, expected) in [
            ("Old", "a.safetensors", false),
            ("Old", "b.safetensors", true),
            ("New", "b.safetensors", true),
            ("Empty", "b.safetensors", true),
            ("Free", "b.safetensors", false),
            ("Old", "b.png", false),
        ] {
            assert_eq!(lacks(class, value), expected, "{class} {value}");
        }
    }
}
