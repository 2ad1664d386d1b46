//! What is to be done about each model. The link is the key: a file that came from a link serves every
//! target that wants this link, and no other.

use super::{Disk, Facts, Rules, Told};
use crate::source::model::hub_cache::Cached;
use crate::source::model::links::Files;
use proto::lock::LockedModel;
use proto::plan::{ModelAction, ModelStep};
use proto::{Lock, RelPath};
use std::collections::HashMap;

/// Returns the steps, in the lock's order, and what people should know of them.
pub(super) fn steps(lock: &Lock, disk: &Disk, rules: Rules, facts: &Facts) -> (Vec<ModelStep>, Vec<String>) {
    let mut serving = Serving::new(lock, disk);
    let (mut steps, mut warnings) = (Vec::new(), Vec::new());
    for (at, model) in lock.models.iter().enumerate() {
        let told = facts.models.get(model.source.as_str());
        let found = facts.found(disk, model.source.as_str());
        let is_here = is_here(disk, at, model);
        let action = match () {
            () if rules.skip_models => ModelAction::Skipped,
            () if is_here => ModelAction::Present,
            () => serving.action(model, told, found, rules),
        };
        let occupant = disk.files.get(&model.target).filter(|_| !is_here && disk.models[at].is_some());
        if let Some(occupant) = occupant.filter(|_| !rules.skip_models) {
            warnings.push(replaced(model, &occupant.source, &action));
        }
        let size_bytes = match &action {
            ModelAction::Present | ModelAction::Skipped => disk.models[at],
            ModelAction::Link { from } => disk.files.get(from).map(|entry| entry.size),
            ModelAction::Adopt { .. } | ModelAction::Download | ModelAction::Missing => None,
        };
        let size_bytes = size_bytes.or(found.map(|found| found.size)).or(told.and_then(|told| told.size));
        let problem = told.filter(|_| action == ModelAction::Download).and_then(|told| told.problem.clone());
        let (target, source) = (model.target.clone(), model.source.to_string());
        steps.push(ModelStep { target, source, size_bytes, action, problem });
    }
    (steps, warnings)
}

/// Tells whether the file that a model wants is at its place. One that nobody knows to be another
/// link's is taken as it is.
fn is_here(disk: &Disk, at: usize, model: &LockedModel) -> bool {
    let is_its =
        |files: &Files| files.get(&model.target).is_none_or(|entry| entry.source == model.source.as_str());
    disk.models[at].is_some() && is_its(&disk.files)
}

fn replaced(model: &LockedModel, occupant: &str, action: &ModelAction) -> String {
    let (target, source) = (&model.target, &model.source);
    let does =
        if *action == ModelAction::Missing { "is not replaced, offline, by" } else { "is replaced by" };
    format!("`{target}` holds the file of `{occupant}`; it {does} that of `{source}`")
}

/// Which target serves which link.
struct Serving<'a> {
    /// Files that stand.
    here: HashMap<&'a str, &'a RelPath>,
    /// Files that stand, by the SHA-256 that their hosts told, with their sizes.
    contents: HashMap<&'a str, (&'a RelPath, u64)>,
    /// Targets that an earlier step of this plan gives its file to, by link and by the SHA-256 that is told.
    made: HashMap<&'a str, &'a RelPath>,
    made_contents: HashMap<&'a str, &'a RelPath>,
}

impl<'a> Serving<'a> {
    fn new(lock: &'a Lock, disk: &'a Disk) -> Self {
        let mut here = HashMap::new();
        let own = lock.models.iter().enumerate().filter(|(at, model)| is_here(disk, *at, model));
        for (source, target) in own
            .map(|(_, model)| (model.source.as_str(), &model.target))
            .chain(disk.files.iter().map(|(target, entry)| (entry.source.as_str(), target)))
        {
            here.entry(source).or_insert(target);
        }
        let contents = disk.files.iter();
        let contents =
            contents.filter_map(|(target, entry)| Some((entry.sha256.as_deref()?, (target, entry.size))));
        Self { here, contents: contents.collect(), made: HashMap::new(), made_contents: HashMap::new() }
    }

    fn action(
        &mut self,
        model: &'a LockedModel,
        told: Option<&'a Told>,
        found: Option<&Cached>,
        rules: Rules,
    ) -> ModelAction {
        let source = model.source.as_str();
        let sha256 = told.and_then(|told| told.sha256.as_deref());
        let same_content = told.and_then(|told| {
            let (target, size) = self.contents.get(sha256?)?;
            told.size.is_none_or(|told| told == *size).then_some(*target)
        });
        let there = self.here.get(source).copied().or(same_content);
        let made = || self.made.get(source).or_else(|| self.made_contents.get(sha256?)).copied();
        if let Some(from) = there.or_else(made) {
            return ModelAction::Link { from: from.clone() };
        }
        let action = match found {
            Some(found) => ModelAction::Adopt { from: found.path.display().to_string() },
            None if rules.offline => return ModelAction::Missing,
            None => ModelAction::Download,
        };
        self.made.insert(source, &model.target);
        if let Some(sha256) = sha256.filter(|_| action == ModelAction::Download) {
            self.made_contents.insert(sha256, &model.target);
        }
        action
    }
}
