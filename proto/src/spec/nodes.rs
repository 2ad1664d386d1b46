//! `custom_nodes`: each node's repository and its directory.

use super::reader::{Fields, Found, Node};
use super::report::{Place, Placed, Problem, Report};
use super::{NodeSpec, repo};
use crate::NodeDir;
use crate::ids::shown;
use std::collections::HashMap;

/// The fields of a custom node.
pub(super) const FIELDS: &[&str] =
    &["repo", "ref", "commit", "path", "name", "target_dir", "install_requirements"];

/// Spellings of "the directory of the custom nodes" at the start of `path` and `target_dir`, longest first.
const CUSTOM_NODES: &[&str] = &[
    "$COMFY_HOME/ComfyUI/custom_nodes/",
    "${COMFY_HOME}/ComfyUI/custom_nodes/",
    "$COMFY_HOME/custom_nodes/",
    "${COMFY_HOME}/custom_nodes/",
    "ComfyUI/custom_nodes/",
    "custom_nodes/",
];

/// Reads the list. No two nodes of the result have the same directory.
pub(super) fn read(report: &mut Report, nodes: &[Node<'_>]) -> Vec<NodeSpec> {
    let mut kept: Vec<(NodeSpec, Place)> = Vec::new();
    // ComfyUI's home may lie on a file system that does not tell upper from lower case.
    let mut by_dir: HashMap<String, usize> = HashMap::new();
    for node in nodes {
        let Some(spec) = node_spec(report, node) else { continue };
        let first = *by_dir.entry(spec.dir.as_str().to_lowercase()).or_insert(kept.len());
        match kept.get(first) {
            None => kept.push((spec, node.place.clone())),
            Some((earlier, place)) => report_second(report, (earlier, place), (&spec, &node.place)),
        }
    }
    kept.into_iter().map(|(spec, _)| spec).collect()
}

fn report_second(report: &mut Report, first: (&NodeSpec, &Place), second: (&NodeSpec, &Place)) {
    let (spec, place) = second;
    let same = repo::same_repo(&first.0.repo.repo, &spec.repo.repo)
        && (&first.0.repo.git_ref, &first.0.repo.commit) == (&spec.repo.git_ref, &spec.repo.commit)
        && first.0.install_requirements == spec.install_requirements;
    if same {
        let message = format!("this is `{}` again; it is taken once", first.1.field);
        report.warn(place, message, "remove one of the two");
        return;
    }
    let message = format!(
        "`{}` has the same directory, `{}`: `{}` and `{}` cannot both go there",
        first.1.field,
        first.0.dir,
        shown(&first.0.repo.repo),
        shown(&spec.repo.repo)
    );
    report.error(place, Problem::new(message, "remove one of the two, or give one another `name`"));
}

fn node_spec(report: &mut Report, node: &Node<'_>) -> Option<NodeSpec> {
    let fields = Fields::read(report, node, FIELDS)?;
    let repo = repo::read(report, &fields);
    let install_requirements = fields.boolean(report, "install_requirements").unwrap_or(true);
    let given = given_dir(report, &fields);
    let repo = repo?;
    let dir = match given {
        Found::Value(dir) => dir,
        Found::Absent => report.take(&fields.place, repo::default_dir(&repo.repo))?,
        Found::Wrong => return None,
    };
    Some(NodeSpec { dir, repo, install_requirements })
}

/// `name`, `target_dir` and `path` all name the directory; those that are there have to agree.
fn given_dir(report: &mut Report, fields: &Fields<'_>) -> Found<NodeDir> {
    let mut agreed: Option<Placed<NodeDir>> = None;
    for name in ["name", "target_dir", "path"] {
        let text = match fields.find_text(report, name) {
            Found::Absent => continue,
            Found::Wrong => return Found::Wrong,
            Found::Value(text) => text,
        };
        let dir = if name == "name" { plain_dir(text.value) } else { dir_of_path(text.value) };
        let Some(dir) = report.take(&text.place, dir) else { return Found::Wrong };
        match &agreed {
            Some(first) if first.value != dir => {
                let message = format!("this says `{dir}`, `{}` says `{}`", first.place.field, first.value);
                report.error(&text.place, Problem::new(message, "keep one of the two"));
                return Found::Wrong;
            }
            Some(_) => {}
            None => agreed = Some(text.with(dir)),
        }
    }
    agreed.map_or(Found::Absent, |dir| Found::Value(dir.value))
}

const DIR_HINT: &str = "write the name of a directory under custom_nodes, such as `ComfyUI-KJNodes`";

fn plain_dir(text: &str) -> Result<NodeDir, Problem> {
    NodeDir::new(text).map_err(|error| Problem::name(&error, DIR_HINT))
}

fn dir_of_path(text: &str) -> Result<NodeDir, Problem> {
    if text.starts_with('/') {
        let message =
            format!("`{}` is absolute; custom nodes live under ComfyUI's custom_nodes", shown(text));
        return Err(Problem::new(message, DIR_HINT));
    }
    let inside = CUSTOM_NODES.iter().find_map(|prefix| text.strip_prefix(prefix)).unwrap_or(text);
    if inside.starts_with('$') {
        let message = format!("`{}` is not under ComfyUI's custom_nodes", shown(text));
        return Err(Problem::new(message, DIR_HINT));
    }
    plain_dir(inside.trim_end_matches('/'))
}
