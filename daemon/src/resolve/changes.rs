//! What differs between two locks: as values, and a line each, for people. Pure.

use proto::Lock;
use proto::lock::{LockedPackage, LockedRepo};
use proto::method::{Change, RepositoryChange};
use std::collections::BTreeMap;

/// Every difference that changes what a version is: what is new or other by name, then what is gone.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Differences {
    /// ComfyUI and custom nodes. How many commits lie between is not known here.
    pub repositories: Vec<RepositoryChange>,
    /// The interpreter's version.
    pub python: Option<Change>,
    /// Packages.
    pub packages: Vec<Change>,
    /// Models.
    pub models: Vec<Change>,
}

/// Compares two locks.
pub fn differences(old: &Lock, new: &Lock) -> Differences {
    let versions = (&old.python.version, &new.python.version);
    let python = (versions.0 != versions.1).then(|| change("Python", Some(versions.0), Some(versions.1)));
    Differences {
        repositories: changed(&repositories(old), &repositories(new), |name, old, new| RepositoryChange {
            name: name.to_owned(),
            old: old.map(|pin| pin.0.clone()),
            new: new.map(|pin| pin.0.clone()),
            commits: None,
        }),
        python,
        packages: changed(&packages(old), &packages(new), change),
        models: changed(&models(old), &models(new), change),
    }
}

/// Names every difference, a line each.
pub fn changes(old: &Lock, new: &Lock) -> Vec<String> {
    let Differences { repositories, python, packages, models } = differences(old, new);
    let python = python.iter().map(|Change { name, old, new }| {
        let [old, new] = [old, new].map(|version| version.as_deref().unwrap_or_default());
        format!("{name} {old} -> {new}")
    });
    let packages = packages.iter().map(|change| line("package ", change));
    let models = models.iter().map(|change| line("model ", change));
    let repositories = repositories.iter().map(|repository| line("", &in_words(repository)));
    repositories.chain(python).chain(packages).chain(models).collect()
}

fn line(what: &str, Change { name, old, new }: &Change) -> String {
    match (old, new) {
        (Some(old), Some(new)) => format!("~ {what}{name} {old} -> {new}"),
        (None, Some(new)) => format!("+ {what}{name} {new}"),
        (old, None) => format!("- {what}{name} {}", old.as_deref().unwrap_or_default()),
    }
}

/// A repository's pins in a word each: the commits, or the links where those alone differ.
fn in_words(repository: &RepositoryChange) -> Change {
    let commit = |repo: &LockedRepo| repo.commit.short().to_owned();
    let RepositoryChange { name, old, new, .. } = repository;
    let words = [old, new].map(|repo| repo.as_ref().map(commit));
    let links = [old, new].map(|repo| repo.as_ref().map(|repo| repo.repo.clone()));
    let [old, new] = if words[0] == words[1] { links } else { words };
    Change { name: name.clone(), old, new }
}

type Named<'a, T> = BTreeMap<&'a str, T>;

fn changed<T: PartialEq, C>(
    old: &Named<'_, T>,
    new: &Named<'_, T>,
    change: impl Fn(&str, Option<&T>, Option<&T>) -> C,
) -> Vec<C> {
    let here = new.iter().filter(|(name, value)| old.get(*name) != Some(value));
    let here = here.map(|(name, value)| change(name, old.get(name), Some(value)));
    let gone = old.iter().filter(|(name, _)| !new.contains_key(*name));
    here.chain(gone.map(|(name, value)| change(name, Some(value), None))).collect()
}

fn change(name: &str, old: Option<&String>, new: Option<&String>) -> Change {
    Change { name: name.to_owned(), old: old.cloned(), new: new.cloned() }
}

/// A pin, without what does not change what it is: the name that it was found by, and its date.
#[derive(Debug)]
struct Pin<'a>(&'a LockedRepo);

impl PartialEq for Pin<'_> {
    fn eq(&self, other: &Self) -> bool {
        (&self.0.repo, &self.0.commit) == (&other.0.repo, &other.0.commit)
    }
}

fn repositories(lock: &Lock) -> Named<'_, Pin<'_>> {
    let nodes = lock.custom_nodes.iter().map(|node| (node.dir.as_str(), Pin(&node.repo)));
    std::iter::once(("ComfyUI", Pin(&lock.comfy))).chain(nodes).collect()
}

fn packages(lock: &Lock) -> Named<'_, String> {
    let shown =
        |package: &LockedPackage| package.version.clone().unwrap_or_else(|| package.requirement.clone());
    lock.python.packages.iter().map(|package| (package.name.as_str(), shown(package))).collect()
}

fn models(lock: &Lock) -> Named<'_, String> {
    lock.models.iter().map(|model| (model.target.as_str(), model.source.to_string())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn lock(comfy: &Value, node: &str, numpy: &str) -> Lock {
        let repo = |repo: &str, digit: &str| {
            json!({"repo": format!("https://example.org/{repo}"), "commit": digit.repeat(40),
                   "committed_at": "2025-01-02T03:04:05Z"})
        };
        let mut custom = repo("k", "2");
        custom["dir"] = node.into();
        custom["install_script"] = false.into();
        let mut first = repo("c", "1");
        first.as_object_mut().unwrap().extend(comfy.as_object().unwrap().clone());
        serde_json::from_value(json!({
            "schema_version": 1, "version_id": "x", "spec_digest": "d", "resolved_at": "2025-01-02T03:04:05Z",
            "comfy": first, "custom_nodes": [custom], "models": [],
            "python": {"version": "3.12", "inputs_digest": "d",
                       "packages": [{"name": "numpy", "version": numpy, "requirement": "numpy"}]}
        }))
        .unwrap()
    }

    #[test]
    fn each_difference_is_a_line() {
        let old = lock(&json!({}), "Old", "1.0");
        assert_eq!(changes(&old, &old), Vec::<String>::new());
        let new = lock(&json!({"commit": "3".repeat(40), "ref": "main"}), "New", "2.0");
        let expected = [
            "~ ComfyUI 1111111111 -> 3333333333",
            "+ New 2222222222",
            "- Old 2222222222",
            "~ package numpy 1.0 -> 2.0",
        ];
        assert_eq!(changes(&old, &new), expected);
    }

    #[test]
    fn another_link_to_the_same_commit_is_a_difference_and_another_name_of_it_is_none() {
        let old = lock(&json!({}), "K", "1.0");
        let fork = lock(&json!({"repo": "https://example.org/fork"}), "K", "1.0");
        let expected = ["~ ComfyUI https://example.org/c -> https://example.org/fork"];
        assert_eq!(changes(&old, &fork), expected);
        assert_eq!(changes(&old, &lock(&json!({"ref": "main"}), "K", "1.0")), Vec::<String>::new());
    }
}
