//! Text → [`Spec`], or all its errors at once.

use super::reader::{Fields, Node, VERSION, wrong_type};
use super::report::{Place, Placed, Problem, Report};
use super::{Diagnostic, RepoSpec, SCHEMA_VERSION, Spec, json, models, nodes, options, repo};
use crate::VersionId;
use crate::ids::shown;
use jsonc_parser::ast::Value;

/// What reading a spec gave.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// The spec; none when there are errors.
    pub spec: Option<Spec>,
    /// Everything found, in the order of the file.
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads a spec. `file` is shown in diagnostics; `file_id` is the file's name without `.json`.
///
/// Never fails half-way: text that is not JSON gives one diagnostic, anything else gives all of them.
/// Time and memory are bounded by the length of the text, which may be 4 MiB.
pub fn parse(text: &str, file: &str, file_id: &str) -> Parsed {
    // Some editors begin a file with a byte order mark; it is no part of the JSON.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut report = Report::default();
    let spec = match json::read(text) {
        Ok(tree) => {
            let root = Placed { place: Place { at: 0, field: String::new() }, value: &tree };
            read(&mut report, &root, file_id)
        }
        Err((at, problem)) => {
            report.error(&Place { at, field: String::new() }, problem);
            None
        }
    };
    let spec = spec.filter(|_| !report.refused());
    Parsed { spec, diagnostics: report.finish(text, file) }
}

/// The fields of a spec.
pub(super) const FIELDS: &[&str] = &[
    "$schema",
    "schema_version",
    "version_id",
    "id",
    "comfy",
    "custom_nodes",
    "models",
    "python_packages",
    "env",
    "options",
];

/// The fields of `comfy`.
pub(super) const COMFY_FIELDS: &[&str] = &["repo", "ref", "commit"];

fn read(report: &mut Report, root: &Node<'_>, file_id: &str) -> Option<Spec> {
    let fields = Fields::read(report, root, FIELDS)?;
    schema_version(report, &fields);
    let version_id = version_id(report, &fields, file_id);
    let comfy = comfy(report, &fields);
    let custom_nodes = fields.list(report, "custom_nodes");
    let models = fields.list(report, "models");
    let python_packages = fields.list(report, "python_packages");
    // Each part is read whatever the others gave, so that all errors come at once.
    let custom_nodes = nodes::read(report, &custom_nodes);
    let models = models::read(report, &models);
    let python_packages = options::packages(report, &python_packages);
    let env = fields.get("env").map(|node| options::env(report, &node)).unwrap_or_default();
    let options = fields.get("options").map(|node| options::read(report, &node)).unwrap_or_default();
    Some(Spec { version_id: version_id?, comfy: comfy?, custom_nodes, models, python_packages, env, options })
}

fn schema_version(report: &mut Report, fields: &Fields<'_>) {
    let hint = format!("write `\"schema_version\": {SCHEMA_VERSION}`");
    let Some(node) = fields.require(report, "schema_version", &hint) else { return };
    let Value::NumberLit(literal) = node.value else {
        wrong_type::<()>(report, &node, &VERSION);
        return;
    };
    if literal.value.parse() != Ok(SCHEMA_VERSION) {
        let message = format!("this comfyd does not know schema version {}", shown(literal.value));
        report.error(&node.place, Problem::new(message, hint));
    }
}

/// The file's name is the id: it is what people type and what the home and the lock are called.
fn version_id(report: &mut Report, fields: &Fields<'_>, file_id: &str) -> Option<VersionId> {
    for name in ["version_id", "id"] {
        if let Some(given) = fields.text(report, name)
            && given.value != file_id
        {
            let message = format!(
                "`{}` differs from the file's name; the version is `{}`",
                shown(given.value),
                shown(file_id)
            );
            report.warn(&given.place, message, "rename the file, or remove the field");
        }
    }
    let checked = VersionId::new(file_id).map_err(|error| {
        Problem::name(&error, "rename the file: its name without `.json` is the version's id")
    });
    report.take(&fields.place, checked)
}

fn comfy(report: &mut Report, fields: &Fields<'_>) -> Option<RepoSpec> {
    let hint =
        "write `\"comfy\": {\"repo\": \"https://github.com/comfyanonymous/ComfyUI\", \"ref\": \"v0.3.75\"}`";
    let node = fields.require(report, "comfy", hint)?;
    let fields = Fields::read(report, &node, COMFY_FIELDS)?;
    repo::read(report, &fields)
}
