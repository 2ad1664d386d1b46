//! Git LFS files for a checkout: what is cached is copied; the rest is fetched once for all who want it.

use super::blocking::{self, Control};
use super::lfs::{self, Pointer};
use super::{CHECKOUT_LINGER, Checkout, Git, GitError, Unfetched};
use crate::ctx::{Ctx, Task};
use crate::store::file_lock::FileLock;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

/// How long to wait for another process that fetches the same repository's Git LFS files.
const LFS_DEADLINE: Duration = Duration::from_secs(60 * 60);

impl Git {
    /// Replaces a checkout's pointers to Git LFS by their files, from the cache or, with `network`, from
    /// the repository's host. What cannot be had stays a pointer and is told in [`Checkout::unfetched`].
    ///
    /// # Errors
    /// When the disk refuses or `ctx` is cancelled.
    pub async fn fetch_lfs(
        &self,
        ctx: &Ctx,
        (dest, network): (&Path, bool),
        mut checkout: Checkout,
        task: &Task,
    ) -> Result<Checkout, GitError> {
        if checkout.pointers.is_empty() {
            return Ok(checkout);
        }
        task.detail("fetching Git LFS files");
        checkout.unfetched = self.fill(ctx, (dest, false), checkout.pointers.clone(), task).await?;
        if network && !checkout.unfetched.is_empty() {
            let absent = |pointer: &Pointer| checkout.unfetched.iter().any(|left| left.path == pointer.path);
            let absent: Vec<_> =
                checkout.pointers.iter().filter(|pointer| absent(pointer)).cloned().collect();
            // Once for all who want the same: in order of their names, so that nobody waits in a circle.
            let hosts: BTreeSet<_> =
                absent.iter().map(|pointer| self.cache.lfs_lock_path(&pointer.url)).collect();
            let mut locks = Vec::new();
            for lock in hosts {
                locks.push(
                    FileLock::take(ctx, lock, "Git LFS files of the same repository", LFS_DEADLINE).await?,
                );
            }
            checkout.unfetched = self.fill(ctx, (dest, true), absent, task).await?;
        }
        let dest = dest.to_owned();
        let look_again = move || {
            checkout.tracked.look_again(&dest, &checkout.pointers, &checkout.unfetched);
            Ok(checkout)
        };
        blocking::local("Git LFS files", look_again).await
    }

    /// Replaces pointers by their files. Returns those that stay.
    async fn fill(
        &self,
        ctx: &Ctx,
        (dest, network): (&Path, bool),
        pointers: Vec<Pointer>,
        task: &Task,
    ) -> Result<Vec<Unfetched>, GitError> {
        let (cache, dest) = (self.cache.clone(), dest.to_owned());
        let work = move |control: &Control| lfs::fill(&cache, &dest, &pointers, network, control);
        blocking::run(ctx, (Some(task), "Git LFS files"), CHECKOUT_LINGER, work).await
    }
}
