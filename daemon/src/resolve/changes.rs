//! What differs between two locks, a line each, for people.

use proto::Lock;
use std::collections::BTreeMap;

/// Names every difference that changes what the version is.
pub fn changes(old: &Lock, new: &Lock) -> Vec<String> {
    let mut lines = Vec::new();
    compare(&mut lines, "", &repositories(old), &repositories(new));
    if old.python.version != new.python.version {
        lines.push(format!("Python {} → {}", old.python.version, new.python.version));
    }
    compare(&mut lines, "package ", &packages(old), &packages(new));
    compare(&mut lines, "model ", &models(old), &models(new));
    lines
}

type Named<'a> = BTreeMap<&'a str, String>;

fn compare(lines: &mut Vec<String>, what: &str, old: &Named<'_>, new: &Named<'_>) {
    for (name, value) in new {
        match old.get(name) {
            None => lines.push(format!("+ {what}{name} {value}")),
            Some(before) if before != value => lines.push(format!("~ {what}{name} {before} → {value}")),
            Some(_) => (),
        }
    }
    let gone = old.iter().filter(|(name, _)| !new.contains_key(*name));
    lines.extend(gone.map(|(name, value)| format!("- {what}{name} {value}")));
}

fn repositories(lock: &Lock) -> Named<'_> {
    let nodes = lock.custom_nodes.iter().map(|node| (node.dir.as_str(), node.repo.commit.short().to_owned()));
    std::iter::once(("ComfyUI", lock.comfy.commit.short().to_owned())).chain(nodes).collect()
}

fn packages(lock: &Lock) -> Named<'_> {
    let shown = |package: &proto::lock::LockedPackage| {
        package.version.clone().unwrap_or_else(|| package.requirement.clone())
    };
    lock.python.packages.iter().map(|package| (package.name.as_str(), shown(package))).collect()
}

fn models(lock: &Lock) -> Named<'_> {
    lock.models.iter().map(|model| (model.target.as_str(), model.source.to_string())).collect()
}
