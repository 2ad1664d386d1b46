//! `flock(2)` on a file, without waiting: quick, exact on one host, let go by the kernel when its process ends.
//!
//! Where many hosts share a volume it may be granted to several, be refused for a holder that is long dead, or
//! not be there at all. So it is a lock by itself only for what is one host's, the daemon's socket;
//! [`super::file_lock`] is for the rest. Lock files are never deleted: unlinking one splits the lock.

use crate::store::commit::{StoreError, create_dir_all};
use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// A held `flock`. Dropping it lets go.
#[must_use = "the lock is let go when this is dropped"]
#[derive(Debug)]
pub struct Flock {
    file: File,
}

/// What came of asking for one.
#[derive(Debug)]
pub enum Asked {
    /// It is held now.
    Granted(Flock),
    /// Someone else holds it, or held it when its machine died.
    Refused,
    /// The filesystem has none.
    Unsupported,
}

impl Flock {
    /// Asks for the lock on the file at `path`, which is made where it is absent. Does not wait. Blocks shortly.
    ///
    /// # Errors
    /// When the file cannot be created or opened.
    pub fn ask(path: &Path) -> Result<Asked, StoreError> {
        if let Some(parent) = path.parent() {
            create_dir_all(parent)?;
        }
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path);
        let mut file = file.map_err(StoreError::at("open the lock file", path))?;
        match fs4::FileExt::try_lock(&file) {
            Ok(()) => {
                // Who holds it is a courtesy to those who wait; the lock is ours without it.
                write_holder(&mut file).ok();
                Ok(Asked::Granted(Self { file }))
            }
            Err(fs4::TryLockError::WouldBlock) => Ok(Asked::Refused),
            // flock(2), and what FUSE and NFS answer in its place: ENOLCK, ENOSYS, EOPNOTSUPP, EIO.
            Err(fs4::TryLockError::Error(error)) => {
                tracing::debug!(path = %path.display(), %error, "no flock here");
                Ok(Asked::Unsupported)
            }
        }
    }

    /// Tells whether the lock file is still at its name: who finds another one there locks another lock.
    pub fn is_at(&self, path: &Path) -> bool {
        let identity = |file: std::fs::Metadata| (file.dev(), file.ino());
        let found = std::fs::metadata(path).map(identity);
        found.is_ok_and(|found| self.file.metadata().is_ok_and(|own| identity(own) == found))
    }
}

impl Drop for Flock {
    fn drop(&mut self) {
        // Closing the file lets go as well; doing it here makes it independent of duplicated handles.
        fs4::FileExt::unlock(&self.file).ok();
    }
}

fn write_holder(file: &mut File) -> std::io::Result<()> {
    let host = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "pid {} on {host}", std::process::id())
}

/// Returns who holds the lock at `path`, as far as the file tells. Blocks.
pub fn holder(path: &Path) -> String {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(200).read_to_string(&mut text));
    match read {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => "someone unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holds_it_and_says_who_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("locks/x.lock");
        let held = Flock::ask(&path).unwrap();
        assert!(matches!(held, Asked::Granted(_)));
        assert!(matches!(Flock::ask(&path).unwrap(), Asked::Refused));
        assert!(holder(&path).contains(&format!("pid {}", std::process::id())));
        drop(held);
        assert!(matches!(Flock::ask(&path).unwrap(), Asked::Granted(_)));
    }
}
