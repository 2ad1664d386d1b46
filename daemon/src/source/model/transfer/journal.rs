//! What a claim's directory holds: whose it is, of what file, and which bytes are there.
//!
//! The journal is rewritten as a whole, so a reader sees an old one or a new one. One that cannot be
//! read is as good as none: the transfer starts over.

use super::ranges::Ranges;
use crate::source::model::remote::Identity;
use crate::store::commit::{self, StoreError};
use crate::store::owner::Owner;
use crate::store::read_json;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Name of the journal in a claim's directory.
pub(super) const NAME: &str = "journal.json";

/// A journal of another number is not understood, hence not trusted.
const SCHEMA: u32 = 1;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Journal {
    schema_version: u32,
    /// Who fetches, or fetched last.
    pub(super) owner: Owner,
    /// Whether the owner stopped and left the rest to whoever comes.
    pub(super) given_up: bool,
    /// Counts rewrites: the owner lives while this changes.
    pub(super) beat: u64,
    /// The link, without secrets, for people who look.
    pub(super) link: String,
    /// What file the bytes belong to.
    pub(super) identity: Identity,
    /// Name of the file with the bytes, in the same directory. Every fresh start has its own, so that a
    /// former owner that still writes cannot reach the new file.
    pub(super) data: String,
    /// Bytes that arrived, for those who wait.
    pub(super) arrived: u64,
    /// Bytes that were handed to the kernel: they outlive the process, not the machine.
    pub(super) written: Ranges,
    /// Bytes that were synced: they outlive the machine.
    pub(super) synced: Ranges,
}

impl Journal {
    /// Returns the journal of a transfer that has nothing yet.
    pub(super) fn new(link: String, owner: Owner) -> Self {
        let data = format!("{}.data", owner.nonce);
        Self {
            schema_version: SCHEMA,
            owner,
            given_up: false,
            beat: 0,
            link,
            identity: Identity::default(),
            data,
            arrived: 0,
            written: Ranges::default(),
            synced: Ranges::default(),
        }
    }

    /// Reads the journal of a claim's directory; `None` where there is none that can be understood.
    /// Blocks.
    pub(super) fn read(dir: &Path) -> Result<Option<Self>, StoreError> {
        let journal: Option<Self> = read_json(&dir.join(NAME))?;
        Ok(journal.filter(|journal| journal.schema_version == SCHEMA && !journal.data.contains('/')))
    }

    /// Rewrites the journal of a claim's directory, which must exist. Survives a crash of the machine
    /// only if `durable`. Blocks.
    pub(super) fn write(&self, dir: &Path, durable: bool) -> Result<(), StoreError> {
        let path = dir.join(NAME);
        commit::step("transfer.journal", "write", &path)?;
        let text = serde_json::to_vec(self).map_err(|error| StoreError::at("encode", &path)(error.into()))?;
        commit::replace_file(&path, &text, durable)
    }

    /// Makes it `owner`'s, keeping the bytes that can be trusted here: none if nothing tells their file
    /// from another one, only the synced ones if they were written under another kernel. Blocks shortly.
    pub(super) fn taken_by(self, owner: Owner) -> Self {
        if !self.identity.can_be_told() {
            return Self::new(self.link, owner);
        }
        let written = if self.owner.shares_page_cache() { self.written } else { self.synced.clone() };
        Self { owner, given_up: false, written, ..self }
    }

    /// Forgets all bytes: they belong to another file than `identity`, or nobody can tell.
    pub(super) fn start_over(&mut self, identity: Identity) {
        let data = format!("{}.data", uuid::Uuid::new_v4().simple());
        let (written, synced) = (Ranges::default(), Ranges::default());
        *self = Self { identity, data, written, synced, arrived: 0, ..self.clone() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal(validator: Option<&str>) -> Journal {
        let mut journal = Journal::new("https://h/x".to_owned(), Owner::mine());
        journal.identity.validator = validator.map(str::to_owned);
        journal.written.insert(0..100);
        journal.synced.insert(0..40);
        journal
    }

    #[test]
    fn only_bytes_that_can_be_told_and_that_outlived_the_machine_are_taken_over() {
        let kept = |journal: Journal| journal.taken_by(Owner::mine()).written.len();
        assert_eq!(kept(journal(Some("\"e\""))), 100);
        assert_eq!(kept(journal(None)), 0);
        let text = serde_json::to_string(&journal(Some("\"e\""))).unwrap();
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        let rebooted = serde_json::from_str(&text.replace(boot.trim(), "earlier")).unwrap();
        assert_eq!(kept(rebooted), 40);
    }

    #[test]
    fn a_journal_that_cannot_be_understood_is_none() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Journal::read(dir.path()).unwrap(), None);
        let whole = journal(Some("\"e\""));
        for durable in [false, true] {
            whole.write(dir.path(), durable).unwrap();
            assert_eq!(Journal::read(dir.path()).unwrap().as_ref(), Some(&whole));
        }
        let text = std::fs::read_to_string(dir.path().join(NAME)).unwrap();
        let later = text.replace("\"schema_version\":1", "\"schema_version\":2");
        let outside = text.replace(&whole.data, "../x");
        for broken in [&text[..text.len() / 2], "", &later, &outside] {
            std::fs::write(dir.path().join(NAME), broken).unwrap();
            assert_eq!(Journal::read(dir.path()).unwrap(), None, "{broken}");
        }
    }
}
