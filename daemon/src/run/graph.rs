//! A workflow as data: is it one, which nodes has it, and how it is posted for one job. Pure.

use super::RunError;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Name of the input that makes a job's output nodes its own.
const JOB_INPUT: &str = "_comfyd_job";

/// How ComfyUI's pages mark a file of the input directory.
const INPUT_MARK: &str = " [input]";

/// A workflow in API format: node ids to classes and inputs.
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    prompt: Map<String, Value>,
    classes: BTreeMap<String, String>,
}

impl Graph {
    /// Checks that this is a workflow in API format. Whether its nodes exist and fit is ComfyUI's to say.
    ///
    /// # Errors
    /// Says what it is instead, or which node is none.
    pub fn parse(workflow: Value) -> Result<Self, RunError> {
        let Value::Object(prompt) = workflow else {
            return Err(RunError::NotAWorkflow("it is not an object".to_owned()));
        };
        let is_list = |key: &str| prompt.get(key).is_some_and(Value::is_array);
        if is_list("nodes") && is_list("links") {
            return Err(RunError::EditorFormat);
        }
        if prompt.is_empty() {
            return Err(RunError::NotAWorkflow("it has no nodes".to_owned()));
        }
        let classes = prompt.iter().map(|(id, node)| Ok((id.clone(), class_of(id, node)?)));
        Ok(Self { classes: classes.collect::<Result<_, RunError>>()?, prompt })
    }

    /// Returns the nodes' ids and classes.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.classes.iter().map(|(id, class)| (id.as_str(), class.as_str()))
    }

    /// Returns the workflow as it was given, but for names of inputs.
    pub(super) fn prompt(&self) -> &Map<String, Value> {
        &self.prompt
    }

    /// Returns a node's class; empty if there is no such node.
    pub fn class(&self, node: &str) -> &str {
        self.classes.get(node).map_or("", String::as_str)
    }

    /// Returns a node's inputs that are texts, by name.
    pub(super) fn texts(&self, node: &str) -> impl Iterator<Item = (&str, &str)> {
        let inputs = self.prompt.get(node).and_then(|node| node.get("inputs")).and_then(Value::as_object);
        inputs.into_iter().flatten().filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
    }

    /// Returns a node and all that it depends on.
    pub(super) fn upstream<'a>(&'a self, node: &'a str) -> BTreeSet<&'a str> {
        let (mut found, mut next) = (BTreeSet::new(), vec![node]);
        while let Some(node) = next.pop() {
            if !found.insert(node) {
                continue;
            }
            next.extend(self.links(node));
        }
        found
    }

    /// Returns the nodes that a node's inputs are linked to.
    fn links(&self, node: &str) -> impl Iterator<Item = &str> {
        let inputs = self.prompt.get(node).and_then(|node| node.get("inputs")).and_then(Value::as_object);
        // A link is `[node, output]`.
        let links =
            inputs.into_iter().flatten().filter_map(|(_, value)| match value.as_array()?.as_slice() {
                [node, output] if output.is_u64() => node.as_str(),
                _ => None,
            });
        links.filter(|node| self.classes.contains_key(*node))
    }

    /// Returns the texts among all inputs, those of a node behind those of the nodes that it needs: in the order in
    /// which ComfyUI comes to them, as far as a graph tells.
    pub(super) fn texts_in_order(&self) -> Vec<&str> {
        let (mut seen, mut texts) = (BTreeSet::new(), Vec::new());
        // With whether all that it needs stands in front of it.
        let mut next: Vec<(&str, bool)> =
            self.classes.keys().rev().map(|node| (node.as_str(), false)).collect();
        while let Some((node, is_due)) = next.pop() {
            if is_due {
                texts.extend(self.texts(node).map(|(_, text)| text));
            } else if seen.insert(node) {
                next.push((node, true));
                next.extend(self.links(node).map(|node| (node, false)));
            }
        }
        texts
    }

    /// Lets inputs that name a file name another one. ComfyUI's own mark for files of the input
    /// directory (`x.png [input]`, `folder_paths.py`, `annotated_filepath`) stays.
    pub(super) fn rename(&mut self, names: &BTreeMap<String, String>) {
        let inputs = self.prompt.values_mut().filter_map(|node| node.get_mut("inputs")?.as_object_mut());
        for value in inputs.flat_map(Map::values_mut) {
            let Value::String(text) = value else { continue };
            let (name, mark) = match text.strip_suffix(INPUT_MARK) {
                Some(name) => (name, INPUT_MARK),
                None => (text.as_str(), ""),
            };
            if let Some(other) = names.get(name) {
                *text = format!("{other}{mark}");
            }
        }
    }

    /// Returns the prompt to post for one job.
    ///
    /// ComfyUI does not execute a node again whose class and inputs, and those of all before it, are as
    /// they were; for an output node it then tells the *old* job's files, which may be gone. One more
    /// input, unique to the job, changes the signature of the output nodes alone, so that the costly
    /// nodes before them stay cached. ComfyUI 0.3.75 skips inputs that a class does not declare, when it
    /// validates and when it executes (`execution.py`: `get_input_data`, `validate_inputs`).
    pub(super) fn for_job(&self, output_nodes: &[String], job: &str) -> Value {
        let mut prompt = self.prompt.clone();
        for node in output_nodes {
            let inputs = prompt.get_mut(node).and_then(|node| node.get_mut("inputs"));
            if let Some(Value::Object(inputs)) = inputs {
                inputs.insert(JOB_INPUT.to_owned(), json!(job));
            }
        }
        Value::Object(prompt)
    }
}

fn class_of(id: &str, node: &Value) -> Result<String, RunError> {
    let not = |what: &str| RunError::NotAWorkflow(format!("node `{}` has no {what}", id.escape_debug()));
    let class = node.get("class_type").and_then(Value::as_str).ok_or_else(|| not("class_type"))?;
    // ComfyUI's own word for a node without inputs is a Python KeyError.
    let has_inputs = node.get("inputs").is_some_and(Value::is_object);
    if has_inputs { Ok(class.to_owned()) } else { Err(not("inputs")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_workflow_is_named() {
        let table = [
            (json!([]), "it is not an object"),
            (json!({}), "it has no nodes"),
            (json!({"3": {"inputs": {}}}), "node `3` has no class_type"),
            (json!({"3": {"class_type": "A"}}), "node `3` has no inputs"),
            (json!({"version": 1}), "node `version` has no class_type"),
        ];
        for (workflow, reason) in table {
            let error = Graph::parse(workflow).unwrap_err();
            assert!(matches!(&error, RunError::NotAWorkflow(why) if why == reason), "{error}");
        }
        let editor = json!({"nodes": [], "links": [], "version": 0.4});
        assert!(matches!(Graph::parse(editor), Err(RunError::EditorFormat)));
    }

    #[test]
    fn names_of_inputs_are_replaced_where_they_stand_alone() {
        let of = |a: &str, b: &str| {
            json!({
                "1": {"class_type": "LoadImage", "inputs": {"image": a, "seed": 1, "from": ["2", 0]}},
                "2": {"class_type": "Text", "inputs": {"text": b}},
            })
        };
        let names = BTreeMap::from([("a.png".to_owned(), "j-a.png".to_owned())]);
        let table = [
            ("a.png", "say a.png", "j-a.png", "say a.png"),
            ("a.png [input]", "a.png [output]", "j-a.png [input]", "a.png [output]"),
            ("b/a.png", "a.png ", "b/a.png", "a.png "),
        ];
        for (a, b, new_a, new_b) in table {
            let mut graph = Graph::parse(of(a, b)).unwrap();
            graph.rename(&names);
            assert_eq!(graph, Graph::parse(of(new_a, new_b)).unwrap());
        }
        let graph = Graph::parse(of("a.png", "x")).unwrap();
        assert_eq!(graph.upstream("1"), ["1", "2"].into());
        assert_eq!(graph.upstream("2"), ["2"].into());
    }

    #[test]
    fn texts_stand_in_the_order_in_which_they_are_needed() {
        let node = |text: &str, needs: &[&str]| {
            let links = needs.iter().map(|need| ((*need).to_owned(), json!([need, 0])));
            let inputs: Map<_, _> = links.chain([("text".to_owned(), json!(text))]).collect();
            json!({"class_type": "A", "inputs": inputs})
        };
        let workflow = json!({
            "1": node("sampler", &["4", "5"]), "2": node("decoder", &["1", "3"]), "3": node("vae", &[]),
            "4": node("unet", &["9"]), "5": node("clip", &["gone", "5"]), "9": node("lora", &["4"]),
        });
        let graph = Graph::parse(workflow).unwrap();
        let texts = graph.texts_in_order();
        let place = |text| texts.iter().position(|other| *other == text).unwrap();
        assert_eq!(texts.len(), 6);
        assert!(place("unet") < place("sampler") && place("clip") < place("sampler"), "{texts:?}");
        assert!(place("sampler") < place("decoder") && place("vae") < place("decoder"), "{texts:?}");
    }

    #[test]
    fn only_output_nodes_differ_between_jobs() {
        let workflow = json!({
            "1": {"class_type": "EmptyImage", "inputs": {"width": 64}, "_meta": {"title": "x"}},
            "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0]}},
        });
        let graph = Graph::parse(workflow.clone()).unwrap();
        assert_eq!(graph.nodes().collect::<Vec<_>>(), [("1", "EmptyImage"), ("2", "SaveImage")]);
        let posted = graph.for_job(&["2".to_owned()], "j");
        assert_eq!(posted["1"], workflow["1"]);
        assert_eq!(posted["2"]["inputs"], json!({"images": ["1", 0], "_comfyd_job": "j"}));
    }
}
