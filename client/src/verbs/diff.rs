//! `diff`: what differs between two locks.

use super::{Outcome, ask, warn_all};
use crate::failure::Failure;
use crate::render::table::columns;
use crate::render::text::fold;
use crate::render::units::count;
use crate::session::Session;
use owo_colors::OwoColorize as _;
use proto::lock::LockedRepo;
use proto::method::{Change, CommitCount, Diff, DiffAnswer, DiffSide, RepositoryChange};

/// Arguments of `diff`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Version id, or path of a spec that ends in .json; `<version>@previous`, `<version>@current` and
    /// `<version>@<generation>` name what lies in its home
    old: String,
    /// The same for the newer side; when absent, the current generation is compared with the one before
    new: Option<String>,
    /// Do not ask hosts how many commits lie between
    #[arg(long)]
    offline: bool,
}

/// Runs the verb. That there are differences is no failure.
///
/// # Errors
/// What the daemon answered.
pub fn run(args: &Args, session: &mut Session) -> Result<Outcome, Failure> {
    let offline = session.offline(args.offline);
    let call = Diff { old: session.target(&args.old), new: args.new.clone(), offline };
    ask(session, &call, |session, answer| {
        warn_all(session, &answer.warnings);
        people(answer)
    })
}

fn people(answer: &DiffAnswer) -> String {
    let (old, new) = (side(&answer.old), side(&answer.new));
    if answer.is_empty() {
        return fold("", &format!("{old} and {new} pin the same"), 2);
    }
    let mut text = fold("", &format!("from {old} to {new}"), 2);
    let python: Vec<Change> = answer.python.iter().cloned().collect();
    text += &repositories(&answer.repositories);
    for (title, changes) in [
        ("Python", &python),
        ("packages", &answer.packages),
        ("models", &answer.models),
        ("settings", &answer.settings),
    ] {
        text += &section(title, changes);
    }
    text
}

/// Names a side as the command line does.
fn side(side: &DiffSide) -> String {
    let generation = side.generation.as_ref().map(|name| format!("@{name}")).unwrap_or_default();
    format!("{}{generation}", side.version_id)
}

fn repositories(changes: &[RepositoryChange]) -> String {
    let row = |change: &RepositoryChange| {
        let pin = |repo: &LockedRepo| {
            let name = repo.git_ref.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
            format!("{}{name}", repo.commit.short())
        };
        let RepositoryChange { name, old, new, commits } = change;
        let value = match (old, new) {
            (Some(old), Some(new)) if old.repo != new.repo => {
                format!("{} of {} -> {} of {}", pin(old), old.repo, pin(new), new.repo)
            }
            (Some(old), Some(new)) => format!("{} -> {}{}", pin(old), pin(new), between(*commits)),
            (old, new) => {
                let one = old.as_ref().or(new.as_ref());
                one.map(|repo| format!("{} of {}", pin(repo), repo.repo)).unwrap_or_default()
            }
        };
        [sign(old.is_some(), new.is_some()).to_owned(), name.clone(), value]
    };
    titled("repositories", &columns("  ", &changes.iter().map(row).collect::<Vec<_>>()))
}

/// Says how many commits lie between two.
fn between(commits: Option<CommitCount>) -> String {
    let number = |number: u64| count(usize::try_from(number).unwrap_or(usize::MAX), "commit");
    match commits {
        None => String::new(),
        Some(CommitCount { added, removed: 0 }) => format!(", {} later", number(added)),
        Some(CommitCount { added: 0, removed }) => format!(", {} earlier", number(removed)),
        Some(CommitCount { added, removed }) => {
            format!(", another branch: {} added, {removed} gone", number(added))
        }
    }
}

fn section(title: &str, changes: &[Change]) -> String {
    let row = |Change { name, old, new }: &Change| {
        let value = match (old, new) {
            (Some(old), Some(new)) => format!("{old} -> {new}"),
            (old, new) => old.iter().chain(new).cloned().collect(),
        };
        [sign(old.is_some(), new.is_some()).to_owned(), name.clone(), value]
    };
    titled(title, &columns("  ", &changes.iter().map(row).collect::<Vec<_>>()))
}

/// What is new, what is gone, and what is other.
fn sign(was: bool, is: bool) -> &'static str {
    match (was, is) {
        (false, true) => "+",
        (true, false) => "-",
        _ => "~",
    }
}

fn titled(title: &str, body: &str) -> String {
    if body.is_empty() { String::new() } else { format!("\n{}\n{body}", title.bold()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn repo(name: &str, digit: &str, git_ref: &str) -> Value {
        json!({"repo": format!("https://example.org/{name}"), "ref": git_ref, "commit": digit.repeat(40),
               "committed_at": "2025-01-02T03:04:05Z"})
    }

    fn told(fields: Value) -> String {
        let mut answer = json!({
            "old": {"version_id": "a", "resolved_at": "2025-01-02T03:04:05Z"},
            "new": {"version_id": "a", "generation": "0f1e2d3c", "resolved_at": "2025-02-02T03:04:05Z"},
            "repositories": [], "packages": [], "models": []});
        let Value::Object(fields) = fields else { panic!("an object") };
        answer.as_object_mut().unwrap().extend(fields);
        anstream::adapter::strip_str(&people(&serde_json::from_value(answer).unwrap())).to_string()
    }

    #[test]
    fn each_kind_of_change_has_its_sign() {
        let change =
            |name: &str, old: Option<&str>, new: Option<&str>| json!({"name": name, "old": old, "new": new});
        let text = told(json!({
            "repositories": [
                {"name": "ComfyUI", "old": repo("c", "1", "v0.3.75"), "new": repo("c", "2", "v0.4.0"),
                 "commits": {"added": 41, "removed": 0}},
                {"name": "Back", "old": repo("b", "1", "main"), "new": repo("b", "2", "main"),
                 "commits": {"added": 0, "removed": 1}},
                {"name": "Side", "old": repo("s", "1", "main"), "new": repo("s", "2", "dev"),
                 "commits": {"added": 3, "removed": 2}},
                {"name": "Fork", "old": repo("f", "1", "main"), "new": repo("g", "1", "main")},
                {"name": "New", "new": repo("n", "1", "main")},
                {"name": "Gone", "old": repo("o", "1", "main")}],
            "python": change("Python", Some("3.11"), Some("3.12")),
            "packages": [change("numpy", Some("1.26.4"), Some("2.1.0")), change("x", None, Some("1.0"))],
            "models": [change("loras/a.safetensors", Some("hf://o/r/a.safetensors"), None)],
            "settings": [change("variable A", Some("set"), Some("set otherwise"))]}));
        let expected = "\
from a to a@0f1e2d3c

repositories
  ~  ComfyUI  1111111111 (v0.3.75) -> 2222222222 (v0.4.0), 41 commits later
  ~  Back     1111111111 (main) -> 2222222222 (main), 1 commit earlier
  ~  Side     1111111111 (main) -> 2222222222 (dev), another branch: 3 commits added, 2 gone
  ~  Fork     1111111111 (main) of https://example.org/f -> 1111111111 (main) of https://example.org/g
  +  New      1111111111 (main) of https://example.org/n
  -  Gone     1111111111 (main) of https://example.org/o

Python
  ~  Python  3.11 -> 3.12

packages
  ~  numpy  1.26.4 -> 2.1.0
  +  x      1.0

models
  -  loras/a.safetensors  hf://o/r/a.safetensors

settings
  ~  variable A  set -> set otherwise
";
        assert_eq!(text, expected);
        assert_eq!(told(json!({})), "a and a@0f1e2d3c pin the same\n");
    }
}
