//! Looks at the disk and gathers what a plan needs to know. Stats and small reads; no network, no
//! subprocess.

use super::layout::Layout;
use super::plan::{Checkout, Disk, Generation, Rules};
use super::record::Record;
use crate::source::Sources;
use crate::source::model::hub_cache::{self, Cached, Word};
use crate::source::model::links::{self, Known};
use crate::source::python::python_works;
use crate::store::inspect::{Space, file_size, is_link_to, space};
use crate::store::places::{Home, generation};
use crate::store::{StoreError, tree};
use proto::Lock;
use proto::lock::LockedModel;
use std::collections::BTreeMap;

/// Takes the snapshot. What it tells of the models' links beyond the disk's state stands in the second
/// value. Blocks, shortly.
///
/// # Errors
/// When a record or a filesystem is there and cannot be read.
pub fn snapshot(
    sources: &Sources,
    lock: &Lock,
    layout: &Layout,
    rules: Rules,
) -> Result<(Disk, Known), StoreError> {
    let dir = layout.generation_dir();
    let generation = match Record::complete(&dir)? {
        None => Generation::Absent,
        Some(_) if !python_works(&dir.join(generation::VENV)) => Generation::OtherPython,
        Some(_) => Generation::Complete,
    };
    let is_absent = generation == Generation::Absent;
    let nodes = lock.custom_nodes.iter().zip(&layout.checkouts).map(|(node, checkout)| {
        if checkout.is_dir() {
            Checkout::Present
        } else if sources.git.has(&node.repo.repo, &node.repo.commit) {
            Checkout::Cached
        } else {
            Checkout::Absent
        }
    });
    let home = &layout.home;
    let known = if rules.skip_models { Known::default() } else { links::known(&sources.config, home, lock) };
    let models: Vec<_> = lock.models.iter().map(|model| file_size(&home.model(&model.target))).collect();
    let is_its = |at: usize| {
        let model = &lock.models[at];
        known.files.get(&model.target).is_some_and(|entry| entry.source == model.source.as_str())
    };
    let wanted: Vec<bool> = (0..lock.models.len())
        .map(|at| !rules.skip_models && (models[at].is_none() || !is_its(at)))
        .collect();
    // Free space matters only to those who will write.
    let writes = is_absent || wanted.contains(&true);
    let models_space = if writes { Some(space(&home.models)?) } else { None };
    let disk = Disk {
        generation,
        same_venv: if is_absent { same_venv(layout)? } else { None },
        comfy_cached: !is_absent || sources.git.has(&lock.comfy.repo, &lock.comfy.commit),
        nodes: nodes.collect(),
        folder_spaces: folder_spaces(home, lock, &wanted, models_space)?,
        cached: cached(sources, lock, &wanted, rules),
        models,
        files: known.files.clone(),
        links: layout.links.iter().map(|link| is_link_to(&link.path, &link.target)).collect(),
        home_space: if writes { Some(space(&home.root)?) } else { None },
        models_space,
    };
    Ok((disk, known))
}

/// Finds what can be told to lie in a Hugging Face cache without asking the host.
fn cached(sources: &Sources, lock: &Lock, wanted: &[bool], rules: Rules) -> BTreeMap<String, Cached> {
    let word = if rules.offline { Word::Ref } else { Word::Commit };
    let wanted = lock.models.iter().zip(wanted).filter(|(_, wanted)| **wanted);
    let found = wanted.filter_map(|(model, _)| {
        let (caches, name) = (&sources.config.hub_caches, model.target.file_name());
        Some((model.source.to_string(), hub_cache::find(caches, &model.source, name, word)?))
    });
    found.collect()
}

/// A model folder may be a link to another disk.
fn folder_spaces(
    home: &Home,
    lock: &Lock,
    wanted: &[bool],
    models_space: Option<Space>,
) -> Result<Vec<Option<Space>>, StoreError> {
    let models = lock.models.iter().zip(wanted);
    let of = |(model, wanted): (&LockedModel, &bool)| {
        if !*wanted {
            return Ok(None);
        }
        let its = space(home.model(&model.target).parent().unwrap_or(&home.models))?;
        Ok(Some(its).filter(|its| models_space.is_some_and(|models| models.device != its.device)))
    };
    models.map(of).collect()
}

/// Finds another generation of this home whose environment is the same and works.
fn same_venv(layout: &Layout) -> Result<Option<String>, StoreError> {
    for name in tree::published(&layout.home.generations())? {
        let dir = layout.home.generation(&name);
        let record = Record::read(&dir)?.filter(|record| record.venv == layout.venv);
        if record.is_some() && name != layout.generation && python_works(&dir.join(generation::VENV)) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}
