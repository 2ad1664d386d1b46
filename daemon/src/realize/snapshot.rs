//! Looks at the disk and gathers what a plan needs to know. Stats and two small reads; no network, no
//! subprocess.

use super::layout::Layout;
use super::plan::{Checkout, Disk, Generation};
use super::record::Record;
use crate::source::Sources;
use crate::source::python::python_works;
use crate::store::inspect::{file_size, is_link_to, space};
use crate::store::places::generation;
use crate::store::{StoreError, tree};
use proto::Lock;

/// Takes the snapshot. Blocks, shortly.
///
/// # Errors
/// When a record or a filesystem is there and cannot be read.
pub fn snapshot(sources: &Sources, lock: &Lock, layout: &Layout) -> Result<Disk, StoreError> {
    let dir = layout.generation_dir();
    let is_published = Record::read(&dir)?.is_some() && dir.join(generation::COMFY).join("main.py").is_file();
    let generation = match () {
        () if !is_published || !dir.join(generation::VENV).is_dir() => Generation::Absent,
        () if !python_works(&dir.join(generation::VENV)) => Generation::OtherPython,
        () => Generation::Complete,
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
    let models: Vec<_> =
        lock.models.iter().map(|model| file_size(&layout.home.model(&model.target))).collect();
    // Free space matters only to those who will write.
    let writes = is_absent || models.contains(&None);
    Ok(Disk {
        generation,
        same_venv: if is_absent { same_venv(layout)? } else { None },
        comfy_cached: !is_absent || sources.git.has(&lock.comfy.repo, &lock.comfy.commit),
        nodes: nodes.collect(),
        models,
        links: layout.links.iter().map(|link| is_link_to(&link.path, &link.target)).collect(),
        home_space: if writes { Some(space(&layout.home.root)?) } else { None },
        models_space: if writes { Some(space(&layout.home.models)?) } else { None },
    })
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
