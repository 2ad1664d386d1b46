//! `models`: each model's link and its place under the models directory.

use super::ModelSpec;
use super::reader::{Fields, Found, Node, text};
use super::report::{Place, Placed, Problem, Report};
use crate::RelPath;
use crate::ids::shown;
use crate::source::{Location, ModelSource};
use std::collections::HashMap;

/// The fields of a model.
pub(super) const FIELDS: &[&str] = &["name", "source", "checksum", "target_subdir", "target_path", "path"];

/// Spellings of "the models directory" at the start of a path, longest first.
const MODELS_DIR: &[&str] = &[
    "$COMFY_HOME/ComfyUI/models/",
    "${COMFY_HOME}/ComfyUI/models/",
    "$COMFY_HOME/models/",
    "${COMFY_HOME}/models/",
    "$MODELS_DIR/",
    "${MODELS_DIR}/",
];

const SOURCE_HINT: &str = "write `https://…`, `hf://owner/repo/path`, `civitai://models/<version id>`, `s3://bucket/key` or `file:///…`";
const FOLDER_HINT: &str = "write `target_subdir`, such as `checkpoints`, `loras`, `vae`, `diffusion_models`, `text_encoders`, `clip_vision`, `controlnet`, `upscale_models` or `embeddings`";
const NAME_HINT: &str = "write the file's name in `name`, such as `model.safetensors`";

/// Reads the list. No two models of the result have the same target.
pub(super) fn read(report: &mut Report, models: &[Node<'_>]) -> Vec<ModelSpec> {
    let mut kept: Vec<ModelSpec> = Vec::new();
    let mut taken = Targets::default();
    for model in models {
        let Some(spec) = model_spec(report, model) else { continue };
        match taken.claim(&spec, &model.place) {
            Claim::New => kept.push(spec),
            Claim::Again(first) => {
                let message = format!("this is `{first}` again; it is taken once");
                report.warn(&model.place, message, "remove one of the two");
            }
            Claim::Taken(first) => {
                let message = format!("`{first}` has the same target, `{}`, and another source", spec.target);
                report.error(&model.place, Problem::new(message, "give one of the two another `name`"));
            }
            Claim::Nested(first) => {
                let message = format!("`{}` lies inside `{first}`, or the other way round", spec.target);
                report
                    .error(&model.place, Problem::new(message, "a file cannot also be a folder: rename one"));
            }
        }
    }
    kept
}

/// The targets so far, each with the place of its model.
#[derive(Default)]
struct Targets {
    files: HashMap<String, (ModelSource, String)>,
    /// The folders that the files lie in, each with one file's place.
    folders: HashMap<String, String>,
}

/// How a model's target goes with the earlier ones. Holds the earlier model's field.
enum Claim {
    New,
    Again(String),
    Taken(String),
    Nested(String),
}

impl Targets {
    fn claim(&mut self, model: &ModelSpec, place: &Place) -> Claim {
        let target = model.target.as_str();
        if let Some((source, first)) = self.files.get(target) {
            let first = first.clone();
            return if *source == model.source { Claim::Again(first) } else { Claim::Taken(first) };
        }
        let folders = || target.match_indices('/').map(|(at, _)| &target[..at]);
        let file_above = folders().find_map(|folder| self.files.get(folder)).map(|(_, first)| first);
        if let Some(first) = file_above.or_else(|| self.folders.get(target)) {
            return Claim::Nested(first.clone());
        }
        for folder in folders() {
            self.folders.entry(folder.to_owned()).or_insert_with(|| place.field.clone());
        }
        self.files.insert(target.to_owned(), (model.source.clone(), place.field.clone()));
        Claim::New
    }
}

fn model_spec(report: &mut Report, model: &Node<'_>) -> Option<ModelSpec> {
    let fields = Fields::read(report, model, FIELDS)?;
    if fields.is_empty() {
        let hint = "remove it, or give it at least `source` and `target_subdir`";
        report.error(&model.place, Problem::new("empty model", hint));
        return None;
    }
    let source = fields.require(report, "source", SOURCE_HINT).and_then(|node| text(report, &node));
    let source = source
        .and_then(|link| report.take(&link.place, ModelSource::parse(link.value).map_err(Problem::from)));
    let checksum = fields.text(report, "checksum").map(|given| checksum(report, &given));
    let target = target(report, &fields, source.as_ref());
    Some(ModelSpec { target: target?, source: source?, checksum })
}

/// Normalises the two known spellings of a SHA-256; keeps anything else as it is.
fn checksum(report: &mut Report, given: &Placed<&str>) -> String {
    let hex = given.value.strip_prefix("sha256:").unwrap_or(given.value);
    if hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return format!("sha256:{}", hex.to_ascii_lowercase());
    }
    let hint = "write `sha256:` and 64 hex digits; the checksum is recorded, never verified";
    report.warn(&given.place, "this is no SHA-256 checksum", hint);
    given.value.to_owned()
}

/// Finds the place: `target_path` or `path` if there is one, else `target_subdir` and the name.
fn target(report: &mut Report, fields: &Fields<'_>, source: Option<&ModelSource>) -> Option<RelPath> {
    let name = fields.find_text(report, "name");
    let subdir = fields.find_text(report, "target_subdir");
    match (given_path(report, fields), name, subdir) {
        (Found::Value(path), name, subdir) => target_by_path(report, &path, name.ok(), subdir.ok(), source),
        // What is wrong was reported; a guess from what is left would only confuse.
        (Found::Wrong, ..) | (_, Found::Wrong, _) | (.., Found::Wrong) => None,
        (Found::Absent, _, Found::Absent) => {
            report.error(&fields.place, Problem::new("the folder of the model is missing", FOLDER_HINT));
            None
        }
        (Found::Absent, name, Found::Value(subdir)) => {
            let folder = report.take(&subdir.place, folder(subdir.value));
            target_in_folder(report, &fields.place, folder, name.ok(), source)
        }
    }
}

fn target_by_path(
    report: &mut Report,
    path: &Placed<&str>,
    name: Option<Placed<&str>>,
    subdir: Option<Placed<&str>>,
    source: Option<&ModelSource>,
) -> Option<RelPath> {
    let inside = report.take(&path.place, under_models(path.value))?;
    // Old specs use `name` as a label beside `target_path`; it counts only for a folder.
    let whole = match inside.strip_suffix('/') {
        Some(folder) => format!("{folder}/{}", file_name(report, &path.place, name, source)?),
        None => inside.to_owned(),
    };
    let target = report.take(&path.place, with_folder(&whole))?;
    if let Some(subdir) = subdir {
        compare_folder(report, &subdir, &target);
    }
    Some(target)
}

fn target_in_folder(
    report: &mut Report,
    model: &Place,
    folder: Option<&str>,
    name: Option<Placed<&str>>,
    source: Option<&ModelSource>,
) -> Option<RelPath> {
    let place = name.as_ref().map_or(model, |name| &name.place).clone();
    let name = file_name(report, model, name, source)?;
    let target = RelPath::new(format!("{}/{name}", folder?));
    let target = report.take(&place, target.map_err(|error| Problem::name(&error, NAME_HINT)))?;
    if !target.file_name().contains('.') {
        let message = format!("`{}` has no extension: ComfyUI will not list it", shown(target.file_name()));
        report.warn(&place, message, NAME_HINT);
    }
    Some(target)
}

/// Reads `target_path` or its short form `path`; where both are there, they have to agree.
fn given_path<'a>(report: &mut Report, fields: &Fields<'a>) -> Found<Placed<&'a str>> {
    let (long, short) = (fields.find_text(report, "target_path"), fields.find_text(report, "path"));
    match (long, short) {
        (Found::Wrong, _) | (_, Found::Wrong) => Found::Wrong,
        (Found::Value(long), Found::Value(short)) if long.value != short.value => {
            report
                .error(&short.place, Problem::new("this differs from `target_path`", "keep one of the two"));
            Found::Wrong
        }
        (Found::Value(path), _) | (Found::Absent, Found::Value(path)) => Found::Value(path),
        (Found::Absent, Found::Absent) => Found::Absent,
    }
}

/// The name as given, or as the link suggests it.
fn file_name(
    report: &mut Report,
    place: &Place,
    name: Option<Placed<&str>>,
    source: Option<&ModelSource>,
) -> Option<String> {
    if let Some(name) = name {
        return Some(name.value.to_owned());
    }
    // Without a source, the error about the source is enough.
    let source = source?;
    let suggested = source.file_name().filter(|name| name.contains('.'));
    if suggested.is_none() {
        let why = match source.location() {
            Location::Civitai { .. } => "a Civitai link does not tell the file's name",
            _ => "the link does not tell the file's name",
        };
        report.error(place, Problem::new(why, NAME_HINT));
    }
    suggested
}

fn compare_folder(report: &mut Report, subdir: &Placed<&str>, target: &RelPath) {
    let parent = target.as_str().rsplit_once('/').map_or("", |(parent, _)| parent);
    let same = folder(subdir.value).is_ok_and(|folder| folder == parent);
    if !same {
        let message = format!("the place of the model is `{target}`; this folder is not used");
        report.warn(&subdir.place, message, "keep either `target_path` or `target_subdir`");
    }
}

fn with_folder(path: &str) -> Result<RelPath, Problem> {
    const HINT: &str = "write `<folder>/<file>`, such as `loras/x.safetensors`";
    let path = RelPath::new(path).map_err(|error| Problem::name(&error, HINT))?;
    match path.folder() {
        Some(_) => Ok(path),
        None => Err(Problem::new(format!("`{path}` names no folder"), FOLDER_HINT)),
    }
}

fn folder(text: &str) -> Result<&str, Problem> {
    let folder = under_models(text)?;
    let folder = folder.strip_suffix('/').unwrap_or(folder);
    RelPath::new(folder).map(|_| folder).map_err(|error| Problem::name(&error, FOLDER_HINT))
}

/// Takes the models directory off the start of a path.
fn under_models(text: &str) -> Result<&str, Problem> {
    const HINT: &str = "write it relative to the models directory, such as `loras/x.safetensors`";
    let inside = MODELS_DIR.iter().find_map(|prefix| text.strip_prefix(prefix)).unwrap_or(text);
    if inside.starts_with(['/', '$', '~']) {
        return Err(Problem::new(format!("`{}` is not under the models directory", shown(text)), HINT));
    }
    if inside.starts_with("models/") {
        let message = format!("`{}` starts with the models directory itself", shown(text));
        return Err(Problem::new(message, HINT));
    }
    Ok(inside)
}
