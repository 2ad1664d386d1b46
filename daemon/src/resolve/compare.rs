//! Two locks side by side: which lock a name means, and how many commits lie between two pins.

use super::present::{present_lock, spec_digest, valid_lock};
use crate::ctx::Ctx;
use crate::source::Sources;
use crate::source::git::GitError;
use crate::store::inspect::linked_generation;
use crate::store::places::{Home, generation};
use crate::store::{self, StoreError, tree};
use futures_util::StreamExt as _;
use futures_util::stream::iter;
use proto::method::{Change, CommitCount, DiffSide, RepositoryChange};
use proto::{ErrorKind, Lock, Spec, VersionId};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// How long hosts are asked for histories. That of ComfyUI takes a second or two: some megabytes.
const HISTORIES: Duration = Duration::from_secs(20);

/// How many hosts are asked at a time.
const AT_A_TIME: usize = 4;

/// Which lock of a version is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// Its own: what a realize makes true.
    Pinned,
    /// That of its current generation.
    Current,
    /// That of the generation before.
    Previous,
    /// That of a generation whose name begins so.
    Generation(String),
}

/// A lock, and what it is called.
#[derive(Debug, Clone)]
pub struct Side {
    /// What it is called.
    pub told: DiffSide,
    /// The lock.
    pub lock: Lock,
    /// Whether it is the lock of what the spec said before it was edited.
    pub is_old: bool,
}

/// Why there is no such lock.
#[derive(Debug, thiserror::Error)]
pub enum SideError {
    /// The version was never resolved.
    #[error("`{0}` has no lock yet")]
    NoLock(VersionId),
    /// There is no such generation, or what lies there is none.
    #[error("`{version}` has no {which}")]
    NoGeneration {
        /// The version.
        version: VersionId,
        /// Which one was asked for, in words.
        which: String,
    },
    /// Several generations have names that begin so.
    #[error("`{version}` has several generations whose names begin with `{name}`")]
    Ambiguous {
        /// The version.
        version: VersionId,
        /// What was asked for.
        name: String,
    },
    /// A lock cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SideError {
    /// Returns what kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoLock(_) | Self::NoGeneration { .. } => ErrorKind::NotFound,
            Self::Ambiguous { .. } => ErrorKind::Usage,
            Self::Store(_) => ErrorKind::Disk,
        }
    }

    /// Returns what to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoLock(version) => Some(format!("`comfyctl resolve {version}` pins it")),
            Self::NoGeneration { version, .. } => Some(format!(
                "`comfyctl show {version}` names its generations; two versions are compared by `comfyctl diff <a> <b>`"
            )),
            Self::Ambiguous { .. } => Some("write more of the name".to_owned()),
            Self::Store(_) => None,
        }
    }
}

impl Which {
    /// Splits `<version>@<which>`; without the second part the version's own lock is meant.
    pub fn split(text: &str) -> (&str, Self) {
        match text.rsplit_once('@') {
            // A path may have an `@` in it.
            Some((version, which))
                if !version.is_empty() && !which.is_empty() && !which.contains(['/', '.']) =>
            {
                let which = match which {
                    "current" => Self::Current,
                    "previous" => Self::Previous,
                    name => Self::Generation(name.to_owned()),
                };
                (version, which)
            }
            _ => (text, Self::Pinned),
        }
    }
}

/// Reads the lock that is meant. Blocks, shortly.
///
/// # Errors
/// There is none, or it cannot be read.
pub fn side(sources: &Sources, (spec, home): (&Spec, &Home), which: &Which) -> Result<Side, SideError> {
    let version = &spec.version_id;
    let (generation, lock) = match which {
        Which::Pinned => {
            let lock = match valid_lock(sources, spec, home)? {
                Some(lock) => Some(lock),
                None => present_lock(sources, spec, home, &spec_digest(spec))?.0,
            };
            (None, lock.ok_or_else(|| SideError::NoLock(version.clone()))?)
        }
        which => {
            let name = find(version, home, which)?;
            let lock = store::read_json::<Lock>(&home.generation(&name).join(generation::LOCK))?;
            let nameless = || no_generation(version, &format!("lock of generation `{name}`"));
            (Some(name.clone()), lock.ok_or_else(nameless)?)
        }
    };
    let is_old = *which == Which::Pinned && lock.spec_digest != spec_digest(spec);
    let told = DiffSide { version_id: version.clone(), generation, resolved_at: lock.resolved_at };
    Ok(Side { told, lock, is_old })
}

fn find(version: &VersionId, home: &Home, which: &Which) -> Result<String, SideError> {
    let (link, word) = match which {
        Which::Current | Which::Pinned => (home.current(), "current"),
        Which::Previous => (home.previous(), "previous"),
        Which::Generation(name) => {
            let mut names = tree::published(&home.generations()).unwrap_or_default();
            names.retain(|whole| whole.starts_with(name.as_str()));
            return match names.len() {
                0 => Err(no_generation(version, &format!("generation `{name}`"))),
                1 => Ok(names.swap_remove(0)),
                _ => Err(SideError::Ambiguous { version: version.clone(), name: name.clone() }),
            };
        }
    };
    linked_generation(&link).ok_or_else(|| no_generation(version, &format!("{word} generation")))
}

fn no_generation(version: &VersionId, which: &str) -> SideError {
    SideError::NoGeneration { version: version.clone(), which: which.to_owned() }
}

/// Why it is not known how many commits lie between two.
#[derive(Debug, thiserror::Error)]
pub enum CountError {
    /// The host does not tell.
    #[error(transparent)]
    Git(#[from] GitError),
    /// It takes too long.
    #[error("the history did not come within {} s", HISTORIES.as_secs())]
    Late,
}

/// Finds out from the hosts how many commits lie between the pins of each repository. Returns the names of those for
/// which it is not known, and why not. Bounded by `HISTORIES`; cancel-safe.
pub async fn count(
    ctx: &Ctx,
    sources: &Sources,
    repositories: &mut [RepositoryChange],
) -> Vec<(String, CountError)> {
    let deadline = Instant::now() + HISTORIES;
    // Asked for first: a closure that is kept across an await has to know all lifetimes.
    let asked: Vec<_> =
        repositories.iter_mut().map(|repository| ask(ctx, sources, repository, deadline)).collect();
    let unknown: Vec<_> = iter(asked).buffered(AT_A_TIME).collect().await;
    unknown.into_iter().flatten().collect()
}

async fn ask(
    ctx: &Ctx,
    sources: &Sources,
    repository: &mut RepositoryChange,
    deadline: Instant,
) -> Option<(String, CountError)> {
    let (old, new) = (repository.old.as_ref()?, repository.new.as_ref()?);
    if old.repo != new.repo {
        // Of a fork nobody says where it left.
        return None;
    }
    let asked = sources.git.between(ctx, &new.repo, (&old.commit, &new.commit));
    let told = match timeout_at(deadline, asked).await {
        Ok(told) => told.map_err(CountError::Git),
        Err(_) => Err(CountError::Late),
    };
    match told {
        Ok((removed, added)) => {
            repository.commits = Some(CommitCount { added, removed });
            None
        }
        Err(error) => Some((repository.name.clone(), error)),
    }
}

/// Compares what two specs say besides their pins: options, and variables by name, whose values may be secrets.
pub fn settings(old: &Spec, new: &Spec) -> Vec<Change> {
    let options = [old, new].map(|spec| match serde_json::to_value(&spec.options) {
        Ok(Value::Object(fields)) => {
            fields.into_iter().map(|(name, value)| (name, value.to_string())).collect()
        }
        _ => BTreeMap::new(),
    });
    let mut settings = changed("option ", &options, |value, _| value.to_owned());
    let variables = [old.env.clone(), new.env.clone()];
    let words = |_: &str, is_other: bool| if is_other { "set otherwise" } else { "set" }.to_owned();
    settings.extend(changed("variable ", &variables, words));
    settings
}

fn changed(
    what: &str,
    [old, new]: &[BTreeMap<String, String>; 2],
    shown: impl Fn(&str, bool) -> String,
) -> Vec<Change> {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let differing = names.into_iter().filter(|name| old.get(*name) != new.get(*name));
    let change = |name: &String| Change {
        name: format!("{what}{name}"),
        old: old.get(name).map(|value| shown(value, false)),
        new: new.get(name).map(|value| shown(value, old.contains_key(name))),
    };
    differing.map(change).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_which_lock_is_meant() {
        let table = [
            ("x", ("x", Which::Pinned)),
            ("x@current", ("x", Which::Current)),
            ("x@previous", ("x", Which::Previous)),
            ("x@0f1e", ("x", Which::Generation("0f1e".to_owned()))),
            ("/v/a@b/x.json", ("/v/a@b/x.json", Which::Pinned)),
            ("/v/a@b.json", ("/v/a@b.json", Which::Pinned)),
            ("/v/x.json@previous", ("/v/x.json", Which::Previous)),
            ("@previous", ("@previous", Which::Pinned)),
            ("x@", ("x@", Which::Pinned)),
        ];
        for (text, expected) in table {
            assert_eq!(Which::split(text), expected, "{text}");
        }
    }

    #[test]
    fn values_of_variables_are_not_told() {
        let spec = |text: &str| proto::spec::parse(text, "x.json", "x").spec.unwrap();
        let comfy = r#""schema_version": 2, "comfy": {"repo": "https://example.org/c"}"#;
        let old = spec(&format!(r#"{{{comfy}, "env": {{"A": "s3cret", "B": "1"}}}}"#));
        let new = spec(&format!(
            r#"{{{comfy}, "env": {{"A": "0ther", "C": "1"}}, "options": {{"extra_args": ["--fast"]}}}}"#
        ));
        let change = |name: &str, old: Option<&str>, new: Option<&str>| Change {
            name: name.to_owned(),
            old: old.map(str::to_owned),
            new: new.map(str::to_owned),
        };
        let expected = [
            change("option extra_args", Some("[]"), Some(r#"["--fast"]"#)),
            change("variable A", Some("set"), Some("set otherwise")),
            change("variable B", Some("set"), None),
            change("variable C", None, Some("set")),
        ];
        assert_eq!(settings(&old, &new), expected);
        assert_eq!(settings(&old, &old), Vec::new());
    }
}
