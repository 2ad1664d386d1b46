//! Locks between processes, by `flock(2)`.
//!
//! A lock saves work; publication keeps things right (see `commit`). A lock is polled, never waited
//! for in the kernel: a blocking `flock` cannot be cancelled, and on network volumes it may never
//! return. Lock files are never deleted: unlinking one splits the lock. Each names its holder, so
//! that a waiting client can be told for whom it waits.

use crate::ctx::Ctx;
use crate::store::commit::{StoreError, create_dir_all};
use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A held lock. Dropping it lets go.
#[must_use = "the lock is let go when this is dropped"]
#[derive(Debug)]
pub struct FileLock {
    file: File,
}

/// Why a lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The lock file cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Someone else held it all the time.
    #[error("waited {} s for `{what}`, held by {holder}", waited.as_secs())]
    Timeout {
        /// What is locked.
        what: String,
        /// Who holds it, as far as the lock file tells.
        holder: String,
        /// How long it took to give up.
        waited: Duration,
    },
    /// The wait was cancelled.
    #[error("cancelled while waiting for `{0}`")]
    Cancelled(String),
}

impl FileLock {
    /// Takes the lock at `path` if nobody holds it. Does not wait.
    ///
    /// # Errors
    /// When the lock file cannot be created, opened or locked at all.
    pub fn try_take(path: &Path) -> Result<Option<Self>, StoreError> {
        if let Some(parent) = path.parent() {
            create_dir_all(parent)?;
        }
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path);
        let mut file = file.map_err(StoreError::at("open the lock file", path))?;
        match fs4::FileExt::try_lock(&file) {
            Ok(()) => {
                // Who holds it is a courtesy to those who wait; the lock is ours without it.
                write_holder(&mut file).ok();
                Ok(Some(Self { file }))
            }
            Err(fs4::TryLockError::WouldBlock) => Ok(None),
            Err(fs4::TryLockError::Error(error)) => Err(StoreError::at("lock", path)(error)),
        }
    }

    /// Takes the lock at `path`, waiting at most `deadline` and telling `ctx` whom it waits for.
    /// Cancel-safe.
    ///
    /// # Errors
    /// [`LockError::Timeout`] names the holder.
    pub async fn take(ctx: &Ctx, path: PathBuf, what: &str, deadline: Duration) -> Result<Self, LockError> {
        let started = Instant::now();
        let mut pause = Duration::from_millis(1);
        let mut told = false;
        loop {
            if let Some(lock) = Self::try_take(&path)? {
                return Ok(lock);
            }
            if started.elapsed() >= deadline {
                return Err(LockError::Timeout {
                    what: what.to_owned(),
                    holder: holder(&path),
                    waited: started.elapsed(),
                });
            }
            if !told && started.elapsed() > Duration::from_millis(200) {
                ctx.progress.note(format!("waiting for `{what}`, held by {}", holder(&path)));
                told = true;
            }
            tokio::select! {
                () = ctx.cancel.cancelled() => return Err(LockError::Cancelled(what.to_owned())),
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(Duration::from_millis(100)),
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

impl Drop for FileLock {
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

    #[tokio::test]
    async fn a_waiter_is_told_who_holds_the_lock_and_gives_up_in_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("locks/x.lock");
        let held = FileLock::try_take(&path).unwrap().unwrap();
        let ctx = Ctx::new();
        let error = FileLock::take(&ctx, path.clone(), "x", Duration::from_millis(300)).await.unwrap_err();
        assert!(error.to_string().contains(&format!("pid {}", std::process::id())), "{error}");
        assert!(ctx.progress.subscribe().borrow().notes[0].text.contains("waiting for `x`"));
        drop(held);
        assert!(FileLock::take(&ctx, path, "x", Duration::ZERO).await.is_ok());
    }

    #[tokio::test]
    async fn a_cancelled_wait_ends_and_leaves_the_lock_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.lock");
        let held = FileLock::try_take(&path).unwrap().unwrap();
        let ctx = Ctx::new();
        ctx.cancel.cancel();
        let error = FileLock::take(&ctx, path.clone(), "x", Duration::from_secs(60)).await.unwrap_err();
        assert!(matches!(error, LockError::Cancelled(_)), "{error}");
        drop(held);
        assert!(FileLock::try_take(&path).unwrap().is_some());
    }
}
