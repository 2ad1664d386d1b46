//! A generation on disk: prepared, assembled, published, linked. Everything here blocks; the home's
//! file lock is held.

use super::execute::Work;
use super::layout::Link;
use super::model_paths::model_paths;
use super::record::Record;
use super::{RealizeError, current};
use crate::source::python::Proof;
use crate::store::places::{generation, relative};
use crate::store::sweep::sweep;
use crate::store::uses::{User, uses};
use crate::store::{self, StoreError, commit, inspect};
use std::path::Path;

/// Makes room: the directories exist, and what a killed realize left behind is gone.
pub(super) fn prepare(work: &Work) -> Result<(), StoreError> {
    let generations = work.layout.home.generations();
    commit::create_dir_all(&generations)?;
    sweep(&work.layout.home.root);
    sweep(&generations);
    Ok(())
}

/// Puts the links and the model paths into a generation that has ComfyUI's files.
pub(super) fn assemble(work: &Work, staging: &Path) -> Result<(), StoreError> {
    commit::step("generation.assemble", "put together", staging)?;
    let comfy = staging.join(generation::COMFY);
    let models = comfy.join("models");
    // The checkout brings a directory of placeholders; the link takes its name.
    std::fs::remove_dir_all(&models).or_else(absent_is_fine).map_err(StoreError::at("remove", &models))?;
    let dir = work.layout.generation_dir();
    for link in work.layout.links.iter().filter(|link| work.layout.is_inside(link) && is_planned(work, link))
    {
        // The staging directory is a sibling of the final one: relative links mean the same in both.
        let place = link.path.strip_prefix(&dir).unwrap_or(&link.path);
        commit::symlink(&link.target, &staging.join(place))?;
    }
    let folder_paths = std::fs::read_to_string(comfy.join("folder_paths.py")).unwrap_or_default();
    let base = relative(&dir, &work.layout.home.models);
    match model_paths(&work.layout.folders, &folder_paths, &base) {
        Some(text) => commit::write_file(&staging.join(generation::MODEL_PATHS), text.as_bytes()),
        None => Ok(()),
    }
}

fn absent_is_fine(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Gives a proved generation its name. A complete one that has it already, made by another daemon meanwhile,
/// stays: it is the same by its digest. Right without a lock.
///
/// # Errors
/// The disk refuses, or what has the name is damaged and a process runs it.
pub(super) fn publish(work: &Work, staging: &Path, proof: &Proof) -> Result<(), RealizeError> {
    let dir = work.layout.generation_dir();
    let record = Record {
        version_id: work.lock.version_id.clone(),
        generation: work.layout.generation.clone(),
        venv: work.layout.venv.clone(),
        packages: proof.packages,
        files: proof.files,
        realized_at: jiff::Timestamp::now(),
    };
    commit::step("generation.record", "record", staging)?;
    store::write_json(&staging.join(generation::LOCK), &*work.lock)?;
    store::write_json(&staging.join(generation::RECORD), &record)?;
    commit::step("generation.sync", "sync", staging)?;
    commit::sync_tree(staging)?;
    commit::step("generation.publish", "publish", &dir)?;
    // What is set aside in one turn is gone for good, so the turns end.
    while !commit::publish_dir(staging, &dir)? {
        if Record::complete(&dir)?.is_some() {
            tracing::info!(generation = work.layout.generation, "another daemon published it meanwhile");
            return Ok(());
        }
        check_unused(work)?;
        // It lost its record, its interpreter or its code: the proved one takes its name.
        commit::remove_dir(&dir)?;
    }
    Ok(commit::step("generation.published", "publish", &dir)?)
}

/// Refuses to replace a damaged generation that a process runs: it would load the rest of its modules from
/// a directory that is gone.
pub(super) fn check_unused(work: &Work) -> Result<(), RealizeError> {
    let (home, name) = (&work.layout.home, &work.layout.generation);
    let dir = home.generation(name);
    let here = work.in_use.runs(&dir).is_some();
    let is_used = here || uses(home)?.iter().any(|(used, user)| used == name && *user == User::Other);
    if is_used && dir.exists() {
        let version = work.lock.version_id.clone();
        return Err(RealizeError::Damaged { generation: dir.display().to_string(), version });
    }
    Ok(())
}

/// Takes away the links of nodes whose `install.py` is to be run: if it fails, or is killed, the lack of
/// the link tells the next plan to run it again.
pub(super) fn unlink_unfinished(work: &Work) -> Result<(), StoreError> {
    let nodes = &work.lock.custom_nodes;
    let is_unfinished =
        |link: &&Link| link.node.is_some_and(|at| work.plan.install_scripts.contains(&nodes[at].dir));
    work.layout.links.iter().filter(is_unfinished).try_for_each(|link| {
        commit::step("generation.unlink", "remove", &link.path)?;
        std::fs::remove_file(&link.path).or_else(absent_is_fine).map_err(StoreError::at("remove", &link.path))
    })
}

/// Makes every planned link that does not stand; the last of them makes the generation current.
pub(super) fn make_links(work: &Work) -> Result<(), StoreError> {
    let home = &work.layout.home;
    commit::create_dir_all(&home.models)?;
    let wanted = work.layout.links.iter().filter(|link| is_planned(work, link));
    wanted.filter(|link| !inspect::is_link_to(&link.path, &link.target)).try_for_each(|link| {
        commit::step("generation.link", "link", &link.path)?;
        if link.path == home.current() {
            return current::flip(home, &work.layout.generation);
        }
        commit::symlink(&link.target, &link.path)
    })
}

/// A custom node that is not here has no link: ComfyUI would report it as broken.
fn is_planned(work: &Work, link: &Link) -> bool {
    let Some(node) = link.node else { return true };
    // The first step is ComfyUI itself.
    work.plan
        .repositories
        .get(node + 1)
        .is_none_or(|step| step.action != proto::plan::RepositoryAction::Missing)
}
