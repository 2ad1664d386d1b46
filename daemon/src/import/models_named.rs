//! Models that a workflow names: with a link, by a widget's value, or in a note for people. Pure.

use super::classes::is_model;
use super::found::FoundModel;
use serde_json::Value;

/// How deep the values of a widget are looked through.
const DEEP: usize = 8;

/// A model with its link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Linked {
    name: String,
    folder: Option<String>,
    link: String,
    sha256: Option<String>,
}

/// Reads a model hint: `name`, `url`, `directory`, and a hash where someone wrote one.
pub(super) fn hint(value: &Value) -> Option<Linked> {
    let text = |name: &str| value[name].as_str().map(str::trim).filter(|text| !text.is_empty());
    let is_sha256 = text("hash_type").is_some_and(|kind| kind.eq_ignore_ascii_case("sha256"));
    Some(Linked {
        name: text("name")?.replace('\\', "/"),
        folder: text("directory").map(str::to_owned),
        link: text("url")?.to_owned(),
        sha256: text("hash").filter(|_| is_sha256).map(str::to_owned),
    })
}

/// Finds links of model files in a text: templates tell them in notes.
pub(super) fn links(text: &str) -> Vec<Linked> {
    let ends = |c: char| c.is_whitespace() || matches!(c, ')' | ']' | '>' | '<' | '"' | '\'' | '`' | '|');
    let starts = text.match_indices("https://").map(|(at, _)| &text[at..]);
    let links = starts.map(|rest| rest.split(ends).next().unwrap_or(rest));
    let linked = links.filter_map(|link| {
        let path = link.split(['?', '#']).next().unwrap_or(link);
        let name = path.rsplit('/').next().filter(|name| is_model(name))?.to_owned();
        Some(Linked { name, folder: None, link: link.to_owned(), sha256: None })
    });
    linked.collect()
}

/// Calls `each` with all texts in a value.
pub(super) fn strings(value: &Value, each: &mut impl FnMut(&str)) {
    fn walk(value: &Value, depth: usize, each: &mut dyn FnMut(&str)) {
        match value {
            Value::String(text) => each(text),
            Value::Array(values) if depth > 0 => values.iter().for_each(|value| walk(value, depth - 1, each)),
            Value::Object(fields) if depth > 0 => {
                fields.values().for_each(|value| walk(value, depth - 1, each));
            }
            _ => {}
        }
    }
    walk(value, DEEP, each);
}

/// Puts what is linked and what is named together: a model once, each with all that is known of it.
pub(super) fn join(linked: Vec<Linked>, named: Vec<FoundModel>) -> Vec<FoundModel> {
    let mut models: Vec<FoundModel> = Vec::new();
    let (told, noted): (Vec<_>, Vec<_>) = linked.into_iter().partition(|linked| linked.folder.is_some());
    for Linked { name, folder, link, sha256 } in told {
        if !models.iter().any(|model| model.name == name && model.folder == folder) {
            models.push(FoundModel { name, folder, link: Some(link), sha256, ..FoundModel::default() });
        }
    }
    for mut model in named {
        let same = |known: &&mut FoundModel| {
            known.file_name() == model.file_name()
                && (known.folder == model.folder || model.folder.is_none() || known.link.is_some())
        };
        if let Some(known) = models.iter_mut().find(same) {
            // The value is where ComfyUI looks: `folder below/name`.
            if model.name.len() > known.name.len() && known.folder == model.folder {
                known.name.clone_from(&model.name);
            }
            known.by = known.by.take().or(model.by);
            continue;
        }
        let note = noted.iter().find(|linked| linked.name == model.file_name());
        model.link = note.map(|linked| linked.link.clone());
        models.push(model);
    }
    models
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_in_notes_end_where_the_text_goes_on() {
        let note = "- [a.safetensors](https://h/x/resolve/main/a.safetensors?download=true)\n\
                    see https://h/page and <https://h/b.gguf>.";
        let found: Vec<_> = links(note).into_iter().map(|linked| (linked.name, linked.link)).collect();
        let expected = [
            ("a.safetensors", "https://h/x/resolve/main/a.safetensors?download=true"),
            ("b.gguf", "https://h/b.gguf"),
        ];
        assert_eq!(found, expected.map(|(name, link)| (name.to_owned(), link.to_owned())));
    }

    #[test]
    fn a_model_that_is_linked_and_named_is_one() {
        let hint = hint(&serde_json::json!({
            "name": "a.safetensors", "url": "https://h/a.safetensors", "directory": "loras",
            "hash": "AB", "hash_type": "SHA256"
        }));
        let model = |name: &str, folder: Option<&str>| FoundModel {
            name: name.to_owned(),
            folder: folder.map(str::to_owned),
            ..FoundModel::default()
        };
        let names =
            vec![model("wan/a.safetensors", Some("loras")), model("b.pth", None), model("b.pth", None)];
        let models = join(hint.into_iter().chain(links("https://h/b.pth")).collect(), names);
        let targets: Vec<_> =
            models.iter().map(|model| (model.name.as_str(), model.link.as_deref())).collect();
        assert_eq!(
            targets,
            [("wan/a.safetensors", Some("https://h/a.safetensors")), ("b.pth", Some("https://h/b.pth"))]
        );
        assert_eq!(models[0].sha256.as_deref(), Some("AB"));
    }
}
