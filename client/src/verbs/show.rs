//! `show`: spec, lock and state of a version side by side.

use super::{Outcome, ask, rung_word};
use crate::failure::Failure;
use crate::render::errors::finding;
use crate::render::ladder;
use crate::render::status::instance_words;
use crate::render::table::columns;
use crate::render::text::fold;
use crate::render::units::{bytes, count};
use crate::session::Session;
use owo_colors::OwoColorize as _;
use proto::lock::{LockedPython, LockedRepo};
use proto::method::{Show, ShowAnswer};
use proto::spec::RepoSpec;

/// Arguments of `show`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Version id, or path of a spec that ends in .json
    version: String,
}

/// Runs the verb.
///
/// # Errors
/// What the daemon answered.
pub fn run(args: &Args, session: &mut Session) -> Result<Outcome, Failure> {
    let call = Show { target: session.target(&args.version) };
    ask(session, &call, |session, answer| {
        for diagnostic in &answer.diagnostics {
            session.screen.lines(&finding(diagnostic));
        }
        people(answer)
    })
}

fn people(answer: &ShowAnswer) -> String {
    let rung = rung_word(answer.standing.as_ref(), answer.state);
    let why = answer.standing.as_ref().map(ladder::why).filter(|why| !why.is_empty());
    let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
    let head = format!("{}: ", answer.spec.version_id.as_str().bold());
    let mut text = fold(&head, &format!("{rung}{why}"), 2);
    text += &columns("  ", &places(answer));
    text += &format!("\n{}", columns("", &repositories(answer)));
    if !answer.spec.models.is_empty() {
        text += &format!("\n{}", columns("", &models(answer)));
    }
    if let Some(instance) = &answer.instance {
        text += &format!("\n{}", fold("instance: ", &instance_words(instance).join(", "), 2));
    }
    if !answer.lacks.is_empty() {
        text += "\nlacks\n";
        text.extend(answer.lacks.iter().map(|lack| fold("  ", lack, 4)));
    }
    text
}

fn places(answer: &ShowAnswer) -> Vec<[String; 2]> {
    let none = || "none".to_owned();
    let lock = if answer.lock.is_some() { answer.lock_path.clone() } else { none() };
    let rolled_back = answer.lock.as_ref().and_then(|lock| lock.rolled_back_from.as_ref());
    let generation = answer.generation.clone().unwrap_or_else(none);
    let generation = match rolled_back {
        Some(from) => format!("{generation}, rolled back from {from}"),
        None => generation,
    };
    let mut rows = vec![
        ("spec", answer.spec_path.clone()),
        ("lock", lock),
        ("home", answer.home.clone()),
        ("generation", generation),
    ];
    rows.extend(answer.previous.clone().map(|previous| ("previous", previous)));
    rows.into_iter().map(|(name, value)| [name.to_owned(), value]).collect()
}

fn repositories(answer: &ShowAnswer) -> Vec<[String; 4]> {
    let lock = answer.lock.as_ref();
    let placed = |placed: bool| if placed { "in place" } else { "-" }.to_owned();
    let mut rows = vec![["REPOSITORY", "SPEC", "LOCK", "DISK"].map(str::to_owned)];
    let comfy = lock.map(|lock| &lock.comfy);
    let has_home = placed(answer.generation.is_some());
    rows.push(["ComfyUI".to_owned(), asked(&answer.spec.comfy), pinned(comfy), has_home.clone()]);
    for node in &answer.spec.custom_nodes {
        let locked = lock.and_then(|lock| lock.custom_nodes.iter().find(|locked| locked.dir == node.dir));
        rows.push([
            node.dir.to_string(),
            asked(&node.repo),
            pinned(locked.map(|node| &node.repo)),
            placed(answer.linked_nodes.contains(&node.dir)),
        ]);
    }
    let python = lock.map(|lock| &lock.python);
    let own = match answer.spec.python_packages.len() {
        0 => "-".to_owned(),
        some => format!("{} of its own", count(some, "package")),
    };
    rows.push(["Python".to_owned(), own, python.map_or_else(|| "-".to_owned(), packages), has_home]);
    rows
}

fn models(answer: &ShowAnswer) -> Vec<[String; 2]> {
    let mut rows = vec![["MODEL", "SOURCE"].map(str::to_owned)];
    let shown = |source: &proto::ModelSource| source.to_string();
    rows.extend(answer.spec.models.iter().map(|model| [model.target.to_string(), shown(&model.source)]));
    rows
}

fn asked(repo: &RepoSpec) -> String {
    match (&repo.commit, &repo.git_ref) {
        (Some(commit), _) => commit.short().to_owned(),
        (None, Some(name)) => name.clone(),
        (None, None) => "HEAD".to_owned(),
    }
}

fn pinned(repo: Option<&LockedRepo>) -> String {
    repo.map_or_else(|| "-".to_owned(), |repo| repo.commit.short().to_owned())
}

fn packages(python: &LockedPython) -> String {
    let size: u64 = python.packages.iter().filter_map(|package| package.size_bytes).sum();
    format!("{}, {}, {}", python.version, count(python.packages.len(), "package"), bytes(size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const COMMIT: &str = "3f2a1b0c9d3f2a1b0c9d3f2a1b0c9d3f2a1b0c9d";

    #[test]
    fn spec_lock_and_disk_stand_side_by_side() {
        let repo = |url: &str| json!({"repo": url, "commit": COMMIT, "committed_at": "2025-01-02T03:04:05Z"});
        let node = json!({"dir": "Kijai", "repo": "https://example.org/k", "commit": COMMIT,
                          "committed_at": "2025-01-02T03:04:05Z", "install_script": false});
        let answer: ShowAnswer = serde_json::from_value(json!({
            "spec_path": "/v/versions/x.json", "lock_path": "/c/x.lock.json", "home": "/v/comfy-x",
            "spec": {"version_id": "x", "comfy": {"repo": "https://example.org/c", "ref": "v0.3.75"},
                     "custom_nodes": [{"dir": "Kijai", "repo": "https://example.org/k", "install_requirements": true},
                                      {"dir": "New", "repo": "https://example.org/n", "install_requirements": true}],
                     "models": [{"target": "loras/a.safetensors", "source": "hf://o/r/a.safetensors"}],
                     "python_packages": [], "env": {},
                     "options": {"offline": false, "skip_models": false, "exclude_newer": "auto",
                                 "conflicts": "error", "extra_args": []}},
            "diagnostics": [],
            "lock": {"schema_version": 1, "version_id": "x", "spec_digest": "d", "resolved_at": "2025-01-02T03:04:05Z",
                     "comfy": repo("https://example.org/c"), "custom_nodes": [node], "models": [],
                     "python": {"version": "3.12", "inputs_digest": "d", "packages": [
                        {"name": "numpy", "version": "2.1.0", "requirement": "numpy==2.1.0", "size_bytes": 1024}]}},
            "state": "resolved",
            "standing": {"rung": "resolved", "why": "1 of 3 repositories is missing", "pinned": "primed"}, "lacks": ["custom node `New` is not cached"], "linked_nodes": ["Kijai"]
        }))
        .unwrap();
        let expected = "\
x: resolved (pinned to primed; 1 of 3 repositories is missing)
  spec        /v/versions/x.json
  lock        /c/x.lock.json
  home        /v/comfy-x
  generation  none

REPOSITORY  SPEC     LOCK                       DISK
ComfyUI     v0.3.75  3f2a1b0c9d                 -
Kijai       HEAD     3f2a1b0c9d                 in place
New         HEAD     -                          -
Python      -        3.12, 1 package, 1.00 KiB  -

MODEL                SOURCE
loras/a.safetensors  hf://o/r/a.safetensors

lacks
  custom node `New` is not cached
";
        assert_eq!(anstream::adapter::strip_str(&people(&answer)).to_string(), expected);
    }
}
