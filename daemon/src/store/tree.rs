//! Whole directory trees: cloned by hard links, listed without what is not published.

use super::commit::{StoreError, create_dir_all};
use std::fs::{self, DirEntry};
use std::path::Path;

/// Makes `to` a copy of `from` whose files are hard links: it costs names, not bytes. Symbolic links are
/// copied as they are. Both must be on one filesystem. Blocks.
///
/// # Errors
/// When a file cannot be linked; `to` is left incomplete.
pub fn link_tree(from: &Path, to: &Path) -> Result<(), StoreError> {
    create_dir_all(to)?;
    for entry in entries(from)? {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(StoreError::at("read", &source))?;
        if kind.is_dir() {
            link_tree(&source, &target)?;
        } else if kind.is_symlink() {
            let link = fs::read_link(&source).map_err(StoreError::at("read the link", &source))?;
            std::os::unix::fs::symlink(link, &target).map_err(StoreError::at("link", &target))?;
        } else {
            fs::hard_link(&source, &target).map_err(StoreError::at("hard-link", &target))?;
        }
    }
    Ok(())
}

/// Returns the names of a directory's published entries; none when it does not exist. Blocks.
///
/// # Errors
/// When the directory cannot be read.
pub fn published(dir: &Path) -> Result<Vec<String>, StoreError> {
    if !dir.is_dir() {
        return Ok(Vec::new());
    }
    let names = entries(dir)?.into_iter().filter_map(|entry| entry.file_name().into_string().ok());
    Ok(names.filter(|name| !name.starts_with(super::commit::STAGING)).collect())
}

fn entries(dir: &Path) -> Result<Vec<DirEntry>, StoreError> {
    let read = fs::read_dir(dir).and_then(Iterator::collect);
    read.map_err(StoreError::at("read the directory", dir))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn a_linked_tree_shares_its_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let from = dir.path().join("from");
        fs::create_dir_all(from.join("bin")).unwrap();
        fs::write(from.join("bin/x"), "x").unwrap();
        std::os::unix::fs::symlink("bin/x", from.join("link")).unwrap();
        let to = dir.path().join("to");
        link_tree(&from, &to).unwrap();
        assert_eq!(
            fs::metadata(to.join("bin/x")).unwrap().ino(),
            fs::metadata(from.join("bin/x")).unwrap().ino()
        );
        assert_eq!(fs::read_link(to.join("link")).unwrap(), Path::new("bin/x"));
    }

    #[test]
    fn only_published_names_are_listed() {
        let dir = tempfile::tempdir().unwrap();
        for name in [".comfyd-staging-x", "c"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        assert_eq!(published(dir.path()).unwrap(), ["c"]);
        assert!(published(&dir.path().join("absent")).unwrap().is_empty());
    }
}
