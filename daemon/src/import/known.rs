//! Links of models that this machine knows: from the index of the models directory and from its other specs.

use super::found::{Found, FoundModel, shown};
use crate::config::Config;
use crate::source::model::links;
use crate::store::places::Home;
use crate::store::specs;
use proto::ModelSource;
use std::collections::HashMap;

/// The models that this machine knows, by the names of their files.
#[derive(Debug, Default)]
pub(super) struct Known(HashMap<String, Vec<Model>>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Model {
    target: String,
    link: String,
    size: Option<u64>,
}

impl Known {
    /// Reads the index and all specs. Blocks.
    pub(super) fn gather(config: &Config, home: &Home, cwd: Option<&str>) -> Self {
        let mut known = Self::default();
        for (target, entry) in links::index(&home.models) {
            known.add(target.as_str(), entry.source, Some(entry.size));
        }
        for (id, path) in specs::list(config, cwd) {
            let Ok(text) = std::fs::read_to_string(&path) else { continue };
            // One that has errors says nothing: its own verbs tell them.
            let spec = proto::spec::parse(&text, &path.to_string_lossy(), id.as_str()).spec;
            for model in spec.into_iter().flat_map(|spec| spec.models) {
                known.add(model.target.as_str(), model.source.to_string(), None);
            }
        }
        known
    }

    fn add(&mut self, target: &str, link: String, size: Option<u64>) {
        // A file of this machine is no link that helps elsewhere.
        if !ModelSource::parse(&link)
            .is_ok_and(|source| matches!(source.location(), proto::source::Location::File(_)))
        {
            let name = target.rsplit('/').next().unwrap_or(target).to_owned();
            self.0.entry(name).or_default().push(Model { target: target.to_owned(), link, size });
        }
    }

    /// Gives the models without links those that are known for their names, and says so.
    pub(super) fn complete(&self, found: &mut Found) {
        let mut by_name = Vec::new();
        for model in found.models.iter_mut().filter(|model| model.link.is_none()) {
            let Some(known) = self.find(model) else { continue };
            model.link = Some(known.link.clone());
            if let (None, Some((folder, name))) = (&model.folder, known.target.split_once('/')) {
                (model.folder, model.name) = (Some(folder.to_owned()), name.to_owned());
            }
            by_name.push(shown(&model.name));
        }
        if !by_name.is_empty() {
            let names = by_name.join(", ");
            found.warnings.push(format!(
                "links taken from this machine's other versions by the models' names: {names}"
            ));
        }
    }

    /// Finds the one link of a model. Its place decides where its name does not; another size is another file.
    fn find(&self, model: &FoundModel) -> Option<&Model> {
        let named = self.0.get(model.file_name())?;
        let may_be =
            |known: &&Model| known.size.is_none() || model.size.is_none() || known.size == model.size;
        let fit: Vec<&Model> = named.iter().filter(may_be).collect();
        let target = model.target();
        let first = fit.iter().find(|known| Some(&known.target) == target.as_ref()).or(fit.first())?;
        let rivals = fit.iter().filter(|known| target.is_none() || known.target == first.target);
        rivals.clone().all(|known| known.link == first.link).then_some(*first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Known {
        let mut known = Known::default();
        known.add("loras/a.safetensors", "https://h/a".to_owned(), Some(7));
        known.add("loras/two.pth", "https://h/1".to_owned(), None);
        known.add("vae/two.pth", "https://h/2".to_owned(), None);
        known.add("vae/mine.pth", "file:///mine.pth".to_owned(), None);
        known
    }

    fn link(name: &str, folder: Option<&str>, size: Option<u64>) -> Option<String> {
        let (name, folder) = (name.to_owned(), folder.map(str::to_owned));
        let model = FoundModel { name, folder, size, ..FoundModel::default() };
        known().find(&model).map(|known| known.link.clone())
    }

    #[test]
    fn a_name_is_enough_where_it_is_the_only_one() {
        assert_eq!(link("a.safetensors", None, None).as_deref(), Some("https://h/a"));
        assert_eq!(link("x/a.safetensors", Some("checkpoints"), Some(7)).as_deref(), Some("https://h/a"));
        assert_eq!(link("a.safetensors", Some("loras"), Some(8)), None);
        assert_eq!(link("two.pth", None, None), None);
        assert_eq!(link("two.pth", Some("vae"), None).as_deref(), Some("https://h/2"));
        assert_eq!(link("mine.pth", Some("vae"), None), None);
    }
}
