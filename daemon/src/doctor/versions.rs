//! Specs: where they lie, and which cannot be used. Locks: what the versions were pinned to.

use super::list;
use crate::config::Config;
use crate::ctx::blocking;
use crate::store::places::{self, generation};
use crate::store::specs::{self, SpecError};
use crate::store::{read_json, tree};
use proto::method::{Finding, Target};
use proto::spec::Severity;
use proto::{Lock, VersionId};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const SUBJECT: &str = "versions";

/// What one directory of specs holds.
#[derive(Debug)]
struct Searched {
    dir: PathBuf,
    /// None when there is no such directory.
    specs: Option<usize>,
    /// Why it cannot be read, where it cannot.
    unreadable: Option<String>,
}

/// A spec that cannot be used.
#[derive(Debug)]
struct Broken {
    id: VersionId,
    /// The first thing that is wrong with it, with its place.
    first: String,
    /// How much more is wrong with it.
    more: usize,
}

/// Looks into the directories of specs.
pub(super) async fn look(config: &Arc<Config>, cwd: Option<String>) -> Vec<Finding> {
    let config = Arc::clone(config);
    blocking(move || {
        let (mut searched, mut broken) = (Vec::new(), Vec::new());
        for dir in specs::search_dirs(&config, cwd.as_deref()) {
            searched.push(match specs::in_dir(&dir) {
                Ok(found) => {
                    let number = found.len();
                    broken.extend(found.into_iter().filter_map(|(id, path)| try_spec(&config, id, &path)));
                    Searched { dir, specs: Some(number), unreadable: None }
                }
                Err(error) => {
                    let is_absent = error.kind() == std::io::ErrorKind::NotFound;
                    let unreadable = (!is_absent).then(|| error.to_string());
                    Searched { dir, specs: None, unreadable }
                }
            });
        }
        judge(&searched, &broken)
    })
    .await
}

fn try_spec(config: &Config, id: VersionId, path: &Path) -> Option<Broken> {
    let target = Target { version: path.display().to_string(), cwd: None, comfy_home: None };
    let (first, more) = match specs::load(config, &target) {
        Ok(_) => return None,
        Err(SpecError::Invalid { diagnostics, .. }) => {
            let mut errors = diagnostics.iter().filter(|finding| finding.severity == Severity::Error);
            (errors.next().map(ToString::to_string).unwrap_or_default(), errors.count())
        }
        Err(error) => (crate::error::chain(&error), 0),
    };
    Some(Broken { id, first, more })
}

fn judge(searched: &[Searched], broken: &[Broken]) -> Vec<Finding> {
    /// Broken specs that are told one by one.
    const TOLD: usize = 3;
    let mut findings = Vec::new();
    for Searched { dir, unreadable, .. } in searched {
        if let Some(why) = unreadable {
            let text = format!("`{}` cannot be read: {why}", dir.display());
            findings.push(Finding::problem(SUBJECT, text, "let the user that comfyd runs as read it"));
        }
    }
    for Broken { id, first, more } in broken.iter().take(TOLD) {
        let more = if *more > 0 { format!(", and {more} more") } else { String::new() };
        let remedy = format!("correct the spec; `comfyctl show {id}` lists all that is wrong");
        findings.push(Finding::problem(SUBJECT, format!("`{id}` cannot be used: {first}{more}"), remedy));
    }
    if broken.len() > TOLD {
        let others = list(broken[TOLD..].iter().map(|broken| &broken.id));
        let remedy = "`comfyctl list` tells which, `comfyctl show <id>` why";
        findings.push(Finding::problem(SUBJECT, format!("nor can {others}"), remedy));
    }
    let counted = searched.iter().filter_map(|searched| Some((searched.specs?, searched.dir.display())));
    let words: Vec<String> = counted.map(|(number, dir)| format!("{number} in `{dir}`")).collect();
    let total: usize = searched.iter().filter_map(|searched| searched.specs).sum();
    findings.push(if total == 0 {
        let dirs = list(searched.iter().map(|searched| searched.dir.display()));
        let remedy = "write a spec `<id>.json` there (`comfyctl new <id>` begins one), or name its path";
        Finding::warning(SUBJECT, format!("there is no spec in {dirs}"), remedy)
    } else {
        Finding::ok(SUBJECT, words.join(", ")).figure("specs", total as u64)
    });
    findings
}

/// Returns the locks that this machine knows: those in the user's cache, then those that homes carry. Damaged ones are
/// passed over, as everywhere. Blocks.
pub(super) fn locks(config: &Config) -> BTreeMap<VersionId, Lock> {
    let dir = places::lock_files(config);
    let cached = tree::published(&dir).unwrap_or_default();
    let cached = cached.into_iter().filter(|name| name.ends_with(".lock.json")).map(|name| dir.join(name));
    let carried = places::homes(config).into_iter().map(|home| home.join("current").join(generation::LOCK));
    let mut locks = BTreeMap::new();
    for path in cached.chain(carried) {
        if let Ok(Some(lock)) = read_json::<Lock>(&path) {
            locks.entry(lock.version_id.clone()).or_insert(lock);
        }
    }
    locks
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::method::Verdict;

    fn searched(dir: &str, specs: Option<usize>) -> Searched {
        Searched { dir: dir.into(), specs, unreadable: None }
    }

    #[test]
    fn specs_are_counted_and_broken_ones_are_named() {
        let dirs = [searched("/v/versions", Some(2)), searched("/u/versions", None)];
        let found = judge(&dirs, &[]);
        assert_eq!((found.len(), found[0].verdict), (1, Verdict::Ok));
        assert_eq!(found[0].text, "2 in `/v/versions`");
        let broken = |id: &str| Broken { id: VersionId::new(id).unwrap(), first: "x".to_owned(), more: 2 };
        let found = judge(&dirs, &["a", "b", "c", "d", "e"].map(broken));
        assert_eq!(found.iter().filter(|finding| finding.verdict == Verdict::Problem).count(), 4);
        assert_eq!(found[0].text, "`a` cannot be used: x, and 2 more");
        assert_eq!(found[3].text, "nor can `d`, `e`");
    }

    #[test]
    fn without_any_spec_people_learn_where_they_belong() {
        let found = judge(&[searched("/v/versions", None), searched("/u/versions", Some(0))], &[]);
        assert_eq!(found[0].verdict, Verdict::Warning);
        assert_eq!(found[0].text, "there is no spec in `/v/versions`, `/u/versions`");
        let unreadable = Searched { unreadable: Some("Permission denied".into()), ..searched("/v", None) };
        let found = judge(&[unreadable], &[]);
        assert_eq!(found[0].verdict, Verdict::Problem);
    }
}
