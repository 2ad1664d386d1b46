//! What an origin tells, before anyone was asked about it.

use crate::source::git::{redact, releases};
use proto::CommitId;
use proto::method::{Unknown, UnknownKind};

/// What an origin tells.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Found {
    /// ComfyUI itself.
    pub(super) comfy: FoundRepo,
    /// Packs of custom nodes.
    pub(super) nodes: Vec<FoundNode>,
    /// Models.
    pub(super) models: Vec<FoundModel>,
    /// The interpreter's version, `major.minor`.
    pub(super) python: Option<String>,
    /// What nobody can know.
    pub(super) unknown: Vec<Unknown>,
    /// What people should know of the rest.
    pub(super) warnings: Vec<String>,
}

/// A repository and what to take from it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct FoundRepo {
    /// Its address, where it is known.
    pub(super) url: Option<String>,
    /// What to take from it.
    pub(super) revision: Revision,
}

/// What to take from a repository.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) enum Revision {
    /// Nobody says.
    #[default]
    Unknown,
    /// A version's number or name, without `v`: its tag is to be found.
    Version(String),
    /// A branch or tag.
    Ref(String),
    /// A commit.
    Commit(CommitId),
}

impl Revision {
    /// Reads what other programs write for a version: a commit, a number, or that there is none.
    pub(super) fn read(text: &str) -> Self {
        let text = text.trim();
        if let Ok(commit) = CommitId::new(text.to_ascii_lowercase()) {
            return Self::Commit(commit);
        }
        match text {
            "" | "nightly" | "unknown" | "latest" | "null" => Self::Unknown,
            _ => Self::Version(text.strip_prefix('v').unwrap_or(text).to_owned()),
        }
    }

    /// Tells which of two says more: a commit, the later version, a version rather than nothing.
    pub(super) fn or(self, other: Self) -> Self {
        match (&self, &other) {
            (Self::Commit(_), _) | (_, Self::Unknown) => self,
            (Self::Version(one), Self::Version(two)) if releases::release(one) >= releases::release(two) => {
                self
            }
            _ => other,
        }
    }
}

/// A pack of custom nodes.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct FoundNode {
    /// What people call it.
    pub(super) name: String,
    /// Its id in the registry.
    pub(super) registry_id: Option<String>,
    /// A class that it brings, where nothing else is known of it.
    pub(super) class: Option<String>,
    /// Its repository.
    pub(super) repo: FoundRepo,
    /// Its directory under `custom_nodes`.
    pub(super) dir: Option<String>,
}

/// A model.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct FoundModel {
    /// Its file's name, with folders below its own.
    pub(super) name: String,
    /// Its folder under the models directory.
    pub(super) folder: Option<String>,
    /// Its link.
    pub(super) link: Option<String>,
    /// SHA-256 in hex.
    pub(super) sha256: Option<String>,
    /// Its size, where it stands on this machine.
    pub(super) size: Option<u64>,
    /// Who names it, for people.
    pub(super) by: Option<String>,
}

impl FoundModel {
    /// Returns its place under the models directory, where its folder is known.
    pub(super) fn target(&self) -> Option<String> {
        self.folder.as_ref().map(|folder| format!("{}/{}", folder.trim_matches('/'), self.name))
    }

    /// Returns the last part of its name.
    pub(super) fn file_name(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or(&self.name)
    }
}

/// Makes an [`Unknown`].
pub(super) fn unknown(kind: UnknownKind, name: impl Into<String>, reason: &str, hint: &str) -> Unknown {
    let hint = Some(hint.to_owned()).filter(|hint| !hint.is_empty());
    Unknown { kind, name: shown(&name.into()), reason: reason.to_owned(), hint }
}

/// Returns what others wrote as people may see it: in one line, escaped, not too long, and without logins.
pub(super) fn shown(text: &str) -> String {
    let escaped = |c: char| if c.is_control() { c.escape_default().collect() } else { c.to_string() };
    proto::error::excerpt(&redact(text).chars().map(escaped).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_more_wins() {
        let commit = "ab".repeat(20);
        let read = |text: &str| Revision::read(text);
        let or = |one: &str, two: &str| read(one).or(read(two));
        assert_eq!(or("1.2.3", &commit), read(&commit));
        assert_eq!(or("1.2.3", "v1.10.0"), read("1.10.0"));
        assert_eq!(or("1.10.0", "1.2.3"), read("1.10.0"));
        assert_eq!(or("nightly", "1.2.3"), read("1.2.3"));
        assert_eq!(or("1.2.3", "unknown"), read("1.2.3"));
        assert_eq!(read(" V1"), Revision::Version("V1".to_owned()));
    }

    #[test]
    fn names_of_others_stay_in_one_line() {
        assert_eq!(shown("a\u{1b}[31m\nb"), "a\\u{1b}[31m\\nb");
        assert_eq!(shown("https://me:s3cr3t@h/o/r"), "https://h/o/r");
    }
}
