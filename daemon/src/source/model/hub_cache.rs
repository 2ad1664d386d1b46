//! Files that `huggingface_hub`, or RunPod for its endpoints, has cached already: they are never fetched.
//!
//! A cache has a directory such as `models--<owner>--<name>` for each repository. In it, `blobs/<etag>` are the
//! files (the ETag of a large one is its SHA-256), `snapshots/<commit>/<path>` are links to blobs, and
//! `refs/<revision>` are texts that hold a commit. A blob gets its name when it is whole; until then
//! `.incomplete` stands behind it (huggingface_hub 2.4.0, `file_download.py`).

use super::remote::Identity;
use super::verify;
use proto::CommitId;
use proto::source::{Location, ModelSource};
use std::path::{Path, PathBuf};

/// What says which content a link stands for.
#[derive(Debug, Clone, Copy)]
pub enum Word<'a> {
    /// What the host said just now.
    Host(&'a Identity),
    /// The link itself, where its revision is a commit.
    Commit,
    /// The link, or else what the revision stood for when the cache was filled. It may be older than
    /// what the host has.
    Ref,
}

/// A file in a cache, whole and well-formed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cached {
    /// The file itself, no link.
    pub path: PathBuf,
    /// Its size in bytes.
    pub size: u64,
    /// SHA-256 of its content, by its name in the cache.
    pub sha256: Option<String>,
    /// The commit it belongs to, where it was found by one.
    pub commit: Option<String>,
}

/// Seeks the file of a link in the given caches. `name` is the file's name-to-be, which says what format
/// it must have. Anything doubtful reads as none. Blocks, shortly.
pub fn find(caches: &[PathBuf], source: &ModelSource, name: &str, word: Word<'_>) -> Option<Cached> {
    let Location::HuggingFace { repo_type, repo, revision, path } = source.location() else { return None };
    let directory = format!("{repo_type}--{}", repo.replace('/', "--"));
    let mut repositories = caches.iter().map(|cache| cache.join(&directory));
    repositories.find_map(|repository| {
        let commit = match word {
            Word::Host(identity) => identity.commit.clone(),
            Word::Commit | Word::Ref => Some(revision.clone()),
        };
        let commit = commit.and_then(|commit| CommitId::new(commit).ok());
        let commit = match word {
            Word::Ref => commit.or_else(|| reference(&repository, revision)),
            _ => commit,
        };
        let in_snapshot = || {
            let commit = commit?;
            let file = contained(&repository, &repository.join("snapshots").join(commit.as_str()).join(path));
            prove(&file?, name, word, Some(String::from(commit)))
        };
        in_snapshot().or_else(|| {
            let Word::Host(Identity { sha256: Some(sha256), commit, .. }) = word else { return None };
            let blob = Some(repository.join("blobs").join(sha256)).filter(|_| is_sha256(sha256))?;
            prove(
                &blob.canonicalize().ok().filter(|real| is_in(real, &repository, "blobs"))?,
                name,
                word,
                commit.clone(),
            )
        })
    })
}

/// Returns the commit that a revision stood for.
fn reference(repository: &Path, revision: &str) -> Option<CommitId> {
    let text = std::fs::read_to_string(repository.join("refs").join(revision)).ok()?;
    CommitId::new(text.trim()).ok()
}

/// Returns the file that a name in a snapshot leads to: one of the repository's own blobs, or a plain
/// file where the cache's disk knows no links.
fn contained(repository: &Path, name: &Path) -> Option<PathBuf> {
    let real = name.canonicalize().ok()?;
    let folder = if name.symlink_metadata().ok()?.is_symlink() { "blobs" } else { "snapshots" };
    is_in(&real, repository, folder).then_some(real)
}

fn is_in(real: &Path, repository: &Path, folder: &str) -> bool {
    repository.join(folder).canonicalize().is_ok_and(|folder| real.starts_with(folder))
}

fn prove(file: &Path, name: &str, word: Word<'_>, commit: Option<String>) -> Option<Cached> {
    let size = verify::check(file, name).ok()?.ok()?;
    let blob = file.file_name()?.to_str()?;
    let sha256 = Some(blob.to_owned()).filter(|name| is_sha256(name));
    if let Word::Host(identity) = word {
        let differs = |told: &Option<String>| told.is_some() && sha256.is_some() && *told != sha256;
        if identity.size.is_some_and(|told| told != size) || differs(&identity.sha256) {
            return None;
        }
    }
    let is_whole = !blob.ends_with(".incomplete");
    is_whole.then(|| Cached { path: file.to_owned(), size, sha256, commit })
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    const COMMIT: &str = "3f2a1b0c9d3f2a1b0c9d3f2a1b0c9d3f2a1b0c9d";
    const LINK: &str = "hf://o/r/sub/x.bin";

    /// A cache with one file, as huggingface_hub fills it.
    fn cache(content: &str) -> (tempfile::TempDir, PathBuf, String) {
        let dir = tempfile::tempdir().unwrap();
        let repository = dir.path().join("models--o--r");
        let snapshot = repository.join("snapshots").join(COMMIT).join("sub");
        let sha256 = "ab".repeat(32);
        for dir in [&snapshot, &repository.join("blobs"), &repository.join("refs")] {
            std::fs::create_dir_all(dir).unwrap();
        }
        std::fs::write(repository.join("blobs").join(&sha256), content).unwrap();
        symlink(format!("../../../blobs/{sha256}"), snapshot.join("x.bin")).unwrap();
        std::fs::write(repository.join("refs/main"), COMMIT).unwrap();
        (dir, repository, sha256)
    }

    fn sought(cache: &Path, link: &str, word: Word<'_>) -> Option<Cached> {
        find(&[cache.join("none"), cache.to_owned()], &ModelSource::parse(link).unwrap(), "x.bin", word)
    }

    #[test]
    fn a_file_is_found_by_ref_by_commit_and_by_what_the_host_says() {
        let (dir, repository, sha256) = cache("content");
        let blob = repository.canonicalize().unwrap().join("blobs").join(&sha256);
        let file = |commit: Option<&str>| {
            let commit = commit.map(str::to_owned);
            Some(Cached { path: blob.clone(), size: 7, sha256: Some(sha256.clone()), commit })
        };
        let found = |link: &str, word| sought(dir.path(), link, word);
        assert_eq!(found(LINK, Word::Ref), file(Some(COMMIT)));
        assert_eq!(found(LINK, Word::Commit), None);
        let pinned = format!("hf://o/r@{COMMIT}/sub/x.bin");
        assert_eq!(found(&pinned, Word::Commit), file(Some(COMMIT)));
        assert_eq!(found("hf://o/r@v1/sub/x.bin", Word::Ref), None);
        assert_eq!(found("hf://datasets/o/r/sub/x.bin", Word::Ref), None);
        let told = |commit: &str, size, sha256: Option<&String>| {
            let (commit, sha256) = (Some(commit.to_owned()), sha256.cloned());
            let identity = Identity { size: Some(size), sha256, commit, ..Identity::default() };
            sought(dir.path(), LINK, Word::Host(&identity))
        };
        let other = "0".repeat(40);
        assert_eq!(told(COMMIT, 7, None), file(Some(COMMIT)));
        assert_eq!(told(&other, 7, Some(&sha256)), file(Some(&other)));
        assert_eq!(told(&other, 7, None), None);
        assert_eq!(told(COMMIT, 8, None), None, "another size");
        assert_eq!(told(COMMIT, 7, Some(&"cd".repeat(32))), None, "another content");
        assert_eq!(told("../../x", 7, Some(&"../x".to_owned())), None);
    }

    #[test]
    fn what_is_no_whole_file_of_the_repository_is_passed_over() {
        let (dir, repository, sha256) = cache("content");
        let name = repository.join("snapshots").join(COMMIT).join("sub/x.bin");
        let outside = dir.path().join("secret");
        std::fs::write(&outside, "content").unwrap();
        let incomplete = repository.join("blobs").join(format!("{sha256}.1234.incomplete"));
        std::fs::write(&incomplete, "content").unwrap();
        for target in [&outside, &incomplete, &dir.path().join("dangling")] {
            std::fs::remove_file(&name).unwrap();
            symlink(target, &name).unwrap();
            assert_eq!(sought(dir.path(), LINK, Word::Ref), None, "{}", target.display());
        }
        std::fs::remove_file(&name).unwrap();
        std::fs::write(&name, "a plain file").unwrap();
        assert!(sought(dir.path(), LINK, Word::Ref).is_some());
        std::fs::write(&name, "<html>").unwrap();
        assert_eq!(sought(dir.path(), LINK, Word::Ref), None, "a page is no model");
    }
}
