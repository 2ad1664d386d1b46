//! Which generation of a home is current, which one was before it, and which ones go.
//!
//! Two links say it: `previous`, written first, and `current`, whose rename is the moment of the change. In
//! between both name one generation: whoever finds that knows that a change was cut short, and that some other
//! generation, which no link names, may be the wanted one. So nothing is removed then. Everything here
//! blocks, and is called with the home's file lock held.

use super::record::Record;
use super::{InUse, LOCK_DEADLINE};
use crate::ctx::Ctx;
use crate::store::commit::StagingDir;
use crate::store::file_lock::FileLock;
use crate::store::inspect::linked_generation;
use crate::store::places::Home;
use crate::store::uses::uses;
use crate::store::{StoreError, commit, tree};

/// Makes a generation current, and the one that was so far the previous one.
///
/// # Errors
/// When the disk refuses. What is current is whole: the one before or this one.
pub(super) fn flip(home: &Home, generation: &str) -> Result<(), StoreError> {
    let before = linked_generation(&home.current()).filter(|name| name != generation);
    match before {
        // What lost its record is nothing to go back to.
        Some(name) if Record::complete(&home.generation(&name))?.is_some() => {
            commit::step("current.previous", "link", &home.current())?;
            commit::symlink(&Home::link_to(&name), &home.previous())?;
        }
        _ if linked_generation(&home.previous()).is_some_and(|name| name == generation) => {
            let link = home.previous();
            std::fs::remove_file(&link).map_err(StoreError::at("remove", &link))?;
        }
        _ => {}
    }
    commit::step("current.flip", "link", &home.current())?;
    commit::symlink(&Home::link_to(generation), &home.current())
}

/// Removes the generations that are neither current nor previous and that nobody uses, here or on another
/// machine of the volume.
///
/// # Errors
/// When the disk refuses.
pub(super) fn prune(home: &Home, in_use: &InUse) -> Result<(), StoreError> {
    for name in unneeded(home, in_use)? {
        let dir = home.generation(&name);
        let aside = StagingDir::beside(&dir);
        commit::step("generation.prune", "remove", &dir)?;
        commit::publish(&dir, aside.path())?;
        // Who came meanwhile said so before it looked for the generation.
        if is_used(home, &name, in_use)? {
            commit::publish_dir(aside.path(), &dir)?;
        } else {
            tracing::info!(generation = %dir.display(), "removing what nobody uses");
        }
    }
    Ok(())
}

/// Prunes a home for good order, when a process of it ended or the daemon begins. Takes the home's lock only where
/// something is to be removed. Cancel-safe.
pub async fn tidy(ctx: &Ctx, home: Home, in_use: InUse) {
    let looked = (home.clone(), in_use.clone());
    let is_tidy = move || unneeded(&looked.0, &looked.1).is_ok_and(|names| names.is_empty());
    if tokio::task::spawn_blocking(is_tidy).await.unwrap_or(true) {
        return;
    }
    let what = home.root.display().to_string();
    let Ok(lock) = FileLock::take(ctx, home.lock(), &what, LOCK_DEADLINE).await else { return };
    let tidy = move || {
        let _lock = lock;
        prune(&home, &in_use)
    };
    if let Ok(Err(error)) = tokio::task::spawn_blocking(tidy).await {
        tracing::warn!(home = what, %error, source = %error.source, "old generations are not removed");
    }
}

fn unneeded(home: &Home, in_use: &InUse) -> Result<Vec<String>, StoreError> {
    let (current, previous) = (linked_generation(&home.current()), linked_generation(&home.previous()));
    // Without a current one, or in the middle of a change, nobody knows which of the others is wanted.
    if current.is_none() || current == previous {
        return Ok(Vec::new());
    }
    let mut names = tree::published(&home.generations())?;
    names.retain(|name| ![&current, &previous].into_iter().any(|kept| kept.as_ref() == Some(name)));
    let mut unneeded = Vec::new();
    for name in names {
        if !is_used(home, &name, in_use)? {
            unneeded.push(name);
        }
    }
    Ok(unneeded)
}

fn is_used(home: &Home, name: &str, in_use: &InUse) -> Result<bool, StoreError> {
    let runs = in_use.runs(&home.generation(name)).is_some();
    Ok(runs || uses(home)?.iter().any(|(generation, _)| generation == name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::places::generation;
    use crate::store::uses::Use;
    use crate::store::write_json;
    use std::path::Path;

    fn home(dir: &Path, generations: &[&str]) -> Home {
        let home = Home { root: dir.to_owned(), models: dir.join("models") };
        for name in generations {
            let dir = home.generation(name);
            std::fs::create_dir_all(dir.join(generation::COMFY)).unwrap();
            std::fs::create_dir_all(dir.join(generation::VENV)).unwrap();
            std::fs::write(dir.join(generation::COMFY).join("main.py"), "").unwrap();
            let record = serde_json::json!({
                "version_id": "v", "generation": name, "venv": "e", "packages": 1, "files": 1,
                "realized_at": "2025-01-02T03:04:05Z", "previous": "of an older build",
            });
            write_json(&dir.join(generation::RECORD), &record).unwrap();
        }
        home
    }

    fn links(home: &Home) -> [Option<String>; 2] {
        [home.current(), home.previous()].map(|link| linked_generation(&link))
    }

    fn some(names: [&str; 2]) -> [Option<String>; 2] {
        names.map(|name| Some(name.to_owned()).filter(|name| !name.is_empty()))
    }

    #[test]
    fn the_one_before_is_remembered_unless_it_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let home = home(dir.path(), &["a", "b", "c"]);
        for (next, expected) in [("a", ["a", ""]), ("b", ["b", "a"]), ("b", ["b", "a"]), ("a", ["a", "b"])] {
            flip(&home, next).unwrap();
            assert_eq!(links(&home), some(expected), "{next}");
        }
        std::fs::remove_file(home.generation("a").join(generation::RECORD)).unwrap();
        flip(&home, "c").unwrap();
        assert_eq!(links(&home), some(["c", "b"]), "a is nothing to go back to");
        std::fs::remove_file(home.generation("c").join(generation::RECORD)).unwrap();
        flip(&home, "b").unwrap();
        assert_eq!(links(&home), some(["b", ""]), "there is nothing to go back to");
    }

    #[test]
    fn what_no_link_names_and_nobody_runs_goes() {
        let dir = tempfile::tempdir().unwrap();
        let home = home(dir.path(), &["a", "b", "c"]);
        let unused = InUse::new(Vec::new);
        let left = || {
            let mut names = tree::published(&home.generations()).unwrap();
            names.sort();
            names
        };
        prune(&home, &unused).unwrap();
        assert_eq!(left(), ["a", "b", "c"], "nothing is current");
        flip(&home, "a").unwrap();
        flip(&home, "b").unwrap();
        commit::symlink(&Home::link_to("b"), &home.previous()).unwrap();
        prune(&home, &unused).unwrap();
        assert_eq!(left(), ["a", "b", "c"], "in the middle of a change");
        commit::symlink(&Home::link_to("a"), &home.previous()).unwrap();
        let used = Use::take(&home, "c", std::process::id()).unwrap();
        prune(&home, &unused).unwrap();
        assert_eq!(left(), ["a", "b", "c"], "someone uses it");
        drop(used);
        prune(&home, &unused).unwrap();
        assert_eq!(left(), ["a", "b"]);
    }
}
